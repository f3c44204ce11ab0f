# SPDX-License-Identifier: Apache-2.0
"""Typed objects as requests to make, replace or remove them. Pure."""

from enum import Enum
from typing import Any

from ec2net.core.kernel import next_hops
from ec2net.core.kernel.decode import IFF_UP, KINDS, family
from ec2net.core.kernel.policy_rules import MODELLED
from ec2net.core.kernel.relevance import LAST_SMALL_TABLE
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
    AnyNetwork,
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
_RTM_F_LOOKUP_TABLE, _RTM_F_FIB_MATCH = 0x1000, 0x2000
_TYPES = {kind: number for number, kind in KINDS.items()}
_RULE_ACTIONS = {action: number for number, action in MODELLED.items()}

_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200


class Verb(Enum):
    """The action of a request. The values are for messages."""

    ADD = "add"
    """It must not be there."""
    REPLACE = "replace"
    REMOVE = "del"


_FLAGS = {
    Verb.ADD: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    Verb.REPLACE: NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
    Verb.REMOVE: NLM_F_ACK,
}


def _given(**attributes: object) -> list[tuple[str, Any]]:
    """The attributes that have a value, in this order."""
    return [(name, value) for name, value in attributes.items() if value is not None]


def _text(address: AnyAddress | None) -> str | None:
    return None if address is None else str(address)


def _prefix(network: AnyNetwork | None) -> str | None:
    """The kernel takes no attribute of length 0."""
    return str(network.network_address) if network is not None and network.prefixlen else None


def _small(table: int) -> int:
    return table if table <= LAST_SMALL_TABLE else 0


def address(verb: Verb, item: Address, protocol: int | None) -> Request:
    """Without prefix route, and without duplicate address detection: the VPC assigns uniquely.

    ``protocol`` is None where an address cannot be marked.
    """
    ip = str(item.interface.ip)
    attributes = _given(
        IFA_ADDRESS=ip,
        IFA_FLAGS=_IFA_F_NOPREFIXROUTE | (_IFA_F_NODAD if item.version == 6 else 0),
        IFA_LOCAL=ip if item.version == 4 else None,
        IFA_PROTO=protocol,
    )
    fields = {
        "family": family(item.version),
        "prefixlen": item.interface.network.prefixlen,
        "index": item.link.index,
    }
    return Request("ifaddrmsg", _kind(_RTM_NEWADDR, verb), _FLAGS[verb], fields, attributes)


def route(verb: Verb, item: Route, protocol: int) -> Request:
    one = not (item.hops or item.next_hop_object)
    by_other = item.gateway is not None and item.gateway.version != item.version
    scope = _SCOPE_UNIVERSE
    if item.gateway is None and item.version == 4 and one:
        scope = _SCOPE_HOST if item.kind is RouteKind.LOCAL else _SCOPE_LINK
    fields = {
        "family": family(item.version),
        "dst_len": item.destination.prefixlen,
        "table": _small(item.table),
        "proto": protocol,
        "type": _TYPES[item.kind],
        "scope": scope,
        # The subnet has no route in main, so the kernel could not find the gateway by itself.
        "flags": next_hops.ONLINK if one and item.gateway is not None else 0,
    }
    attributes = _given(
        RTA_OIF=item.link.index if one else None,
        RTA_TABLE=item.table,
        RTA_DST=_prefix(item.destination),
        RTA_PRIORITY=item.metric or None,
        RTA_GATEWAY=_text(item.gateway) if one and not by_other else None,
        RTA_PREFSRC=_text(item.source),
    )
    kind, raw = _kind(_RTM_NEWROUTE, verb), next_hops.encoded(item)
    return Request("rtmsg", kind, _FLAGS[verb], fields, attributes, raw)


def rule(verb: Verb, item: Rule, protocol: int) -> Request:
    """``protocol`` is part of a deletion, too: the kernel then removes only rules with ec2net's
    mark."""
    fields = {
        "family": family(item.version),
        "src_len": item.source.prefixlen,
        "dst_len": item.destination.prefixlen if item.destination is not None else 0,
        "table": _small(item.table),
        "action": _RULE_ACTIONS[item.action],
    }
    attributes = _given(
        FRA_PRIORITY=item.priority,
        FRA_TABLE=item.table,
        FRA_PROTOCOL=protocol,
        FRA_DST=_prefix(item.destination),
        FRA_SRC=_prefix(item.source),
        FRA_GOTO=item.target or None,
        FRA_SUPPRESS_PREFIXLEN=item.suppress_prefixlength,
        FRA_SUPPRESS_IFGROUP=item.suppress_group,
        FRA_FWMARK=item.mark.value if item.mark is not None else None,
        FRA_FWMASK=item.mark.mask if item.mark is not None else None,
    )
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


def lookup(
    destination: AnyAddress,
    source: AnyAddress | None = None,
    *,
    through: int = 0,
    into: int = 0,
    mark: int = 0,
    matched: bool = False,
) -> Request:
    """Which way a packet would go (``ip route get``), and by which table.

    ``matched``: ask for the entry of the table that the kernel takes.

    ``through``: bound to the link of this index; ``into``: forwarded, having come in by this link.
    ``mark``: its fwmark.
    """
    fields = {
        "family": family(destination.version),
        "dst_len": destination.max_prefixlen,
        "flags": _RTM_F_LOOKUP_TABLE | (_RTM_F_FIB_MATCH if matched else 0),
    }
    if source is not None:
        fields["src_len"] = source.max_prefixlen
    attributes = _given(
        RTA_DST=str(destination),
        RTA_SRC=_text(source),
        RTA_IIF=into or None,
        RTA_OIF=through or None,
        RTA_MARK=mark or None,
    )
    return Request("rtmsg", _RTM_GETROUTE, 0, fields, attributes)


def _kind(new: int, verb: Verb) -> int:
    return new + _DELETE if verb is Verb.REMOVE else new
