# SPDX-License-Identifier: Apache-2.0
"""Next hops of a route beyond one gateway of its own IP version, as bytes of netlink. Pure.

These are several next hops (RTA_MULTIPATH), a gateway of the other IP version (RTA_VIA), a tunnel
(RTA_ENCAP) and a next hop object (RTA_NH_ID). A tunnel, metrics and realms stay bytes: ec2net copies
them and never interprets them.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from ec2net.core.kernel import wire
from ec2net.core.model.objects import AnyAddress, LinkRef, NextHop, Route

# include/uapi/linux/rtnetlink.h
_OIF, _GATEWAY, _METRICS, _MULTIPATH, _FLOW, _VIA = 4, 5, 8, 9, 11, 18
_ENCAP_TYPE, _ENCAP, _NH_ID = 21, 22, 30
ONLINK = 4
"""RTNH_F_ONLINK."""
_RTNEXTHOP = struct.Struct("=HBBi")
"""struct rtnexthop: length, flags, weight - 1, index of the link."""
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_AS_BYTES = (_METRICS, _FLOW)


@dataclass(frozen=True, slots=True)
class NextHops:
    """The part of a route that ``decode`` takes from the bytes."""

    gateway: AnyAddress | None = None
    """From RTA_VIA."""
    hops: tuple[NextHop, ...] = ()
    encap: bytes = b""
    further: bytes = b""
    object_id: int = 0


def decoded(raw: bytes, names: Mapping[int, str]) -> NextHops:
    """``raw``: a whole RTM_NEWROUTE."""
    found = wire.values_from(raw, wire.HEADER.size + wire.ROUTES.body)

    def whole(numbers: Iterable[int]) -> bytes:
        return b"".join(_attribute(number, found[number]) for number in numbers if number in found)

    return NextHops(
        _via(found.get(_VIA, b"")),
        tuple(_hops(found.get(_MULTIPATH, b""), names)),
        whole((_ENCAP_TYPE, _ENCAP)),
        whole(_AS_BYTES),
        _U32.unpack(found[_NH_ID])[0] if _NH_ID in found else 0,
    )


def encoded(route: Route) -> bytes:
    """The attributes of ``route`` that have no place in pyroute2's message.

    A next hop object excludes any other next hop (fib_nh_match, net/ipv4/fib_semantics.c).
    """
    parts = [route.further]
    if route.next_hop_object:
        parts.append(_attribute(_NH_ID, _U32.pack(route.next_hop_object)))
    elif route.hops:
        parts.append(
            _attribute(_MULTIPATH, b"".join(_hop(hop, route.version) for hop in route.hops))
        )
    else:
        parts.append(route.encap)
        if route.gateway is not None and route.gateway.version != route.version:
            parts.append(_attribute(_VIA, _through(route.gateway)))
    return b"".join(parts)


def links(raw: bytes) -> set[int]:
    """The indices of the links that a raw RTM_NEWROUTE or RTM_DELROUTE leads through."""
    link = wire.number(raw, wire.ROUTES, _OIF)
    if link is not None:
        return {link}
    several = wire.attribute_of(raw, wire.ROUTES, _MULTIPATH) or b""
    return {index for _, _, index, _ in _nested(several)}


def _nested(several: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Flags, weight, link and attributes of each next hop."""
    offset = 0
    while offset + _RTNEXTHOP.size <= len(several):
        length, flags, hops, index = _RTNEXTHOP.unpack_from(several, offset)
        if length < _RTNEXTHOP.size:
            return
        yield flags, hops + 1, index, several[offset + _RTNEXTHOP.size : offset + length]
        offset += -(-length // 4) * 4


def _hops(several: bytes, names: Mapping[int, str]) -> Iterator[NextHop]:
    for _, weight, index, attributes in _nested(several):
        gateway: AnyAddress | None = None
        encap = b""
        for number, offset, length in wire.attributes_from(attributes, 0):
            value = attributes[offset + wire.ATTRIBUTE.size : offset + length]
            if number == _GATEWAY:
                gateway = ip_address(value)
            elif number == _VIA:
                gateway = _via(value)
            elif number in (_ENCAP_TYPE, _ENCAP):
                encap += _attribute(number, value)
        yield NextHop(LinkRef(index, names.get(index, str(index))), gateway, weight, encap)


def _hop(hop: NextHop, version: int) -> bytes:
    attributes = hop.encap
    if hop.gateway is not None:
        same = hop.gateway.version == version
        number, value = (_GATEWAY, hop.gateway.packed) if same else (_VIA, _through(hop.gateway))
        attributes = _attribute(number, value) + attributes
    flags = 0 if hop.gateway is None else ONLINK
    length = _RTNEXTHOP.size + len(attributes)
    return _RTNEXTHOP.pack(length, flags, hop.weight - 1, hop.link.index) + attributes


def _via(value: bytes) -> AnyAddress | None:
    """struct rtvia: the family, and the address."""
    return ip_address(value[_U16.size :]) if len(value) in (6, 18) else None


def _through(gateway: AnyAddress) -> bytes:
    family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    return _U16.pack(family) + gateway.packed


def _attribute(number: int, value: bytes) -> bytes:
    nested = 0x8000 if number in (_METRICS, _ENCAP, _MULTIPATH) else 0
    length = wire.ATTRIBUTE.size + len(value)
    return wire.ATTRIBUTE.pack(length, number | nested) + value + bytes(-length % 4)
