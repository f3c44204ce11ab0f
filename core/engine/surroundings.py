# SPDX-License-Identifier: Apache-2.0
"""The state of the host that decides about the ways of one ENI's traffic, read once for all ENIs.

Rules are found by their source in an index, since the largest host has thousands of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from ec2net.core.decide.intent import HostIntent
from ec2net.core.decide.main_table import known_subnets
from ec2net.core.decide.routing import EVERYTHING
from ec2net.core.model.facts import Facts
from ec2net.core.model.objects import AnyAddress, AnyNetwork, Route, Rule, RuleAction
from ec2net.core.model.policy_rule import KERNEL, PolicyRule
from ec2net.core.model.snapshot import Snapshot

DEVICES = 4
"""Networks of other links that are looked up: bridges and tunnels, of which a host has few."""


class _HasSource(Protocol):
    @property
    def source(self) -> AnyNetwork: ...


R = TypeVar("R", bound=_HasSource)


class RuleIndex(Generic[R]):
    """Rules by the network of their source."""

    def __init__(self, rules: Iterable[R]) -> None:
        self._by_length: dict[int, dict[int, dict[int, list[R]]]] = {4: {}, 6: {}}
        for rule in rules:
            network = rule.source
            if getattr(rule, "inverted", False):  # for all sources except that one
                network = EVERYTHING[network.version]
            shift = network.max_prefixlen - network.prefixlen
            of = self._by_length[network.version].setdefault(shift, {})
            of.setdefault(int(network.network_address), []).append(rule)

    def matching(self, source: AnyAddress) -> list[R]:
        """Those whose source may be this one."""
        found: list[R] = []
        number = int(source)
        for shift, of in self._by_length[source.version].items():
            if same := of.get(number >> shift << shift):
                found += same
        return found


class OwnRules:
    """ec2net's rules that look something up, or fail packets: those that a packet meets."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        tree: dict[int, list[Rule]] = {4: [], 6: []}
        plain: list[Rule] = []
        for rule in rules:
            (tree[rule.version] if rule.in_tree else plain).append(rule)
        self._plain = RuleIndex(plain)
        self._tree = {version: _InTree(of_tree) for version, of_tree in tree.items()}

    def matching(self, source: AnyAddress) -> list[Rule]:
        """Those whose source may be this one."""
        in_tree = (rule for rule in self.in_tree(source) if rule.action is RuleAction.LOOKUP)
        return [*self.plain(source), *in_tree]

    def plain(self, source: AnyAddress) -> list[Rule]:
        """Those of ``matching`` that are not in the tree."""
        return self._plain.matching(source)

    def in_tree(self, source: AnyAddress) -> Iterator[Rule]:
        """The rules of the tree that a packet meets, as long as no rule gives it a route."""
        return self._tree[source.version].met(int(source))


class _InTree:
    """The rules in the priorities of a tree, of one IP version. Those of one priority have different
    sources."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        nodes: dict[int, dict[int, dict[int, Rule]]] = {}
        for rule in rules:
            shift = rule.source.max_prefixlen - rule.source.prefixlen
            of_length = nodes.setdefault(rule.priority, {}).setdefault(shift, {})
            of_length[int(rule.source.network_address) >> shift] = rule
        order = sorted(nodes)
        self._nodes = [list(nodes[priority].items()) for priority in order]
        self._places = {priority: place for place, priority in enumerate(order)}

    def met(self, source: int) -> Iterator[Rule]:
        place = 0
        while place < len(self._nodes):
            place += 1
            for shift, rules in self._nodes[place - 1]:
                rule = rules.get(source >> shift)
                if rule is None:
                    continue
                yield rule
                if rule.action is RuleAction.GOTO and rule.target in self._places:
                    place = self._places[rule.target]
                    break


@dataclass(frozen=True)  # without slots, for the cached indices
class Surroundings:
    """The present state of the host."""

    names: Mapping[int, str]
    """Link names by index."""
    enis: frozenset[int] = frozenset()
    """Indices of the links of all ENIs, whatever becomes of them."""
    foreign: tuple[PolicyRule, ...] = ()
    """Rules of other makers, the kernel's three included."""
    own_rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    foreign_routes: frozenset[Route] = frozenset()
    """Routes of other makers than ec2net and the kernel, in tables of ENIs."""
    local: frozenset[AnyAddress] = frozenset()
    """Every address of the host."""
    held: frozenset[tuple[int, AnyAddress]] = frozenset()
    """Index of a link and an address on it."""
    subnets: tuple[AnyNetwork, ...] = ()
    """The subnets of all ENIs."""
    devices: tuple[tuple[int, AnyNetwork], ...] = ()
    """Networks of links that are no ENIs, with the index of the link."""
    forwards: frozenset[int] = frozenset()
    """IP versions that the host forwards."""
    host_links: dict[AnyAddress, int | None] = field(default_factory=dict, compare=False)
    """Answers so far: the link by which the host sends to a destination from no given source."""

    @cached_property
    def of_others(self) -> RuleIndex[PolicyRule]:
        return RuleIndex(self.foreign)

    @cached_property
    def ours(self) -> "OwnRules":
        return OwnRules(self.own_rules)

    @cached_property
    def kinds(self) -> Mapping[int, int]:
        """By the id of a rule of ``own_rules``: rules that differ by their source only have one
        number."""
        numbers: dict[object, int] = {}
        return {
            id(rule): numbers.setdefault(
                (
                    rule.priority,
                    rule.table,
                    rule.suppress_group,
                    rule.suppress_prefixlength,
                    rule.mark,
                    rule.destination,
                    rule.action,
                ),
                len(numbers),
            )
            for rule in self.own_rules
        }

    @cached_property
    def selects_by_link(self) -> bool:
        """Whether a foreign rule has selectors other than addresses and marks, such as a link."""
        return any(rule.others for rule in self.foreign)

    @cached_property
    def by_table(self) -> Mapping[int, tuple[Route, ...]]:
        found: dict[int, list[Route]] = {}
        for route in self.routes:
            found.setdefault(route.table, []).append(route)
        return {table: tuple(routes) for table, routes in found.items()}

    def route(self, table: int, destination: AnyAddress) -> Route | None:
        """The longest match among the known routes; a pass reads only a part of main."""
        found = [
            route
            for route in self.by_table.get(table, ())
            if route.version == destination.version and destination in route.destination
        ]
        if not found:
            return None
        return min(found, key=lambda route: (-route.destination.prefixlen, route.metric))

    def takers(self, source: AnyAddress, destination: AnyAddress) -> list[PolicyRule]:
        """The rules of other makers, but the kernel's, that are for such a packet."""
        return [
            rule
            for rule in self.of_others.matching(source)
            if rule.protocol != KERNEL and rule.takes(source, destination)
        ]

    def neighbour(self, network: AnyNetwork) -> AnyAddress | None:
        """An address of this network that the host does not have; None if there is none.

        EC2 keeps the first four addresses of a subnet for itself.
        """
        first = 4 if network.num_addresses > 8 else 0
        for number in range(first, min(network.num_addresses, first + 1024)):
            if (address := network[number]) not in self.local:
                return address
        return None


def surroundings(
    facts: Facts, host: HostIntent, snapshot: Snapshot, protocol: int, forwards: frozenset[int]
) -> Surroundings:
    """``protocol``: the mark of ec2net's rules."""
    links = frozenset(link.index for eni in host.enis for link in eni.links)
    on_links = [(found.item.link.index, found.item.interface) for found in snapshot.addresses]
    held = frozenset((index, interface.ip) for index, interface in on_links)
    devices = [
        (index, interface.network)
        for index, interface in on_links
        if index not in links
        and interface.network.num_addresses > 2
        and not (interface.is_loopback or interface.is_link_local)
    ]
    tables = {intent.table for intent in host.ready if intent.rules}
    return Surroundings(
        {link.index: link.name for link in snapshot.links},
        links,
        snapshot.policy,
        tuple(f.item for f in snapshot.rules if f.protocol == protocol),
        tuple(found.item for found in snapshot.routes),
        frozenset(
            found.item
            for found in snapshot.routes
            if found.item.table in tables and found.protocol not in (protocol, KERNEL)
        ),
        frozenset(address for _, address in held),
        held,
        known_subnets(facts.imds.enis),
        tuple(devices[:DEVICES]),
        forwards,
    )
