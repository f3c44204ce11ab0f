# SPDX-License-Identifier: Apache-2.0
"""The main table and the ENIs' subnets: what main is to show of a secondary ENI. Pure.

Main shows a secondary's subnet twice (docs/routing.md, "The subnet of a secondary"): through the
primary ENI, as without these routes, and behind that on-link. The second one is what the kernel
and other programs find who look for a next hop or for a free network.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Network

from ec2net.core.decide.addresses import subnets_of, value_of
from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.decide.main import Main
from ec2net.core.model.facts import EniFacts, Facts
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import LATER_METRIC, PRIMARY
from ec2net.core.model.objects import MAIN_TABLE, AnyNetwork, LinkRef, Route, RouteKind


def known_subnets(enis: Collection[EniFacts]) -> tuple[AnyNetwork, ...]:
    """The CIDRs of all subnets, each once."""
    return tuple(dict.fromkeys(one for eni in enis for one in subnets_of(eni, ipv6=True)))


@dataclass(frozen=True)  # without slots, for cached properties
class MainTable:
    """The inputs that decide which subnets main shows."""

    facts: Facts
    main: Main

    @cached_property
    def _ipv4_subnets(self) -> tuple[tuple[Mac, IPv4Network], ...]:
        found = ((eni.mac, value_of(eni.subnet_ipv4)) for eni in self.facts.imds.enis)
        return tuple((mac, subnet) for mac, subnet in found if subnet is not None)

    @property
    def _primary(self) -> Mac | None:
        return value_of(self.facts.imds.primary)

    def joined(self, host: HostIntent) -> HostIntent:
        """``host`` with the routes to secondary ENIs' subnets."""
        obstacle = self._obstacle(host)
        enis = tuple(
            replace(eni, intent=self._shown(eni.intent, host, obstacle))
            if eni.intent is not None and eni.intent.main_subnets
            else eni
            for eni in host.enis
        )
        return replace(host, enis=enis)

    def _obstacle(self, host: HostIntent) -> str:
        """Why no subnet can be shown; empty if nothing prevents it.

        A main-first rule passes over a detour only if the primary's link is in the link group.
        """
        primary = next((eni for eni in host.enis if eni.intent and eni.intent.primary), None)
        if primary is None or primary.link is None:
            return "the primary ENI is not configured"
        link = self.main.snapshot.link(primary.link.index)
        if link is None or not link.up:
            return "the link of the primary ENI is down"
        if self.main.in_group(primary):
            return ""
        return f"the link of the primary ENI is in link group {link.group}"

    def _shown(self, intent: EniIntent, host: HostIntent, obstacle: str) -> EniIntent:
        routes: list[Route] = []
        reasons: list[str] = []
        for subnet in intent.main_subnets:
            detour = self._detour(subnet, intent, host.primary_link)
            if reason := obstacle or (detour if isinstance(detour, str) else ""):
                reasons.append(f"main does not show {subnet}: {reason}")
            elif isinstance(detour, Route):
                routes += [detour, self._on_link(subnet, intent)]
        return replace(intent, subnet_routes=tuple(routes), main_remarks=tuple(reasons))

    def _detour(
        self, subnet: AnyNetwork, intent: EniIntent, primary: LinkRef | None
    ) -> Route | str:
        """The route through the primary ENI; or the reason why there is none."""
        if overlap := next(self._overlapping(subnet, intent.mac, self._primary), ""):
            return f"it overlaps {overlap}"
        if self._is_shown_by_others(subnet, intent.link):
            return "another program's route through the ENI shows it"
        way = self.main.way(subnet, {intent.link.index})
        if way is None or way.kind is not RouteKind.UNICAST or way.link != primary:
            return "main does not lead there through the primary ENI"
        if way.gateway is None and way.is_plain:
            return "main does not lead there by a gateway of the primary ENI"
        metric = self.main.numbers.metric(PRIMARY)
        return replace(way, destination=subnet, table=MAIN_TABLE, metric=metric, source=None)

    def _on_link(self, subnet: AnyNetwork, intent: EniIntent) -> Route:
        source = intent.first(4) if subnet.version == 4 else None
        metric = self.main.numbers.metric(intent.number)
        return Route(subnet, MAIN_TABLE, metric, intent.link, source=source)

    def _is_shown_by_others(self, subnet: AnyNetwork, link: LinkRef) -> bool:
        """A better route than a detour goes on to count; a worse one would not.

        Routes of ``LATER_METRIC`` are those of a lease, which go as soon as the ENI is configured.
        """
        metrics = range(self.main.numbers.metric(PRIMARY), LATER_METRIC)
        return any(
            found.protocol != self.main.numbers.protocol and found.item.metric in metrics
            for found in self.main.snapshot.main_by_destination.get(subnet, ())
            if found.item.link == link
        )

    def _overlapping(self, subnet: AnyNetwork, mac: Mac, primary: Mac | None) -> Iterator[str]:
        """Subnets of other ENIs, configured or not, in which ``subnet`` may be another VPC's.

        ENIs in one subnet are no matter: so an ENI that comes there for a moment changes nothing.
        """
        for holder, other in self._ipv4_subnets:
            if holder == mac or (other == subnet and holder != primary):
                continue
            if subnet.version == 4 and subnet.overlaps(other):
                yield f"{other} of {'the primary' if holder == primary else 'another'} ENI"
