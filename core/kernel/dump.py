# SPDX-License-Identifier: Apache-2.0
"""Dumps over rtnetlink: the kernel's whole list of links, addresses, routes or rules.

Irrelevant messages are dropped as bytes. A router has a million routes and a container host has
thousands of links, and pyroute2 decodes some five thousand messages a second. pyroute2's message
classes decode the rest, with only the attributes that ec2net uses (a link has sixty). Neither
``pyroute2.iproute`` nor its event loop is needed.
"""

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ec2net.core.kernel import pyroute
from ec2net.core.kernel.wire import (
    BUFFER,
    HEADER,
    LINKS,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Kind,
    check,
    messages,
    only,
)
from ec2net.core.runtime.deadline import readable

T = TypeVar("T")


_SECONDS = 5.0
"""A bound that is never reached: the kernel queues each part of a dump before the call for the last
one returns."""

_TRIES = 3
"""A list that changes during its dump is dumped again. One that always changes is used anyway,
since the next pass dumps it again."""

_LINK_TRIES = 10
"""But a link that is missing from the list would count as gone, with all that is on it: an
incomplete list of links is an error."""

_CHECKED_EACH = 256
"""Messages between two calls of ``check``: pyroute2 decodes them in some 50 ms."""

_LINK_PAUSE = 0.005
"""Seconds, more with each try (0.2 in all): links come by the hundred on a container host."""


@dataclass(slots=True)
class _Memory:
    """The dump before: what each message became, with its attributes that are looked at.

    Most messages are the same as a whole; those with a lifetime in them are the same but for that.
    """

    context: object
    wholes: dict[bytes, tuple[bytes, Any]] = field(default_factory=dict)
    parts: dict[bytes, tuple[bytes, Any]] = field(default_factory=dict)


class Dumps:
    """A socket for dumps."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        """``check`` is called between messages; what it raises ends the dump."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_SECONDS)
        self._sequence = 0
        self._check = check
        self._memory: dict[tuple[Kind, int], _Memory] = {}

    def close(self) -> None:
        self._socket.close()

    def read(
        self,
        kind: Kind,
        convert: Callable[[Any], T],
        *,
        family: int = socket.AF_UNSPEC,
        wanted: Callable[[bytes], bool] | None = None,
        context: object = None,
    ) -> list[T]:
        """The results of ``convert`` for the messages whose bytes are ``wanted``.

        A message that equals one of the former dump byte by byte is not converted again.
        ``context`` is the second input of ``convert``. Raises ``OSError``.
        """
        message_class = pyroute.message_class(kind.message)
        before = self._memory.get((kind, family))
        if before is None or before.context != context:
            before = _Memory(context)
        seen = _Memory(context)
        found: list[T] = []
        for number, raw in enumerate(self._whole(kind, family, wanted)):
            if number % _CHECKED_EACH == 0:
                self._check()
            whole = raw[HEADER.size :]
            known = before.wholes.get(whole)
            if known is None:
                part = only(raw, kind)
                known = before.parts.get(part[HEADER.size :])
                if known is None:
                    message = message_class(part)
                    message.decode()
                    known = (part[HEADER.size :], convert(message))
            seen.wholes[whole] = seen.parts[known[0]] = known
            found.append(known[1])
        self._memory[kind, family] = seen
        return found

    def raw(self, kind: Kind, *, family: int, wanted: Callable[[bytes], bool]) -> list[bytes]:
        """The messages that are ``wanted``, as they are. Raises ``OSError``."""
        return self._whole(kind, family, wanted)

    def _whole(
        self, kind: Kind, family: int, wanted: Callable[[bytes], bool] | None
    ) -> list[bytes]:
        for attempt in range(_LINK_TRIES if kind is LINKS else _TRIES):
            if kind is LINKS and attempt:
                readable((), attempt * _LINK_PAUSE)
            try:
                found, interrupted = self._once(kind, family, wanted)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    return []  # ipv6.disable=1: the kernel has no rules of this family
                raise
            if not interrupted:
                return found
        if kind is LINKS:
            raise OSError(errno.EAGAIN, "the list of links keeps changing")
        return found

    def _once(
        self, kind: Kind, family: int, wanted: Callable[[bytes], bool] | None
    ) -> tuple[list[bytes], bool]:
        """The messages, and whether the list changed meanwhile."""
        self._sequence += 1
        body = bytes((family,)).ljust(kind.body, b"\0") + kind.filter
        flags = NLM_F_REQUEST | NLM_F_DUMP
        length = HEADER.size + len(body)
        self._socket.send(HEADER.pack(length, kind.request, flags, self._sequence, 0) + body)
        found: list[bytes] = []
        interrupted = False
        while True:  # ends by the kernel's NLMSG_DONE, or by the socket's timeout
            for answer, flags, sequence, raw in messages(self._socket.recv(BUFFER)):
                if sequence != self._sequence:
                    continue  # from an abandoned dump
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    check(raw)
                    return found, interrupted
                if wanted is None or wanted(raw):
                    found.append(raw)
