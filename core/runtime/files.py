# SPDX-License-Identifier: Apache-2.0
"""Files: read and written within a deadline and a size, or written completely.

A file that a user names may be a FIFO without another end, or an endless device. Such calls take a
deadline. Files of ec2net and of daemons are regular files, or count as unreadable.
"""

import errno
import os
import select
import stat
import tempfile
from pathlib import Path

from ec2net.core.runtime.deadline import Deadline

_CHUNK = 1 << 16
_PAGE = 4096


def read(path: Path, limit: int, deadline: Deadline) -> bytes:
    """All of it. Raises ``OSError``, ``DeadlineExceeded``, and ``ValueError`` beyond ``limit``."""
    content = bytearray()
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:  # ends by deadline
            deadline.wait(descriptor)
            try:
                chunk = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                return bytes(content)
            content += chunk
            if len(content) > limit:
                raise ValueError(f"larger than the limit of {limit} bytes")
    finally:
        os.close(descriptor)


def regular(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """The content of a regular file; the call never waits. ``follow``: follow a symbolic link, too.

    Raises ``OSError``, also for what is no regular file and for more than ``limit`` bytes.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content, whole = b"", False
        while not whole and len(content) <= limit:
            # By its size: a buffer of ``limit`` costs more than the file. sysfs says 4096, proc 0.
            room = min(max(info.st_size, _PAGE), limit) + 1
            chunk = os.read(descriptor, room)
            content += chunk
            whole = len(chunk) < room
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than the limit of {limit} bytes", str(path))
    return content


def write(path: Path, content: bytes, deadline: Deadline) -> None:
    """Replaces the present content. Raises ``OSError``, ``DeadlineExceeded``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "no process reads from it") from error
        raise
    left = memoryview(content)
    try:
        while left:
            deadline.wait(descriptor, select.POLLOUT)
            try:
                left = left[os.write(descriptor, left[:_CHUNK]) :]
            except BlockingIOError:
                continue
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder, and missing folders above it, that every user can read. Raises ``OSError``.

    CIS hardening gives root's shell the umask 027; others read the status, and networkd, which
    is not root, its files.
    """
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
    path.chmod(0o755)


def write_whole(path: Path, content: bytes, *, mode: int, prefix: str) -> None:
    """A unique temporary file (its name begins with ``prefix``), fsync, rename. ``OSError``."""
    make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
