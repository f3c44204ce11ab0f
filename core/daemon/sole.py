# SPDX-License-Identifier: Apache-2.0
"""The lock by which one ec2net.service runs at a time, by flock(2), which dies with its holder."""

import fcntl
import os
import stat
from pathlib import Path
from typing import Self

from ec2net.core.model.errors import StateError
from ec2net.core.runtime.files import make_folder
from ec2net.core.state.lock import cannot_open, is_current, open_regular
from ec2net.core.state.run_dir import RunDir


class SoleManager:
    """The daemon's lock as a context manager: it allows one daemon."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.path / _MANAGER
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Raises ``StateError`` if another one runs, or the file cannot be made."""
        try:
            make_folder(self._path.parent)
            self._descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT)
            # Every process that can open the file can hold a shared lock, without end.
            if stat.S_IMODE(os.fstat(self._descriptor).st_mode) != 0o600:
                os.fchmod(self._descriptor, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise StateError(
                "another daemon is running already",
                subject="ec2net.service",
                remedy="see 'systemctl status ec2net.service'",
            ) from error
        except OSError as error:
            raise cannot_open(self._path, error) from error
        return self

    def check(self) -> None:
        """Raises ``StateError`` if the lock file was deleted: another one can start then."""
        if not is_current(self._descriptor, self._path):
            raise StateError(
                f"{self._path} was deleted or replaced",
                subject="ec2net.service",
                remedy="the daemon must start again; systemd does that",
            )

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def manager_runs(run: RunDir) -> bool:
    """Whether a daemon holds its lock. Needs no privilege."""
    path = run.path / _MANAGER
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except PermissionError:
        return _is_listed(path)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _is_listed(path: Path) -> bool:
    """Whether the kernel lists an exclusive flock(2) on a file (proc_locks(5)); needs no privilege."""
    try:
        status = os.stat(path)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    held = ["FLOCK", "ADVISORY", "WRITE", f"{device}:{status.st_ino}"]
    return any([*words[1:4], *words[5:6]] == held for words in map(str.split, lines))


_MANAGER = "resident.lock"
