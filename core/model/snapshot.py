# SPDX-License-Identifier: Apache-2.0
"""The kernel's state at one time: links, addresses, routes and rules, with their origin. Pure
values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from ec2net.core.model.facts import Link
from ec2net.core.model.objects import (
    MAIN_TABLE,
    Address,
    AnyInterface,
    AnyNetwork,
    KernelObject,
    LinkRef,
    LinkSetting,
    Route,
    Rule,
    Setting,
)
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.model.purpose import Purpose

K_co = TypeVar("K_co", bound=KernelObject, covariant=True)


@dataclass(frozen=True, slots=True)
class Found(Generic[K_co]):
    """A kernel object and the protocol number of its creator (0: unknown)."""

    item: K_co
    protocol: int


@dataclass(frozen=True, slots=True)
class AddressState:
    """The state of an address. It is no part of the intent, so no snapshot has it."""

    link: LinkRef
    interface: AnyInterface
    duplicate: bool
    """Duplicate address detection failed (IFA_F_DADFAILED): it is not used."""
    valid: int | None
    """Seconds until it goes unless its lease is renewed; None for never."""
    tentative: bool = False
    """Duplicate address detection has not ended (IFA_F_TENTATIVE): it is not used yet."""


@dataclass(frozen=True)  # without slots, for the cached index
class Snapshot:
    """The kernel objects that the dumps found. Rules with selectors that are not modelled are left
    out: never ours."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Found[Address], ...] = ()
    routes: tuple[Found[Route], ...] = ()
    rules: tuple[Found[Rule], ...] = ()
    accept_ra: tuple[LinkSetting, ...] = ()
    policy: tuple[PolicyRule, ...] = field(default=(), compare=False)
    """The rules of other makers with all their selectors, in the order in which the kernel goes by
    them; none in a record."""
    state: int | None = field(default=None, compare=False)
    """Another number whenever anything of the dumps but a lifetime is another; None: not known."""
    further_rules: frozenset[tuple[int, int]] = frozenset()
    """IP version and priority of other makers' rules that are not modelled."""

    @property
    def objects(self) -> tuple[Found[KernelObject], ...]:
        """Addresses, routes and rules together."""
        return (*self.addresses, *self.routes, *self.rules)

    def by_maker(self, protocol: int) -> tuple[tuple[KernelObject, ...], tuple[KernelObject, ...]]:
        """The objects with this mark, and the others. One that is more than modelled is another's."""
        if protocol not in self._by_maker:
            ours: list[KernelObject] = []
            others: list[KernelObject] = []
            for found in self.objects:
                marked = found.protocol == protocol and found.item.purpose is not Purpose.FOREIGN
                (ours if marked else others).append(found.item)
            self._by_maker[protocol] = tuple(ours), tuple(others)
        return self._by_maker[protocol]

    @cached_property
    def _by_maker(self) -> dict[int, tuple[tuple[KernelObject, ...], tuple[KernelObject, ...]]]:
        return {}

    @cached_property
    def _addresses_by_link(self) -> Mapping[int, tuple[Found[Address], ...]]:
        found: dict[int, list[Found[Address]]] = {}
        for address in self.addresses:
            found.setdefault(address.item.link.index, []).append(address)
        return {index: tuple(addresses) for index, addresses in found.items()}

    def addresses_on(self, index: int) -> tuple[Found[Address], ...]:
        """The addresses of one link, in the kernel's order."""
        return self._addresses_by_link.get(index, ())

    def link(self, index: int) -> Link | None:
        return next((link for link in self.links if link.index == index), None)

    def settings(self, link: Link) -> tuple[LinkSetting, ...]:
        """The settings of a link as items of a plan."""
        ref = LinkRef(link.index, link.name)
        return (
            LinkSetting(ref, Setting.UP, int(link.up)),
            LinkSetting(ref, Setting.MTU, link.mtu),
            LinkSetting(ref, Setting.GROUP, link.group),
            *(LinkSetting(ref, Setting.ALTNAME, name) for name in link.altnames),
            *(setting for setting in self.accept_ra if setting.link.index == link.index),
        )

    def main_defaults(self, version: int, *, not_by: int) -> tuple[Route, ...]:
        """Main's default routes that another maker wrote, blackholes and multipath ones as well."""
        return tuple(
            found.item
            for found in self._main_defaults
            if found.item.destination.version == version and found.protocol != not_by
        )

    @cached_property
    def main_by_destination(self) -> Mapping[AnyNetwork, tuple[Found[Route], ...]]:
        """Main's routes that were read (``core/kernel/relevance.py``), each destination's best first."""
        found: dict[AnyNetwork, list[Found[Route]]] = {}
        for route in self.routes:
            if route.item.table == MAIN_TABLE:
                found.setdefault(route.item.destination, []).append(route)
        return {
            network: tuple(sorted(routes, key=lambda route: route.item.metric))
            for network, routes in found.items()
        }

    @cached_property
    def _main_defaults(self) -> tuple[Found[Route], ...]:
        return tuple(
            found
            for found in self.routes
            if found.item.table == MAIN_TABLE and found.item.destination.prefixlen == 0
        )
