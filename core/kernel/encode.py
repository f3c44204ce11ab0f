# SPDX-License-Identifier: Apache-2.0
"""Typed objects as requests to make, replace or remove them. Pure."""

from enum import Enum
from typing import Any

from ec2net.core.kernel.decode import IFF_UP, KINDS, RULE_ACTIONS, family
from ec2net.core.kernel.request import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
)
from ec2net.core.model.objects import (
    Address,
    AnyAddress,
    LinkSetting,
    Route,
    RouteKind,
    Rule,
    Setting,
)

# include/uapi/linux/rtnetlink.h
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_GETROUTE, _RTM_NEWRULE = 16, 20, 24, 26, 32
_RTM_NEWLINKPROP = 108
_DELETE = 1
"""From RTM_NEW... to RTM_DEL..."""
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_RTNH_F_ONLINK = 4
_TYPES = {kind: number for number, kind in KINDS.items()}
_RULE_ACTIONS = {action: number for number, action in RULE_ACTIONS.items()}

_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200

_LAST_SMALL_TABLE = 255
"""Of what fits into the structure; RTA_TABLE and FRA_TABLE hold any."""


class Verb(Enum):
    """What a request does. The values are for messages."""

    ADD = "add"
    """It must not be there."""
    REPLACE = "replace"
    REMOVE = "del"


_FLAGS = {
    Verb.ADD: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    Verb.REPLACE: NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
    Verb.REMOVE: NLM_F_ACK,
}


def address(verb: Verb, item: Address, protocol: int | None) -> Request:
    """Without prefix route, and without duplicate address detection: the VPC assigns uniquely.

    ``protocol`` is None where an address cannot be marked.
    """
    ip = str(item.interface.ip)
    version = item.interface.version
    flags = _IFA_F_NOPREFIXROUTE | (_IFA_F_NODAD if version == 6 else 0)
    attributes: list[tuple[str, Any]] = [("IFA_ADDRESS", ip), ("IFA_FLAGS", flags)]
    if version == 4:
        attributes.append(("IFA_LOCAL", ip))
    if protocol is not None:
        attributes.append(("IFA_PROTO", protocol))
    fields = {
        "family": family(version),
        "prefixlen": item.interface.network.prefixlen,
        "index": item.link.index,
    }
    return Request("ifaddrmsg", _kind(_RTM_NEWADDR, verb), _FLAGS[verb], fields, attributes)


def route(verb: Verb, item: Route, protocol: int) -> Request:
    destination = item.destination
    fields = {
        "family": family(destination.version),
        "dst_len": destination.prefixlen,
        "table": item.table if item.table <= _LAST_SMALL_TABLE else 0,
        "proto": protocol,
        "type": _TYPES[item.kind],
        "scope": _SCOPE_UNIVERSE,
    }
    attributes: list[tuple[str, Any]] = [("RTA_OIF", item.link.index), ("RTA_TABLE", item.table)]
    if destination.prefixlen:
        attributes.append(("RTA_DST", str(destination.network_address)))
    if item.metric:
        attributes.append(("RTA_PRIORITY", item.metric))
    if item.gateway is not None:
        # The subnet has no route in main, so the kernel could not find the gateway by itself.
        attributes.append(("RTA_GATEWAY", str(item.gateway)))
        fields["flags"] = _RTNH_F_ONLINK
    elif destination.version == 4:
        fields["scope"] = _SCOPE_HOST if item.kind is RouteKind.LOCAL else _SCOPE_LINK
    if item.source is not None:
        attributes.append(("RTA_PREFSRC", str(item.source)))
    return Request("rtmsg", _kind(_RTM_NEWROUTE, verb), _FLAGS[verb], fields, attributes)


def rule(verb: Verb, item: Rule, protocol: int) -> Request:
    """``protocol`` is part of a deletion too: the kernel then only takes a rule of ours."""
    fields = {
        "family": family(item.source.version),
        "src_len": item.source.prefixlen,
        "table": item.table if item.table <= _LAST_SMALL_TABLE else 0,
        "action": _RULE_ACTIONS[item.action],
    }
    attributes: list[tuple[str, Any]] = [
        ("FRA_PRIORITY", item.priority),
        ("FRA_TABLE", item.table),
        ("FRA_PROTOCOL", protocol),
    ]
    if item.destination is not None:
        fields["dst_len"] = item.destination.prefixlen
        attributes.append(("FRA_DST", str(item.destination.network_address)))
    if item.source.prefixlen:
        attributes.append(("FRA_SRC", str(item.source.network_address)))
    if item.suppress_prefixlength is not None:
        attributes.append(("FRA_SUPPRESS_PREFIXLEN", item.suppress_prefixlength))
    if item.suppress_group is not None:
        attributes.append(("FRA_SUPPRESS_IFGROUP", item.suppress_group))
    if item.mark is not None:
        attributes += [("FRA_FWMARK", item.mark.value), ("FRA_FWMASK", item.mark.mask)]
    return Request("fibmsg", _kind(_RTM_NEWRULE, verb), _FLAGS[verb], fields, attributes)


def link(verb: Verb, item: LinkSetting) -> Request:
    """A setting that rtnetlink has: not accept_ra."""
    fields = {"index": item.link.index}
    match item.setting:
        case Setting.ALTNAME:
            names = {"attrs": [["IFLA_ALT_IFNAME", item.value]]}
            flags = NLM_F_ACK if verb is Verb.REMOVE else NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND
            kind = _kind(_RTM_NEWLINKPROP, verb)
            return Request("ifinfmsg", kind, flags, fields, [("IFLA_PROP_LIST", names)])
        case Setting.UP:
            up = IFF_UP if item.value else 0
            fields |= {"flags": up, "change": IFF_UP}
            return Request("ifinfmsg", _RTM_NEWLINK, NLM_F_ACK, fields, [])
        case Setting.MTU | Setting.GROUP:
            name = f"IFLA_{item.setting.name}"
            return Request("ifinfmsg", _RTM_NEWLINK, NLM_F_ACK, fields, [(name, item.value)])
    raise ValueError(f"rtnetlink has no setting {item.setting.value}")


def lookup(destination: AnyAddress, source: AnyAddress | None = None) -> Request:
    """Which way a packet would go (``ip route get``)."""
    fields = {"family": family(destination.version), "dst_len": destination.max_prefixlen}
    attributes = [("RTA_DST", str(destination))]
    if source is not None:
        fields["src_len"] = source.max_prefixlen
        attributes.append(("RTA_SRC", str(source)))
    return Request("rtmsg", _RTM_GETROUTE, 0, fields, attributes)


def _kind(new: int, verb: Verb) -> int:
    return new + _DELETE if verb is Verb.REMOVE else new
