# SPDX-License-Identifier: Apache-2.0
"""pyroute2's messages to typed objects. Pure; ``encode`` is the reverse."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac, link_name
from ec2net.core.model.objects import (
    Address,
    AnyNetwork,
    LinkRef,
    Mark,
    Route,
    RouteKind,
    Rule,
    RuleAction,
)
from ec2net.core.model.snapshot import AddressState, Found

AF_INET, AF_INET6 = 2, 10
ARPHRD_ETHER = 1
IFF_UP = 0x1
IFA_F_DADFAILED = 0x8
RTM_F_CLONED = 0x200
FIB_RULE_INVERT = 2
_NONE = 0xFFFFFFFF
RULE_ACTIONS = {1: RuleAction.LOOKUP, 7: RuleAction.UNREACHABLE}
"""FR_ACT_TO_TBL, FR_ACT_UNREACHABLE (include/uapi/linux/fib_rules.h)."""
KINDS = {1: RouteKind.UNICAST, 2: RouteKind.LOCAL, 7: RouteKind.UNREACHABLE}
# Attributes of ec2net's rules; a rule with any other attribute is foreign and has more selectors.
_RULE_ATTRIBUTES = {
    "FRA_TABLE",
    "FRA_PRIORITY",
    "FRA_PROTOCOL",
    "FRA_SRC",
    "FRA_DST",
    "FRA_SUPPRESS_PREFIXLEN",
    "FRA_SUPPRESS_IFGROUP",
    "FRA_FWMARK",
    "FRA_FWMASK",
}


def family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6


def _attributes(message: Mapping[str, Any]) -> dict[str, Any]:
    """By name. Item by item: pyroute2's pairs decode on access, and slices of them are slow."""
    return {pair[0]: pair[1] for pair in message["attrs"]}


def link(message: Mapping[str, Any]) -> Link:
    """RTM_NEWLINK. The caller finds the driver: rtnetlink does not report it."""
    attributes = _attributes(message)
    info = attributes.get("IFLA_LINKINFO", {}).get("attrs", ())
    names = attributes.get("IFLA_PROP_LIST", {}).get("attrs", ())
    mac = link_mac(message)
    return Link(
        index=message["index"],
        name=link_name(attributes["IFLA_IFNAME"]),
        mac=mac,
        driver="",
        kind=next((pair[1] for pair in info if pair[0] == "IFLA_INFO_KIND"), None) or "",
        mtu=attributes.get("IFLA_MTU", 0),
        up=bool(message["flags"] & IFF_UP),
        group=attributes.get("IFLA_GROUP", 0),
        altnames=tuple(link_name(pair[1]) for pair in names if pair[0] == "IFLA_ALT_IFNAME"),
        permanent=mac is not None and str(attributes.get("IFLA_PERM_ADDRESS")).lower() == str(mac),
        master=attributes.get("IFLA_MASTER", 0),
        mtu_max=attributes.get("IFLA_MAX_MTU", 0),
        mtu_min=attributes.get("IFLA_MIN_MTU", 0),
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


def address(message: Mapping[str, Any], names: Mapping[int, str]) -> Found[Address]:
    """RTM_NEWADDR."""
    attributes = _attributes(message)
    ip = attributes.get("IFA_LOCAL") or attributes["IFA_ADDRESS"]
    index = message["index"]
    return Found(
        Address(
            LinkRef(index, names.get(index, str(index))),
            ip_interface(f"{ip}/{message['prefixlen']}"),
        ),
        attributes.get("IFA_PROTO", 0),
    )


def address_state(message: Mapping[str, Any], names: Mapping[int, str]) -> AddressState:
    """RTM_NEWADDR, of which ``address`` leaves out what changes by itself."""
    found = address(message, names).item
    valid = _attributes(message).get("IFA_CACHEINFO", {}).get("ifa_valid", _NONE)
    duplicate = bool(message["flags"] & IFA_F_DADFAILED)
    return AddressState(found.link, found.interface, duplicate, _unless_none(valid))


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
    index = attributes.get("RTA_OIF", 0)  # none: multipath, blackhole
    kind = KINDS.get(message["type"], RouteKind.OTHER)
    if "RTA_VIA" in attributes or "RTA_ENCAP_TYPE" in attributes:
        # a gateway of the other family, or a tunnel: ec2net does not model these
        kind = RouteKind.OTHER
    return Found(
        Route(
            destination=_network(message, attributes.get("RTA_DST"), "dst_len"),
            table=attributes.get("RTA_TABLE", message["table"]),
            metric=attributes.get("RTA_PRIORITY", 0),
            link=LinkRef(index, names.get(index, str(index))),
            gateway=ip_address(gateway) if gateway else None,
            source=ip_address(source) if source else None,
            kind=kind if index or kind is not RouteKind.UNICAST else RouteKind.OTHER,
        ),
        message["proto"],
    )


def rule(message: Mapping[str, Any]) -> Found[Rule] | None:
    """RTM_NEWRULE; None for rules that have more than our kind of rule can have."""
    attributes = {
        key: value for key, value in message["attrs"] if key != "UNKNOWN" and value is not None
    }
    action = RULE_ACTIONS.get(message["action"])
    selectors = message["src_len"], message["dst_len"], "FRA_FWMASK" in attributes
    if (
        action is None
        or message["tos"]
        or message["flags"] & FIB_RULE_INVERT
        or message["family"] not in (AF_INET, AF_INET6)
        or not set(attributes) <= _RULE_ATTRIBUTES
        or sum(map(bool, selectors)) > (1 if action is RuleAction.LOOKUP else 0)
    ):
        return None
    destination = _network(message, attributes.get("FRA_DST"), "dst_len")
    return Found(
        Rule(
            source=_network(message, attributes.get("FRA_SRC"), "src_len"),
            priority=attributes.get("FRA_PRIORITY", 0),
            table=attributes.get("FRA_TABLE", message["table"]),
            suppress_prefixlength=_unless_none(attributes.get("FRA_SUPPRESS_PREFIXLEN")),
            suppress_group=_unless_none(attributes.get("FRA_SUPPRESS_IFGROUP")),
            mark=_mark(attributes),
            destination=destination if message["dst_len"] else None,
            action=action,
        ),
        attributes.get("FRA_PROTOCOL", 0),
    )


def _network(message: Mapping[str, Any], address: str | None, length: str) -> AnyNetwork:
    """Without an address it is every one of the family."""
    any_address = "0.0.0.0" if message["family"] == AF_INET else "::"
    return ip_network(f"{address or any_address}/{message[length]}", strict=False)


def _mark(attributes: Mapping[str, Any]) -> Mark | None:
    """A rule that goes by the mark always has the mask as well (fib_nl_fill_rule)."""
    if "FRA_FWMASK" not in attributes:
        return None
    return Mark(attributes.get("FRA_FWMARK", 0), attributes["FRA_FWMASK"])


def _unless_none(value: int | None) -> int | None:
    return None if value in (None, _NONE) else value
