# SPDX-License-Identifier: Apache-2.0
"""The state of the host that decides about the ways of one ENI's traffic, read once for all ENIs.

Rules are found by their source in an index, since the largest host has thousands of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from ec2net.core.decide.intent import HostIntent
from ec2net.core.decide.main_table import known_subnets
from ec2net.core.decide.routing import EVERYTHING
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.dataclass import dataclass
from ec2net.core.model.facts import Facts
from ec2net.core.model.objects import AnyAddress, AnyNetwork, Route, Rule
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.model.snapshot import Snapshot

DEVICES = 4
"""Networks of other links that are looked up: bridges and tunnels, of which a host has few."""

KERNEL = 2
"""RTPROT_KERNEL: the protocol of the three rules that every host has."""


class _HasSource(Protocol):
    @property
    def source(self) -> AnyNetwork: ...


R = TypeVar("R", bound=_HasSource)


class RuleIndex(Generic[R]):
    """Rules by the network of their source."""

    def __init__(self, rules: Iterable[R]) -> None:
        self._by_length: dict[tuple[int, int], dict[int, list[R]]] = {}
        for rule in rules:
            network = rule.source
            if getattr(rule, "inverted", False):  # for all sources except that one
                network = EVERYTHING[network.version]
            of = self._by_length.setdefault((network.version, network.prefixlen), {})
            of.setdefault(int(network.network_address), []).append(rule)

    def matching(self, source: AnyAddress) -> list[R]:
        """Those whose source may be this one."""
        found: list[R] = []
        for (version, length), of in self._by_length.items():
            if version == source.version:
                shift = source.max_prefixlen - length
                found += of.get(int(source) >> shift << shift, ())
        return found


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
    def ours(self) -> RuleIndex[Rule]:
        return RuleIndex(self.own_rules)

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
    facts: Facts, host: HostIntent, snapshot: Snapshot, kernel: Kernel, forwards: frozenset[int]
) -> Surroundings:
    """Raises ``KernelError``."""
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
    return Surroundings(
        {link.index: link.name for link in snapshot.links},
        links,
        kernel.foreign_rules(),
        tuple(f.item for f in snapshot.rules if f.protocol == kernel.protocol),
        tuple(found.item for found in snapshot.routes),
        frozenset(address for _, address in held),
        held,
        known_subnets(facts.imds.enis),
        tuple(devices[:DEVICES]),
        forwards,
    )
