# SPDX-License-Identifier: Apache-2.0
"""Bytes of RTM_NEWRULE to rules with all selectors. Pure.

By hand instead of pyroute2, which takes a second for the 12,600 rules of the largest host.
"""

import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ec2net.core.kernel import wire
from ec2net.core.model.identity import printable
from ec2net.core.model.objects import AnyNetwork, Mark, Rule, RuleAction
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.model.purpose import Purpose
from ec2net.core.model.snapshot import Found

_HEADER = struct.Struct("=8BI")
"""struct fib_rule_hdr: family, dst_len, src_len, tos, table, two reserved, action, flags."""
_PAIR16, _PAIR32 = struct.Struct("=HH"), struct.Struct("=II")
_AF_INET, _AF_INET6 = 2, 10
_INVERT = 2
_NONE = 0xFFFFFFFF
_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
"""FR_ACT_* (include/uapi/linux/fib_rules.h)."""

(_DST, _SRC, _IIF, _GOTO, _PRIORITY, _MARK, _TUNNEL, _GROUP, _LENGTH, _TABLE, _MASK, _OIF) = (
    *(1, 2, 3, 4, 6, 10, 12, 13, 14, 15, 16, 17),
)
_L3MDEV, _UIDS, _PROTOCOL, _IP_PROTO, _SPORT, _DPORT = 19, 20, 21, 22, 23, 24
_KNOWN = frozenset((1, 2, 3, 4, 6, *range(10, 25)))
"""FRA_*; any other attribute is a selector of a newer kernel."""


MODELLED = {
    1: RuleAction.LOOKUP,
    2: RuleAction.GOTO,
    3: RuleAction.NOP,
    7: RuleAction.UNREACHABLE,
}
"""The actions of ec2net's rules."""
_OF_OURS = frozenset(
    (_DST, _SRC, _GOTO, _PRIORITY, _MARK, _GROUP, _LENGTH, _TABLE, _MASK, _PROTOCOL)
)
"""Attributes of ec2net's rules; a rule with any other attribute is foreign and has more selectors."""


@dataclass(frozen=True, slots=True)
class ForeignRule:
    """A rule of another maker."""

    rule: PolicyRule
    modelled: Found[Rule] | None
    """As an object of a plan, where it can be one."""


def read(raw: bytes, protocol: int) -> Found[Rule] | ForeignRule | None:
    """``protocol``: ec2net's mark. None for a rule with it that is not ec2net's kind of rule."""
    found = modelled(raw)
    if is_by(raw, protocol):
        return found
    # Others' rules by mark, and those that look nothing up, are as all that is not modelled.
    beyond = found is not None and found.item.purpose in (Purpose.ANSWERS, Purpose.TREE)
    return ForeignRule(decoded(raw), None if beyond else found)


def is_by(raw: bytes, protocol: int) -> bool:
    """Whether a rule has this mark of its maker."""
    return wire.attribute_of(raw, wire.RULES, _PROTOCOL) == bytes((protocol,))


def modelled(raw: bytes) -> Found[Rule] | None:
    """None for a rule that has more than ec2net's kind of rule can have."""
    body = wire.HEADER.size
    family, to_length, from_length, tos, table, _, _, action, flags = _HEADER.unpack_from(raw, body)
    found = _attributes(raw)
    selectors = bool(to_length) + bool(from_length) + (_MASK in found)
    if (
        action not in MODELLED
        or tos
        or flags & _INVERT
        or family not in (_AF_INET, _AF_INET6)
        or not found.keys() <= _OF_OURS
        or selectors > (0 if MODELLED[action] is RuleAction.UNREACHABLE else 1)
    ):
        return None
    ipv4 = family == _AF_INET
    rule = Rule(
        source=_network(found.get(_SRC), from_length, ipv4=ipv4),
        priority=_number(found, _PRIORITY) or 0,
        table=_number(found, _TABLE) or table,
        suppress_prefixlength=_suppression(found, _LENGTH),
        suppress_group=_suppression(found, _GROUP),
        mark=Mark(_number(found, _MARK) or 0, _number(found, _MASK) or 0)
        if _MASK in found
        else None,
        destination=_network(found.get(_DST), to_length, ipv4=ipv4) if to_length else None,
        action=MODELLED[action],
        target=_number(found, _GOTO) or 0,
    )
    return Found(rule, found[_PROTOCOL][0] if found.get(_PROTOCOL) else 0)


def _attributes(raw: bytes) -> dict[int, bytes]:
    return wire.values_from(raw, wire.HEADER.size + wire.RULES.body)


def decoded(raw: bytes) -> PolicyRule:
    """The rule with all of its selectors."""
    body = wire.HEADER.size
    family, to_length, from_length, tos, table, _, _, action, flags = _HEADER.unpack_from(raw, body)
    found = _attributes(raw)
    ipv4 = family == _AF_INET
    mask = _number(found, _MASK)
    return PolicyRule(
        source=_network(found.get(_SRC), from_length, ipv4=ipv4),
        priority=_number(found, _PRIORITY) or 0,
        action=_ACTIONS.get(action, f"action {action}"),
        table=_number(found, _TABLE) or table,
        destination=_network(found.get(_DST), to_length, ipv4=ipv4) if to_length else None,
        protocol=found[_PROTOCOL][0] if found.get(_PROTOCOL) else 0,
        mark=Mark(_number(found, _MARK) or 0, mask) if mask else None,
        inverted=bool(flags & _INVERT),
        suppress=_suppressed(found),
        others=tuple(_others(found, tos)),
    )


def _others(found: dict[int, bytes], tos: int) -> list[str]:
    """The selectors that a lookup by addresses does not answer, in the words of ip-rule(8)."""
    words = [f"tos {tos:#04x}"] if tos else []
    for number, name in ((_IIF, "iif"), (_OIF, "oif")):
        if number in found:
            words.append(
                f"{name} {printable(found[number].rstrip(bytes(1)).decode(errors='replace'))}"
            )
    if found.get(_UIDS, b"") and (uids := _PAIR32.unpack(found[_UIDS])) != (_NONE, _NONE):
        words.append(f"uidrange {uids[0]}-{uids[1]}")
    if any(found.get(_IP_PROTO, b"")):
        words.append(f"ipproto {found[_IP_PROTO][0]}")
    for number, name in ((_SPORT, "sport"), (_DPORT, "dport")):
        if number in found:
            first, last = _PAIR16.unpack(found[number])
            words.append(f"{name} {first}" if first == last else f"{name} {first}-{last}")
    if any(found.get(_L3MDEV, b"")):
        words.append("l3mdev")
    if any(found.get(_TUNNEL, b"")):
        words.append("tun_id")
    return words + [f"attribute {number}" for number in sorted(found.keys() - _KNOWN)]


def _suppressed(found: dict[int, bytes]) -> str:
    words = []
    for number, name in ((_LENGTH, "suppress_prefixlength"), (_GROUP, "suppress_ifgroup")):
        value = _suppression(found, number)
        if value is not None:
            words.append(f"{name} {value}")
    return " ".join(words)


def _suppression(found: dict[int, bytes], attribute: int) -> int | None:
    value = _number(found, attribute)
    return None if value == _NONE else value


def _number(found: dict[int, bytes], attribute: int) -> int | None:
    value = found.get(attribute)
    return int.from_bytes(value, sys.byteorder) if value else None


def _network(address: bytes | None, length: int, *, ipv4: bool) -> AnyNetwork:
    size = 4 if ipv4 else 16
    raw = address if address is not None and len(address) == size else bytes(size)
    kind = IPv4Network if ipv4 else IPv6Network
    return kind((raw, length), strict=False)
