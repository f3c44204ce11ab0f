# SPDX-License-Identifier: Apache-2.0
"""Packet filters that drop what an ENI's address sends or receives. Pure.

The rules of nftables decide in their order. A packet of an ENI is known in part: its link, its
address and its IP version. A match on anything else, such as a port or a state, may or may not
apply: an "accept" behind it lets some packets through, and a "drop" behind it is no finding.
iptables-nft has its rules in nftables, too.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.imds.endpoint import IPV4_ENDPOINT, IPV6_ENDPOINT
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import AnyAddress

RULES_MAX = 300_000
"""Rules times addresses that are followed, 1 s of CPU; a ruleset for more is not followed."""

_SENT = ("output", "postrouting", "egress")
_RECEIVED = ("input", "prerouting", "ingress")
_TYPES = ("filter", "route")
_DEPTH = 16
"""Jumps that the kernel allows in one packet's way (NFT_JUMP_STACK_SIZE)."""
_SHOWN = 3


class Verdict(Enum):
    """The fate of a packet in a chain."""

    DROP = "drop"
    ACCEPT = "accept"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Packet:
    """The known part of a packet. ``sent``: by the host; else it arrived."""

    sent: bool
    link: str
    own: AnyAddress

    def values(self) -> dict[str, str]:
        """By the names that nft gives to what it matches."""
        version = self.own.version
        link, address = ("oif", "saddr") if self.sent else ("iif", "daddr")
        ip = "ip" if version == 4 else "ip6"
        return {
            link: self.link,
            f"{link}name": self.link,
            f"{ip} {address}": str(self.own),
            "nfproto": f"ipv{version}",
            "protocol": ip,
        }


@dataclass(frozen=True, slots=True)
class Way:
    """A chain's answer for a packet."""

    verdict: Verdict
    handle: int | None = None
    """The rule that decided; None: the chain's policy."""
    chain: str = ""
    """The chain of that rule."""
    partly: bool = False
    """Whether an earlier rule may accept the packet."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain or one that rules jump to."""

    family: str
    table: str
    name: str
    hook: str = ""
    policy: str = "accept"
    device: str = ""
    rules: tuple[tuple[int, tuple[Any, ...]], ...] = ()
    """Each rule's handle and expressions."""

    @property
    def where(self) -> str:
        return f"table {self.family} {self.table}, chain {self.name}"


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The tables of nftables, as ``nft --json list ruleset`` prints them."""

    chains: Mapping[tuple[str, str, str], Chain] = field(default_factory=dict)
    sets: Mapping[tuple[str, str, str], tuple[Any, ...]] = field(default_factory=dict)

    @property
    def rules(self) -> int:
        return sum(len(chain.rules) for chain in self.chains.values())

    @classmethod
    def parse(cls, entries: Iterable[Mapping[str, Any]]) -> "Ruleset":
        """Entries of unknown form are left out."""
        chains: dict[tuple[str, str, str], dict[str, Any]] = {}
        rules: dict[tuple[str, str, str], list[tuple[int, tuple[Any, ...]]]] = {}
        sets: dict[tuple[str, str, str], tuple[Any, ...]] = {}
        for entry in entries:
            for kind, data in entry.items():
                if not isinstance(data, dict):
                    continue
                key = str(data.get("family")), str(data.get("table")), str(data.get("name"))
                if kind == "chain":
                    chains[key] = data
                elif kind in ("set", "map"):
                    sets[key] = tuple(data.get("elem", ()))
                elif kind == "rule":
                    of = key[0], key[1], str(data.get("chain"))
                    rule = int(data.get("handle", 0)), tuple(data.get("expr", ()))
                    rules.setdefault(of, []).append(rule)
        return cls(
            {key: _chain(key, data, rules.get(key, ())) for key, data in chains.items()}, sets
        )

    def chain(self, of: Chain, name: str) -> Chain | None:
        return self.chains.get((of.family, of.table, name))


def _chain(
    key: tuple[str, str, str],
    data: Mapping[str, Any],
    rules: Iterable[tuple[int, tuple[Any, ...]]],
) -> Chain:
    filters = data.get("type") in _TYPES
    hook = str(data.get("hook", "")) if filters else ""
    device = data.get("dev", "")
    shown = device if isinstance(device, str) else " ".join(map(str, device))
    return Chain(*key, hook, str(data.get("policy", "accept")), shown, tuple(rules))


def dropped(ruleset: Ruleset, host: HostIntent, others: Collection[Mac] = ()) -> Iterator[Finding]:
    """The chains that drop what ENIs send or receive. ``others``: ENIs that are only observed."""
    for intent in host.ready:
        if intent.mac in others:
            continue
        for sent, hooks in ((True, _SENT), (False, _RECEIVED)):
            for chain in ruleset.chains.values():
                if chain.hook in hooks and intent.link.name in (chain.device or intent.link.name):
                    yield from _of_chain(ruleset, chain, intent, sent=sent)


def hiding_imds(ruleset: Ruleset) -> Iterator[Finding]:
    """The chains that drop what the host sends to IMDS."""
    for endpoint in (IPV4_ENDPOINT, IPV6_ENDPOINT):
        address, values = endpoint.address, _to_imds(endpoint.address)
        for chain in ruleset.chains.values():
            if chain.hook not in _SENT or not _is_for(chain.family, address):
                continue
            way = follow(ruleset, chain, values)
            if way.verdict is Verdict.DROP:
                yield _finding(chain, way, f"packets to IMDS ({address})", "")


def _to_imds(address: AnyAddress) -> dict[str, str]:
    ip = "ip" if address.version == 4 else "ip6"
    known = {f"{ip} daddr": str(address), "nfproto": f"ipv{address.version}", "protocol": ip}
    return {**known, "l4proto": "tcp", "tcp dport": "80"}


def count(ruleset: Ruleset, host: HostIntent) -> int:
    """How many rules for how many addresses, at most."""
    return ruleset.rules * sum(len(intent.sources) for intent in host.ready)


def _of_chain(
    ruleset: Ruleset, chain: Chain, intent: EniIntent, *, sent: bool
) -> Iterator[Finding]:
    found: dict[Way, list[AnyAddress]] = {}
    for source in intent.sources:
        if not _is_for(chain.family, source.ip):
            continue
        values = Packet(sent, intent.link.name, source.ip).values()
        way = follow(ruleset, chain, values)
        by_policy = way.verdict is Verdict.CONTINUE and chain.policy == "drop"
        # A policy that drops what no rule accepts is how a firewall is written.
        if way.verdict is Verdict.DROP or (by_policy and not way.partly):
            found.setdefault(way, []).append(source.ip)
    link = intent.link.name
    for way, addresses in found.items():
        more = len(addresses) - _SHOWN
        shown = ", ".join(map(str, addresses[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
        what = f"packets from {shown}" if sent else f"packets to {shown} that arrive on {link}"
        yield _finding(chain, way, what, link)


def _is_for(family: str, address: AnyAddress) -> bool:
    return {"ip": address.version == 4, "ip6": address.version == 6, "arp": False}.get(family, True)


def _finding(chain: Chain, way: Way, what: str, link: str) -> Finding:
    by = "its policy" if way.handle is None else f"rule with handle {way.handle}"
    inside = f" (from chain {chain.name})" if way.handle and way.chain != chain.name else ""
    name = way.chain if way.handle else chain.name
    but = ", except those that an earlier rule accepts" if way.partly else ""
    return Finding(
        Severity.WARNING if way.partly else Severity.ERROR,
        Check.FILTER,
        link,
        f"the packet filter drops {what}{but}: table {chain.family} {chain.table}, chain "
        f"{name}, {by}{inside}",
        f"see the rule: nft --handle list chain {chain.family} {chain.table} {name}; change it in "
        "the tool that made it; ec2net never changes foreign tables",
    )


def follow(ruleset: Ruleset, chain: Chain, values: Mapping[str, str], depth: int = 0) -> Way:
    """The fate of a packet by the rules of a chain; ``CONTINUE``: none decides."""
    partly = False
    for handle, expressions in chain.rules:
        applies, verdict, target = _rule(ruleset, chain, expressions, values)
        if applies is False:
            continue
        if target is not None and depth < _DEPTH:
            inner = ruleset.chain(chain, target)
            way = follow(ruleset, inner, values, depth + 1) if inner is not None else None
            if way is None or (applies is None and way.verdict is Verdict.ACCEPT):
                partly = True
            elif applies is None or way.verdict is Verdict.CONTINUE:
                partly = partly or way.partly
            else:
                return Way(way.verdict, way.handle, way.chain, partly or way.partly)
        elif verdict is Verdict.ACCEPT and applies is None:
            partly = True
        elif verdict is not None and applies:
            return Way(verdict, handle, chain.name, partly)
    return Way(Verdict.CONTINUE, partly=partly)


def _rule(
    ruleset: Ruleset, chain: Chain, expressions: Iterable[Any], values: Mapping[str, str]
) -> tuple[bool | None, Verdict | None, str | None]:
    """Whether a rule is for the packet (None: it may be), its verdict, and the chain it jumps to.

    "return" at the end of a rule is taken for an "accept": the packet may pass.
    """
    applies: bool | None = True
    for expression in expressions:
        kind, data = _first(expression)
        if kind == "match":
            one = _matches(ruleset, chain, data, values)
            if one is False:
                return False, None, None
            applies = applies if one else None
        elif kind in ("drop", "reject"):
            return applies, Verdict.DROP, None
        elif kind in ("accept", "return", "queue"):
            return applies, Verdict.ACCEPT, None
        elif kind in ("jump", "goto"):
            return applies, None, str(data.get("target"))
        elif kind == "vmap":
            return None, Verdict.ACCEPT, None
        elif kind not in ("counter", "log", "mangle", "notrack", "meta"):
            applies = None  # a limit, a set that counts, or what only its maker knows
    return applies, None, None


def _matches(
    ruleset: Ruleset, chain: Chain, data: Mapping[str, Any], values: Mapping[str, str]
) -> bool | None:
    """None: nothing is known about it."""
    name = _name(data.get("left"))
    operator = data.get("op")
    if name.startswith(("ip ", "ip6 ")) and name.split()[0] != values["protocol"]:
        return False
    if name not in values or operator not in ("==", "!=", "in"):
        return None
    held = _holds(ruleset, chain, values[name], data.get("right"))
    return held if held is None or operator != "!=" else not held


def _first(expression: Mapping[str, Any]) -> tuple[str, Any]:
    """An expression of nft is an object with one key."""
    return next(iter(expression.items()), ("", None))


def _name(left: Any) -> str:
    if not isinstance(left, dict):
        return ""
    payload, meta = left.get("payload"), left.get("meta")
    if isinstance(payload, dict):
        return f"{payload.get('protocol')} {payload.get('field')}"
    return str(meta.get("key")) if isinstance(meta, dict) else ""


def _holds(ruleset: Ruleset, chain: Chain, value: str, right: Any) -> bool | None:
    """Whether a value is what a rule asks for, or among it; None: it is not understood."""
    if isinstance(right, list):
        found = [_holds(ruleset, chain, value, one) for one in right]
        return True if True in found else None if None in found else False
    if isinstance(right, dict):
        kind, data = _first(right)
        if kind == "set":
            return _holds(ruleset, chain, value, data)
        if kind == "elem":
            return _holds(ruleset, chain, value, data.get("val"))
        if kind == "prefix":
            return _within(value, f"{data.get('addr')}/{data.get('len')}")
        if kind == "range":
            return _between(value, data)
        return None
    if isinstance(right, str) and right.startswith("@"):
        elements = ruleset.sets.get((chain.family, chain.table, right[1:]))
        return None if elements is None else _holds(ruleset, chain, value, list(elements))
    return fnmatchcase(value, str(right)) or _within(value, str(right))


def _within(value: str, network: str) -> bool:
    try:
        address, whole = ip_address(value), ip_network(network)
    except ValueError:
        return False
    return address.version == whole.version and address in whole


def _between(value: str, ends: Any) -> bool | None:
    try:
        first, address, last = (ip_address(one) for one in (ends[0], value, ends[1]))
    except (ValueError, IndexError, TypeError):
        return None
    if not first.version == address.version == last.version:
        return False
    return int(first) <= int(address) <= int(last)
