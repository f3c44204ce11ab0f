# SPDX-License-Identifier: Apache-2.0
"""The host lock: one pass at a time, by flock(2), which dies with its holder (a pid file does not).

Taken after everything that may be waited for is there. The kernel has no flock with a time
limit, so a wait is a thread in flock and a poll on what it says; a thread that is left behind
at the deadline gives the lock back should it ever get it.
"""

import errno
import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Self

from ec2net.core.model.errors import DeadlineExceeded, Ec2netError, StateError
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import make_folder
from ec2net.core.state.run_dir import RunDir


def check_lock(run: RunDir) -> None:
    """Raise ``StateError`` if it could not be taken at all, before anything is waited for."""
    os.close(_open(_path(run)))


def _path(run: RunDir) -> Path:
    return run.path / "lock"


def _open(path: Path) -> int:
    try:
        make_folder(path.parent)
        return open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise cannot_open(path, error) from error


def open_regular(path: Path, flags: int) -> int:
    """Open it without waiting and without following a link: a FIFO in its place would hang.

    Raises ``OSError``, also if it is no regular file.
    """
    flags |= os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def cannot_open(path: Path, error: OSError) -> StateError:
    """The error of ``open_regular`` for a user, with a remedy."""
    foreign = error.errno in (errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.ENXIO)
    return StateError(
        f"cannot open {path}: {error.strerror}",
        remedy="remove it; ec2net then creates a regular file"
        if foreign
        else "run as root; the state directory must be writable",
    )


def is_current(descriptor: int, path: Path) -> bool:
    """False if the file was deleted meanwhile: others then lock another one."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


class HostLock:
    """Use as a context manager: ``with HostLock(run, deadline): ...``"""

    def __init__(self, run: RunDir, deadline: Deadline) -> None:
        self._path = _path(run)
        self._deadline = deadline
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Raises ``StateError`` if the lock file cannot be made, ``Ec2netError`` at the deadline."""
        self._take()
        while not is_current(self._descriptor, self._path):  # ends by deadline
            os.close(self._descriptor)
            self._deadline.check()
            self._take()
        return self

    def _take(self) -> None:
        self._descriptor = _open(self._path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            descriptor, self._descriptor = self._descriptor, -1
            self._descriptor = _wait(descriptor, self._deadline)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


_LOCKED, _FAILED = b"x", b"!"
"""The messages of the waiting thread."""


class _Waiter:
    """A thread in flock(2). A wait that gives up leaves it, and the next wait reuses it."""

    def __init__(self, descriptor: int) -> None:
        """Raises ``StateError`` if no thread can be had."""
        self.descriptor = descriptor
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self._decision = threading.Lock()
        self._wanted, self._ended = True, False
        try:
            threading.Thread(target=self._lock, name="ec2net-lock", daemon=True).start()
        except RuntimeError as error:
            self.close()
            raise StateError(f"waiting for it failed: {error}", subject="host lock") from error

    def _lock(self) -> None:
        answer = _FAILED
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            answer = _LOCKED
        finally:
            with self._decision:
                self._ended = True
                if self._wanted:
                    os.write(self._writer, answer)
                else:
                    self.close()  # releases the lock

    def leave(self) -> bool:
        """No caller waits any more; false if it has ended already, for the caller to close."""
        with self._decision:
            self._wanted = self._ended
            return not self._ended

    def take_up(self) -> bool:
        """Wait for it again; false if it has ended."""
        with self._decision:
            self._wanted = not self._ended
            return self._wanted

    def close(self) -> None:
        os.close(self.descriptor)
        self.close_pipe()

    def close_pipe(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


_left: dict[tuple[int, int], _Waiter] = {}
"""Left behind, by device and inode of the file: one thread, however often a wait ends in vain."""


def _wait(descriptor: int, deadline: Deadline) -> int:
    """A descriptor that is locked. ``descriptor`` is it, or is closed."""
    file = os.fstat(descriptor)
    key = (file.st_dev, file.st_ino)
    waiter = _left.pop(key, None)
    if waiter is not None and waiter.take_up():
        os.close(descriptor)
    else:
        waiter = _Waiter(descriptor)
    try:
        deadline.named("waiting for the host lock").wait(waiter.reader)
    except BaseException as error:
        if waiter.leave():
            _left[key] = waiter
        else:
            waiter.close()
        if isinstance(error, DeadlineExceeded):
            raise Ec2netError(
                "another ec2net process holds the lock and did not finish in time",
                subject="host lock",
                remedy="that process ends by its own deadline; see 'fuser -v /run/ec2net/lock'",
            ) from error
        raise
    if os.read(waiter.reader, 1) == _FAILED:
        waiter.close()
        raise StateError("cannot be taken", subject="host lock")
    waiter.close_pipe()
    return waiter.descriptor
