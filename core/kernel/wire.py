# SPDX-License-Identifier: Apache-2.0
"""The bytes of netlink: headers, attributes, and what each kind of dump is asked for with."""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# include/uapi/linux/netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length, type."""

_NUMBER = struct.Struct("=i")
_U32 = struct.Struct("=I")

BUFFER = 65536
"""Bytes; the kernel fills at most 32 KiB of it at once (netlink_recvmsg)."""


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
    "ifinfmsg",
    18,
    16,
    frozenset((1, 3, 4, 10, 18, 27, 50, 51, 52, 54)),
    struct.pack("=HHI", 8, 29, 1 << 3),
)
"""With IFLA_ADDRESS, IFNAME, MTU, MASTER, LINKINFO, GROUP, MIN_MTU, MAX_MTU, PROP_LIST and
PERM_ADDRESS."""

ADDRESSES = Kind("ifaddrmsg", 22, 8, frozenset((1, 2, 11)))
"""With IFA_ADDRESS, LOCAL and PROTO."""

ADDRESS_STATES = Kind("ifaddrmsg", 22, 8, frozenset((1, 2, 6)))
"""With IFA_ADDRESS, LOCAL and CACHEINFO, which is another one at each dump."""

ROUTES = Kind("rtmsg", 26, 12, frozenset((1, 4, 5, 6, 7, 8, 9, 11, 15, 18, 21, 22, 30)))
"""With RTA_DST, OIF, GATEWAY, PRIORITY, PREFSRC, METRICS, MULTIPATH, FLOW, TABLE, VIA, ENCAP_TYPE,
ENCAP and NH_ID."""

_RTA_CACHEINFO = 12
_CACHEINFO = ATTRIBUTE.pack(36, _RTA_CACHEINFO)
"""The header of that attribute: struct rta_cacheinfo has 32 bytes."""
_PREF = 8
_TAIL = 36 + _PREF

RULES = Kind("fibmsg", 34, 12)
"""With everything: an attribute that is not known makes a rule another one."""


def check(raw: bytes) -> None:
    """Raise ``OSError`` if a NLMSG_ERROR or NLMSG_DONE says that the request failed.

    Its text is the kernel's own where the kernel gives one (extended ACK).
    """
    code = _NUMBER.unpack_from(raw, HEADER.size)[0] if len(raw) > HEADER.size else 0
    if code < 0:
        raise OSError(-code, _extended(raw) or os.strerror(-code))


def _extended(raw: bytes) -> str:
    """The text of an extended ACK; empty if there is none.

    The attributes follow the request's header, and the rest of the request unless it was cut off
    (netlink_ack, net/netlink/af_netlink.c).
    """
    _, kind, flags, _, _ = HEADER.unpack_from(raw)
    request = HEADER.size + _NUMBER.size
    if kind != NLMSG_ERROR or not flags & NLM_F_ACK_TLVS or len(raw) < request + _U32.size:
        return ""
    length = HEADER.size if flags & NLM_F_CAPPED else _U32.unpack_from(raw, request)[0]
    for number, offset, size in attributes_from(raw, request + _aligned(length)):
        if number == _NLMSGERR_ATTR_MSG:
            text = raw[offset + ATTRIBUTE.size : offset + size].rstrip(b"\0")
            return text.decode("ascii", "backslashreplace")
    return ""


def only(raw: bytes, kind: Kind) -> bytes:
    """``raw`` with the attributes of ``kind`` alone."""
    if kind.attributes is None:
        return raw
    start = HEADER.size + kind.body
    kept = [raw[4:start]]
    kept += [
        raw[offset : offset + _aligned(length)]
        for number, offset, length in _attributes(raw, kind)
        if number in kind.attributes
    ]
    rest = b"".join(kept)
    return _U32.pack(_U32.size + len(rest)) + rest


def lasting(raw: bytes) -> bytes:
    """A route without RTA_CACHEINFO, which counts the seconds of an IPv6 route's life.

    The kernel writes it just before RTA_PREF, the last one (rt6_fill_node, net/ipv6/route.c).
    """
    if raw[-_TAIL:].startswith(_CACHEINFO):
        return raw[HEADER.size : -_TAIL] + raw[-_PREF:]
    if raw[HEADER.size] == socket.AF_INET:
        return raw[HEADER.size :]
    others = (
        raw[offset : offset + length]
        for number, offset, length in _attributes(raw, ROUTES)
        if number != _RTA_CACHEINFO
    )
    return raw[HEADER.size : HEADER.size + ROUTES.body] + b"".join(others)


def _attributes(raw: bytes, kind: Kind) -> Iterator[tuple[int, int, int]]:
    """Number, offset and length of each attribute."""
    return attributes_from(raw, HEADER.size + kind.body)


def attributes_from(raw: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """Number, offset and length of each attribute, the first of which is at ``offset``."""
    while offset + ATTRIBUTE.size <= len(raw):
        length, number = ATTRIBUTE.unpack_from(raw, offset)
        if length < ATTRIBUTE.size:
            return
        yield number & _NLA_TYPE_MASK, offset, length
        offset += _aligned(length)


def values_from(raw: bytes, offset: int) -> dict[int, bytes]:
    """The bytes of each attribute, by number; the first attribute is at ``offset``."""
    return {
        number: raw[start + ATTRIBUTE.size : start + length]
        for number, start, length in attributes_from(raw, offset)
    }


def number(raw: bytes, kind: Kind, attribute: int) -> int | None:
    """The value of a 32-bit attribute of a raw message; None if it has none."""
    value = attribute_of(raw, kind, attribute)
    return _U32.unpack(value)[0] if value is not None and len(value) == _U32.size else None


def attribute_of(raw: bytes, kind: Kind, attribute: int) -> bytes | None:
    """The bytes of an attribute of a raw message; None if it has none."""
    for found, offset, length in _attributes(raw, kind):
        if found == attribute:
            return raw[offset + ATTRIBUTE.size : offset + length]
    return None


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and the whole of each message that a datagram has."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset : offset + length]
        offset += max(_aligned(length), HEADER.size)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
