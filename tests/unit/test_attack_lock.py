# SPDX-License-Identifier: Apache-2.0
"""The lock is one, also when somebody clears /run."""

import os
from pathlib import Path

from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.lock import HostLock
from ec2net.core.state.run_dir import RunDir


def test_a_file_that_goes_between_opening_and_locking_is_noticed(tmp_path: Path) -> None:
    """The lock of a deleted file keeps nobody out: the next one makes, and locks, another file."""
    lock = HostLock(RunDir(tmp_path), Deadline(5))
    real = lock._take
    times = []

    def take() -> None:
        real()
        times.append(1)
        if len(times) == 1:
            (tmp_path / "lock").unlink()

    lock._take = take  # type: ignore[method-assign]
    with lock:
        assert len(times) == 2
        assert os.path.samestat(os.fstat(lock._descriptor), (tmp_path / "lock").stat())
