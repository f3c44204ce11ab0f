# SPDX-License-Identifier: Apache-2.0
"""When the last pass over all ENIs ended: the time stamp of the empty file /run/ec2net/last-pass.

A time stamp alone, since a pass that changes nothing writes no file.
"""

import os
from contextlib import suppress

from ec2net.core.runtime.clock import utc
from ec2net.core.state.run_dir import RunDir

_FILE = "last-pass"


def mark(run: RunDir) -> None:
    """A pass ended now. A folder that cannot be written has its own message elsewhere."""
    path = run.path / _FILE
    with suppress(OSError):
        try:
            os.utime(path, follow_symlinks=False)
        except FileNotFoundError:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))


def last_pass(run: RunDir) -> str | None:
    """The time as ``clock.utc`` writes it; None if no pass ended in this boot."""
    try:
        return utc((run.path / _FILE).lstat().st_mtime)
    except OSError:
        return None
