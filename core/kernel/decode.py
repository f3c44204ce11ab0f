# SPDX-License-Identifier: Apache-2.0
"""Messages of the kernel to typed objects. Pure; ``encode`` is the reverse."""

import struct
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from typing import Any

from ec2net.core.kernel import next_hops, pyroute
from ec2net.core.kernel.wire import ADDRESSES, HEADER, Kind, values_from
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac, link_name
from ec2net.core.model.objects import (
    Address,
    AnyNetwork,
    LinkRef,
    Route,
    RouteKind,
)
from ec2net.core.model.snapshot import AddressState, Found

AF_INET, AF_INET6 = 2, 10
ARPHRD_ETHER = 1
IFF_UP = 0x1
IFA_F_OPTIMISTIC, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x4, 0x8, 0x40
RTM_F_CLONED = 0x200
_NONE = 0xFFFFFFFF
_IFADDRMSG = struct.Struct("=4BI")
"""struct ifaddrmsg (include/uapi/linux/if_addr.h): family, length, flags, scope, index."""
_CACHEINFO = struct.Struct("=4I")
"""struct ifa_cacheinfo: seconds preferred and valid, two stamps."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_PROTO = 1, 2, 6, 11
KINDS = {1: RouteKind.UNICAST, 2: RouteKind.LOCAL, 7: RouteKind.UNREACHABLE}


def message(raw: bytes, kind: Kind) -> Any:
    """The bytes of a message, decoded by pyroute2."""
    found = pyroute.message_class(kind.message)(raw)
    found.decode()
    return found


def family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6


def _attributes(message: Mapping[str, Any]) -> dict[str, Any]:
    """By name. Item by item: pyroute2's pairs decode on access, and slices of them are slow."""
    return {pair[0]: pair[1] for pair in message["attrs"]}


def link(message: Mapping[str, Any]) -> Link:
    """RTM_NEWLINK. The caller finds the driver: rtnetlink does not report it."""
    attributes = _attributes(message)
    info = {pair[0]: pair[1] for pair in attributes.get("IFLA_LINKINFO", {}).get("attrs", ())}
    kind = info.get("IFLA_INFO_KIND") or ""
    names = attributes.get("IFLA_PROP_LIST", {}).get("attrs", ())
    mac = link_mac(message)
    return Link(
        index=message["index"],
        name=link_name(attributes["IFLA_IFNAME"]),
        mac=mac,
        driver="",
        kind=kind,
        mtu=attributes.get("IFLA_MTU", 0),
        up=bool(message["flags"] & IFF_UP),
        group=attributes.get("IFLA_GROUP", 0),
        altnames=tuple(link_name(pair[1]) for pair in names if pair[0] == "IFLA_ALT_IFNAME"),
        permanent=mac is not None and str(attributes.get("IFLA_PERM_ADDRESS")).lower() == str(mac),
        master=attributes.get("IFLA_MASTER", 0),
        mtu_max=attributes.get("IFLA_MAX_MTU", 0),
        mtu_min=attributes.get("IFLA_MIN_MTU", 0),
        vrf_table=_attributes(info["IFLA_INFO_DATA"]).get("IFLA_VRF_TABLE", 0)
        if kind == "vrf" and "IFLA_INFO_DATA" in info
        else 0,
    )


def link_mac(message: Mapping[str, Any]) -> Mac | None:
    """The permanent MAC of an Ethernet link, else its present one (veth has no permanent one)."""
    if message["ifi_type"] != ARPHRD_ETHER:
        return None
    attributes = _attributes(message)
    for name in ("IFLA_PERM_ADDRESS", "IFLA_ADDRESS"):
        try:
            mac = Mac.parse(str(attributes.get(name)))
        except ValueError:
            continue
        if mac.text != "00:00:00:00:00:00":
            return mac
    return None


def address(raw: bytes, names: Mapping[int, str]) -> Found[Address] | None:
    """The bytes of RTM_NEWADDR; None for another family than IPv4 and IPv6. By hand instead of
    pyroute2, which takes a second for the 6,400 addresses of the largest host."""
    family, length, _, _, index = _IFADDRMSG.unpack_from(raw, HEADER.size)
    if family not in (AF_INET, AF_INET6):
        return None
    found = _address_attributes(raw)
    held = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    kind = IPv4Interface if family == AF_INET else IPv6Interface
    maker = found.get(_IFA_PROTO)
    return Found(
        Address(LinkRef(index, names.get(index, str(index))), kind((held, length))),
        maker[0] if maker else 0,
    )


def address_state(raw: bytes, names: Mapping[int, str]) -> AddressState | None:
    """As ``address``, with what that leaves out, since it changes by itself."""
    found = address(raw, names)
    if found is None:
        return None
    _, _, flags, _, _ = _IFADDRMSG.unpack_from(raw, HEADER.size)
    cache = _address_attributes(raw).get(_IFA_CACHEINFO)
    valid = _CACHEINFO.unpack(cache)[1] if cache else _NONE
    item = found.item
    tentative = flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC
    failed = bool(flags & IFA_F_DADFAILED)
    return AddressState(
        item.link, item.interface, failed, _unless_none(valid), tentative=bool(tentative)
    )


def _address_attributes(raw: bytes) -> dict[int, bytes]:
    return values_from(raw, HEADER.size + ADDRESSES.body)


def route(message: Mapping[str, Any], names: Mapping[int, str]) -> Found[Route] | None:
    """RTM_NEWROUTE; None for multicast families, and for answers to lookups.

    None also for routes of some traffic only (by its TOS, or IPv6 by its source). ec2net never
    creates them, and the kernel keeps them in addition to an ec2net route with the same destination
    and metric.
    """
    of_some = message["flags"] & RTM_F_CLONED or message["tos"] or message["src_len"]
    if of_some or message["family"] not in (AF_INET, AF_INET6):
        return None
    attributes = _attributes(message)
    gateway, source = attributes.get("RTA_GATEWAY"), attributes.get("RTA_PREFSRC")
    more = next_hops.decoded(bytes(getattr(message, "data", b"")), names)
    index = attributes.get("RTA_OIF", 0)  # none: multipath, blackhole
    if len({hop.link for hop in more.hops}) == 1:
        index = more.hops[0].link.index
    kind = KINDS.get(message["type"], RouteKind.OTHER)
    return Found(
        Route(
            destination=_network(message, attributes.get("RTA_DST"), "dst_len"),
            table=attributes.get("RTA_TABLE", message["table"]),
            metric=attributes.get("RTA_PRIORITY", 0),
            link=LinkRef(index, names.get(index, str(index))),
            gateway=ip_address(gateway) if gateway else more.gateway,
            source=ip_address(source) if source else None,
            kind=kind if index or kind is not RouteKind.UNICAST else RouteKind.OTHER,
            hops=more.hops,
            encap=more.encap,
            further=more.further,
            next_hop_object=more.object_id,
        ),
        message["proto"],
    )


def _network(message: Mapping[str, Any], address: str | None, length: str) -> AnyNetwork:
    """Without an address it is every one of the family."""
    any_address = "0.0.0.0" if message["family"] == AF_INET else "::"
    return ip_network(f"{address or any_address}/{message[length]}", strict=False)


def _unless_none(value: int | None) -> int | None:
    return None if value in (None, _NONE) else value
