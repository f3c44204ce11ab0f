# SPDX-License-Identifier: Apache-2.0
"""Files that somebody names on the command line: read and written within a deadline and a size.

They may be anything: a FIFO that nobody has at its other end, a device without an end.
"""

import errno
import os
import select
from pathlib import Path

from ec2net.core.runtime.deadline import Deadline

_CHUNK = 1 << 16


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
                raise ValueError(f"it is larger than {limit} bytes, which is allowed")
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes, deadline: Deadline) -> None:
    """In place of what is there. Raises ``OSError``, ``DeadlineExceeded``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads from it") from error
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
