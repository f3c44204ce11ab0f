# SPDX-License-Identifier: Apache-2.0
"""Dumps over rtnetlink: the kernel's whole list of links, addresses, routes or rules.

What is not wanted is dropped while it is still bytes: a router has a million routes and a
container host thousands of links, and pyroute2 decodes some five thousand messages a second. The
rest is decoded by pyroute2's message classes, with the attributes that are looked at and no
others (a link has sixty). ``pyroute2.iproute`` is not needed for that, nor its event loop.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ec2net.core.kernel import pyroute
from ec2net.core.runtime.deadline import readable

T = TypeVar("T")

# include/uapi/linux/netlink.h
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300
_NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
_ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length, type."""
_NUMBER = struct.Struct("=i")
_U32 = struct.Struct("=I")

BUFFER = 65536
"""Bytes; the kernel fills at most 32 KiB of it at once (netlink_recvmsg)."""

_SECONDS = 5.0
"""Of a bound that is never met: each part of a dump is queued before the call for the last one
returns."""

_TRIES = 3
"""A list that changes while it is dumped is dumped again; one that always does is taken as it is,
since the next pass looks again."""

_LINK_TRIES = 10
"""But a link that is missing from the list would count as gone, with all that is on it: an
incomplete list of links is an error."""

_LINK_PAUSE = 0.005
"""Seconds, more with each try (0.2 in all): links come by the hundred on a container host."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of dump (include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, fib_rules.h)."""

    message: str
    """pyroute2's class and the module that has it."""
    request: int
    """RTM_GET...; the answer's type is one less than a multiple of four below, RTM_NEW..."""
    body: int
    """Size of the structure between header and attributes; all of them begin with the family."""
    attributes: frozenset[int] | None = None
    """The attributes to decode; None: all of them."""
    filter: bytes = b""
    """Attributes of the request."""


# IFLA_EXT_MASK with RTEXT_FILTER_SKIP_STATS: the counters are a third of a message.
LINKS = Kind(
    "ifinfmsg", 18, 16, frozenset((1, 3, 4, 10, 18, 27, 52, 54)), struct.pack("=HHI", 8, 29, 1 << 3)
)
"""With IFLA_ADDRESS, IFNAME, MTU, MASTER, LINKINFO, GROUP, PROP_LIST and PERM_ADDRESS."""
ADDRESSES = Kind("ifaddrmsg", 22, 8, frozenset((1, 2, 11)))
"""With IFA_ADDRESS, LOCAL and PROTO."""
ADDRESS_STATES = Kind("ifaddrmsg", 22, 8, frozenset((1, 2, 6)))
"""With IFA_ADDRESS, LOCAL and CACHEINFO, which is another one at each dump."""
ROUTES = Kind("rtmsg", 26, 12, frozenset((1, 4, 5, 6, 7, 15)))
"""With RTA_DST, OIF, GATEWAY, PRIORITY, PREFSRC and TABLE."""
RULES = Kind("fibmsg", 34, 12)
"""With everything: an attribute that is not known makes a rule another one."""


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

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_SECONDS)
        self._sequence = 0
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
        """What ``convert`` makes of pyroute2's message for each that is ``wanted`` by its bytes.

        A message that is the same to the last byte as one of the dump before is not converted
        again; ``context`` is what ``convert`` goes by beside the message. Raises ``OSError``.
        """
        message_class = pyroute.message_class(kind.message)
        before = self._memory.get((kind, family))
        if before is None or before.context != context:
            before = _Memory(context)
        seen = _Memory(context)
        found: list[T] = []
        for raw in self._whole(kind, family, wanted):
            whole = raw[_HEADER.size :]
            known = before.wholes.get(whole)
            if known is None:
                part = _only(raw, kind)
                known = before.parts.get(part[_HEADER.size :])
                if known is None:
                    message = message_class(part)
                    message.decode()
                    known = (part[_HEADER.size :], convert(message))
            seen.wholes[whole] = seen.parts[known[0]] = known
            found.append(known[1])
        self._memory[kind, family] = seen
        return found

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
                    return []  # ipv6.disable=1: nobody in the kernel has rules of this family
                raise
            if not interrupted:
                return found
        if kind is LINKS:
            raise OSError(errno.EAGAIN, "the list of links changes all the time")
        return found

    def _once(
        self, kind: Kind, family: int, wanted: Callable[[bytes], bool] | None
    ) -> tuple[list[bytes], bool]:
        """The messages, and whether the list changed meanwhile."""
        self._sequence += 1
        body = bytes((family,)).ljust(kind.body, b"\0") + kind.filter
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind.request, flags, self._sequence, 0) + body)
        found: list[bytes] = []
        interrupted = False
        while True:  # ends by the kernel's NLMSG_DONE, or by the socket's timeout
            for answer, flags, sequence, raw in messages(self._socket.recv(BUFFER)):
                if sequence != self._sequence:
                    continue  # of a dump that was given up
                interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
                if answer in (_NLMSG_DONE, _NLMSG_ERROR):
                    _check(raw)
                    return found, interrupted
                if wanted is None or wanted(raw):
                    found.append(raw)


def _check(raw: bytes) -> None:
    """Raise ``OSError`` if the dump's end says that it failed."""
    code = _NUMBER.unpack_from(raw, _HEADER.size)[0] if len(raw) > _HEADER.size else 0
    if code < 0:
        raise OSError(-code, os.strerror(-code))


def _only(raw: bytes, kind: Kind) -> bytes:
    """``raw`` with the attributes of ``kind`` alone."""
    if kind.attributes is None:
        return raw
    start = _HEADER.size + kind.body
    kept = [raw[4:start]]
    kept += [
        raw[offset : offset + _aligned(length)]
        for number, offset, length in _attributes(raw, kind)
        if number in kind.attributes
    ]
    rest = b"".join(kept)
    return _U32.pack(_U32.size + len(rest)) + rest


def _attributes(raw: bytes, kind: Kind) -> Iterator[tuple[int, int, int]]:
    """Number, offset and length of each attribute."""
    return attributes_from(raw, _HEADER.size + kind.body)


def attributes_from(raw: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """Number, offset and length of each attribute, the first of which is at ``offset``."""
    while offset + _ATTRIBUTE.size <= len(raw):
        length, number = _ATTRIBUTE.unpack_from(raw, offset)
        if length < _ATTRIBUTE.size:
            return
        yield number & _NLA_TYPE_MASK, offset, length
        offset += _aligned(length)


def number(raw: bytes, kind: Kind, attribute: int) -> int | None:
    """The value of a 32-bit attribute of a raw message; None if it has none."""
    value = attribute_of(raw, kind, attribute)
    return _U32.unpack(value)[0] if value is not None and len(value) == _U32.size else None


def attribute_of(raw: bytes, kind: Kind, attribute: int) -> bytes | None:
    """The bytes of an attribute of a raw message; None if it has none."""
    for found, offset, length in _attributes(raw, kind):
        if found == attribute:
            return raw[offset + _ATTRIBUTE.size : offset + length]
    return None


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and the whole of each message that a datagram has."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset : offset + length]
        offset += max(_aligned(length), _HEADER.size)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
