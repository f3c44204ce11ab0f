# SPDX-License-Identifier: Apache-2.0
"""A TCP socket that bounds every wait by a Deadline and counts all bytes, for any reader.

A timeout per read does not bound a response: a header a second keeps http.client busy for hours.
Here the connect and each recv and send use the remaining time of one deadline, and everything that
interrupts the deadline interrupts them.

A limit for http.client does not bound an answer either: its parser trusts the length that a chunk
claims. Each answer therefore has an allowance of bytes here, before any parser.
"""

import errno
import os
import select
import socket
from typing import TYPE_CHECKING

from ec2net.core.imds.answer import BadAnswer, ConnectFailed, TransportError
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.runtime.deadline import Deadline

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

CONNECT_SECONDS = 0.5
"""IMDS is on the host itself: it accepts within a millisecond, or not at all."""


BODY_LIMIT = 64 * 1024
"""Bytes: some 1500 IPv6 addresses, ten times what one ENI can hold."""

ANSWER_LIMIT = 2 * BODY_LIMIT
"""Bytes on the wire: a body, and as much again for headers and the lengths of chunks."""


class BoundedSocket(socket.socket):
    """A connection to ``candidate``; each exchange on it is bounded by what ``begin`` was given."""

    def __init__(self, candidate: Candidate, deadline: Deadline) -> None:
        """Create the socket; raises ``ConnectFailed`` if it cannot be had or bound."""
        family = socket.AF_INET6 if candidate.endpoint.address.version == 6 else socket.AF_INET
        try:
            super().__init__(family, socket.SOCK_STREAM)
        except OSError as error:
            raise ConnectFailed(_strerror(error)) from error
        self.candidate = candidate
        self.begin(deadline)
        try:
            self.setblocking(False)
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if candidate.device:
                # Needs no capability since kernel 5.7 (c427bfec18f2).
                self.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(candidate.device) + b"\0"
                )
        except OSError as error:
            self.close()
            raise ConnectFailed(_strerror(error)) from error

    def begin(self, deadline: Deadline) -> None:
        """Begin an exchange: it ends by ``deadline`` and with ``ANSWER_LIMIT`` bytes of answer."""
        self.deadline = deadline
        self._allowance = ANSWER_LIMIT

    def start_connect(self) -> None:
        """Send the SYN and return at once; raises ``ConnectFailed``."""
        endpoint = self.candidate.endpoint
        code = self.connect_ex((str(endpoint.address), endpoint.port))
        if code not in (0, errno.EINPROGRESS):
            raise ConnectFailed(os.strerror(code))

    def end_connect(self) -> None:
        """Call when it is writable: raises ``ConnectFailed`` if that was a refusal."""
        if code := self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectFailed(os.strerror(code))

    def settimeout(self, value: float | None) -> None:
        """Nothing: urllib3 sets its own timeouts before requests, but the deadline rules."""

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        """All reading ends up here (``socket.makefile``). Raises ``TransportError``.

        Raises ``BadAnswer`` once the answer has more than ``ANSWER_LIMIT`` bytes.
        """
        while True:  # ends by deadline: an endless stream is always ready
            if self.deadline.expired():
                raise self.deadline.exceeded()
            self.deadline.wait(self.fileno(), select.POLLIN)
            try:
                count = super().recv_into(buffer, nbytes, flags)
            except BlockingIOError:
                continue
            except OSError as error:
                # No OSError, so urllib3 passes it through unchanged.
                raise TransportError(_strerror(error)) from error
            self._allowance -= count
            if self._allowance < 0:
                raise BadAnswer(f"the whole answer is longer than {ANSWER_LIMIT} bytes")
            return count

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        left = memoryview(data)
        while left:  # ends by deadline
            if self.deadline.expired():
                raise self.deadline.exceeded()
            try:  # a request fits into the socket's buffer, so this hardly ever waits
                left = left[super().send(left, flags) :]
            except BlockingIOError:
                self.deadline.wait(self.fileno(), select.POLLOUT)
            except (BrokenPipeError, ConnectionResetError):
                raise  # urllib3 handles these two: an answer may have arrived before
            except OSError as error:
                raise TransportError(_strerror(error)) from error


def connect(candidate: Candidate, deadline: Deadline) -> BoundedSocket:
    """Connect to one candidate within ``CONNECT_SECONDS``.

    Raises ``ConnectFailed``, ``DeadlineExceeded`` and what interrupts the deadline.
    """
    share = deadline.within(CONNECT_SECONDS, f"connecting to {candidate}")
    connection = BoundedSocket(candidate, deadline)
    try:
        connection.start_connect()
        share.wait(connection.fileno(), select.POLLOUT)
        connection.end_connect()
    except DeadlineExceeded as error:
        connection.close()
        if deadline.expired():
            raise
        raise ConnectFailed("timed out") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _strerror(error: OSError) -> str:
    return error.strerror or type(error).__name__
