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
    with suppress(OSError):
        descriptor = os.open(
            run.path / _FILE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644
        )
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)


def last_pass(run: RunDir) -> str | None:
    """The time as ``clock.utc`` writes it; None if no pass ended in this boot."""
    try:
        return utc((run.path / _FILE).lstat().st_mtime)
    except OSError:
        return None
