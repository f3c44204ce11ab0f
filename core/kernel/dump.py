# SPDX-License-Identifier: Apache-2.0
"""Dumps over rtnetlink: the kernel's whole list of links, addresses, routes or rules.

Irrelevant messages are dropped as bytes. A router has a million routes and a container host has
thousands of links, and pyroute2 decodes some five thousand messages a second. pyroute2's message
classes decode the rest, with only the attributes that ec2net uses (a link has sixty). Neither
``pyroute2.iproute`` nor its event loop is needed.
"""

import errno
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

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
    lasting,
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


_KEPT = 4 << 20
"""Bytes of a dump that are kept for a comparison with the next one; a router's routes are more."""


@dataclass(slots=True)
class _Memory:
    """The dump before: its datagrams, and the result of each message.

    Unchanged rules arrive in the same datagrams. In other dumps most messages are unchanged as a
    whole, and the others except for a lifetime.
    """

    context: object
    datagrams: list[bytes] = field(default_factory=list)
    wholes: dict[bytes, bytes] = field(default_factory=dict)
    """The part of each message that is looked at, unless that is all of it."""
    parts: dict[bytes, Any] = field(default_factory=dict)
    found: tuple[Any, ...] = ()
    state: int = 0
    """A hash of all messages without their lifetimes, whether wanted or not."""


class Dumps:
    """A socket for dumps."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        """``check`` is called between messages; what it raises ends the dump."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_SECONDS)
        self._sequence = 1
        """One for all dumps until one is given up: equal dumps have equal datagrams."""
        self._check = check
        self._memory: dict[tuple[Kind, int], _Memory] = {}

    def close(self) -> None:
        self._socket.close()

    def state(self, kind: Kind, family: int = socket.AF_UNSPEC) -> int:
        """A hash of the last dump of a kind: all of its messages, without their lifetimes."""
        return self._memory[kind, family].state

    def read(
        self,
        kind: Kind,
        convert: Callable[[bytes], T | None],
        *,
        family: int = socket.AF_UNSPEC,
        wanted: Callable[[bytes], bool] | None = None,
        context: object = None,
    ) -> tuple[T, ...]:
        """The results of ``convert``, except None, for the messages whose bytes are ``wanted``.

        ``convert`` gets a message with the attributes of ``kind``. A message that equals one of the
        former dump byte by byte is not converted again, and for equal results the former tuple is
        returned. ``context`` is the second input of ``convert``. Raises ``OSError``.
        """
        context = context, wanted
        before = self._memory.get((kind, family))
        if before is None or before.context != context:
            before = _Memory(context)
        try:
            datagrams, raws = self._whole(kind, family, before.datagrams)
            if raws is None:
                return before.found
            seen = self._converted(kind, convert, before, raws, wanted)
        except BaseException:
            self._sequence += 1  # what is left of it is no part of the next dump
            raise
        seen.datagrams = datagrams if sum(map(len, datagrams)) <= _KEPT else []
        self._memory[kind, family] = seen
        return seen.found

    def _converted(
        self,
        kind: Kind,
        convert: Callable[[bytes], T | None],
        before: _Memory,
        raws: list[bytes],
        wanted: Callable[[bytes], bool] | None,
    ) -> _Memory:
        """The messages of a dump as results."""
        seen = _Memory(before.context)
        found: list[T] = []
        states: list[int] = []
        for number, raw in enumerate(raws):
            if number % _CHECKED_EACH == 0:
                self._check()
            if wanted is not None:
                states.append(hash(lasting(raw)))
                if not wanted(raw):
                    continue
            part = whole = raw[HEADER.size :]
            if kind.attributes is not None:
                part = before.wholes.get(whole) or only(raw, kind)[HEADER.size :]
                seen.wholes[whole] = part
            if part in before.parts:
                result = before.parts[part]
            else:
                length = (HEADER.size + len(part)).to_bytes(4, sys.byteorder)
                result = convert(length + raw[4 : HEADER.size] + part)
            seen.parts[part] = result
            if wanted is None:
                states.append(hash(part))
            if result is not None:
                found.append(result)
        seen.found, seen.state = tuple(found), hash(tuple(states))
        if seen.found == before.found:
            seen.found = before.found
        return seen

    def _whole(
        self, kind: Kind, family: int, known: list[bytes]
    ) -> tuple[list[bytes], list[bytes] | None]:
        """The datagrams of a dump and their messages; None instead of those of ``known``."""
        for attempt in range(_LINK_TRIES if kind is LINKS else _TRIES):
            if kind is LINKS and attempt:
                readable((), attempt * _LINK_PAUSE)
            try:
                datagrams, raws, interrupted = self._once(kind, family, known)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    return [], []  # ipv6.disable=1: the kernel has no rules of this family
                raise
            if not interrupted:
                return datagrams, raws
            self._sequence += 1
        if kind is LINKS:
            raise OSError(errno.EAGAIN, "the list of links keeps changing")
        return [], raws

    def _once(
        self, kind: Kind, family: int, known: list[bytes]
    ) -> tuple[list[bytes], list[bytes] | None, bool]:
        """As ``_whole``, and whether the list changed meanwhile."""
        body = bytes((family,)).ljust(kind.body, b"\0") + kind.filter
        flags = NLM_F_REQUEST | NLM_F_DUMP
        length = HEADER.size + len(body)
        self._socket.send(HEADER.pack(length, kind.request, flags, self._sequence, 0) + body)
        datagrams: list[bytes] = []
        for expected in known:
            datagrams.append(self._socket.recv(BUFFER))
            if datagrams[-1] != expected:
                break
        else:
            if known:
                return known, None, False
        return self._rest(datagrams)

    def _rest(self, datagrams: list[bytes]) -> tuple[list[bytes], list[bytes], bool]:
        """The whole of a dump of which ``datagrams`` were received already."""
        found: list[bytes] = []
        interrupted = False
        for number in count():  # ends by the kernel's NLMSG_DONE, or by the socket's timeout
            if number == len(datagrams):
                datagrams.append(self._socket.recv(BUFFER))
            for answer, flags, sequence, raw in messages(datagrams[number]):
                if sequence != self._sequence:
                    continue  # from an abandoned dump
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    check(raw)
                    return datagrams, found, interrupted
                found.append(raw)
        raise AssertionError("a dump has an end")
