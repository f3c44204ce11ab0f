# SPDX-License-Identifier: Apache-2.0
"""Real TCP connections from given source addresses, many at once, to the echo service."""

import errno
import os
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.namespace import Namespace

Address: TypeAlias = IPv4Address | IPv6Address

# include/uapi/linux/in.h, in6.h; not in the socket module.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_ANSWER_LIMIT = 200

# include/uapi/linux/tcp.h, struct tcp_info: tcpi_retransmits, tcpi_total_retrans.
_RETRANSMITS, _TOTAL_RETRANS, _TCP_INFO_LENGTH = 2, 100, 104
_LOOK_SECONDS = 0.1
"""Between two readings of the kernel's retransmissions."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A connection that came about: ``seen`` is the client as the server saw it."""

    seen: Address
    local: Address
    """The server's address."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A connection that did not come about, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection to make: from ``source`` (None: the kernel chooses) to ``destination``."""

    source: Address | None
    destination: Address
    port: int = echo.PORT


@dataclass(frozen=True, slots=True)
class Tick:
    """The outcome for one address: ``ok`` only if the far end saw what it should have seen."""

    link: str
    address: Address
    ok: bool
    reason: str


def sent_again(connection: socket.socket) -> bool:
    """Whether the kernel has sent a segment of it again: a SYN without an answer, after 1 s.

    This tells a lost packet from a machine that is slow (tcp(7), TCP_INFO).
    """
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_LENGTH)
    return info[_RETRANSMITS] > 0 or any(info[_TOTAL_RETRANS:])


def connect_all(
    namespace: Namespace, attempts: Sequence[Attempt], timeout: float, *, patient: bool = False
) -> list[Answer | Failure]:
    """Make all connections at once from inside ``namespace``; in the order of ``attempts``.

    Lasts ``timeout`` seconds at most. A connection of which a packet is lost has failed, unless
    ``patient``. Sources need not be local (IP_FREEBIND).
    """
    started = time.monotonic()
    outcomes: dict[int, Answer | Failure] = {}
    received: dict[int, bytes] = {}
    begun = namespace.call(lambda: [_begin(attempt) for attempt in attempts])
    with selectors.DefaultSelector() as selector:
        for index, item in enumerate(begun):
            if isinstance(item, Failure):
                outcomes[index] = item
            else:
                selector.register(item, selectors.EVENT_WRITE, index)
        while selector.get_map() and (left := started + timeout - time.monotonic()) > 0:
            for key, _ in selector.select(left if patient else min(left, _LOOK_SECONDS)):
                assert isinstance(key.fileobj, socket.socket)
                outcome = _advance(selector, key.fileobj, key.data, received, started)
                if outcome is not None:
                    outcomes[key.data] = outcome
                    selector.unregister(key.fileobj)
            for key in () if patient else list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                if sent_again(key.fileobj):
                    outcomes[key.data] = Failure("a packet was lost")
                    selector.unregister(key.fileobj)
    for item in begun:
        if isinstance(item, socket.socket):
            item.close()
    late = Failure(f"no answer within {timeout:g} s")
    return [outcomes.get(index, late) for index in range(len(attempts))]


def _begin(attempt: Attempt) -> socket.socket | Failure:
    family = socket.AF_INET if attempt.destination.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        if attempt.source is not None:
            if family == socket.AF_INET:
                connection.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            else:
                connection.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            connection.bind((str(attempt.source), 0))
        code = connection.connect_ex((str(attempt.destination), attempt.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError as error:
        connection.close()
        return Failure(error.strerror or str(error))
    return connection


def _advance(
    selector: selectors.BaseSelector,
    connection: socket.socket,
    index: int,
    received: dict[int, bytes],
    started: float,
) -> Answer | Failure | None:
    """One step of a connection; None while it is not over."""
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return Failure(os.strerror(code))
    if index not in received:
        received[index] = b""
        selector.modify(connection, selectors.EVENT_READ, index)
        return None
    try:
        data = connection.recv(_ANSWER_LIMIT)
    except BlockingIOError:
        return None
    except OSError as error:
        return Failure(error.strerror or str(error))
    received[index] += data
    if data and len(received[index]) < _ANSWER_LIMIT:
        return None
    return _parse(received[index], time.monotonic() - started)


def _parse(answer: bytes, seconds: float) -> Answer | Failure:
    try:
        seen, local = (ip_address(word) for word in answer.decode("ascii").split())
    except ValueError:
        return Failure(f"an unexpected answer: {answer[:40]!r}")
    return Answer(seen, local, seconds)
