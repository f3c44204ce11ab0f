# SPDX-License-Identifier: Apache-2.0
"""``primary_rules = "auto"``: keep the primary's traffic from other ENIs. Pure.

A foreign route in main through another ENI attracts the primary's traffic, and the VPC drops it. An
example is a connected route of cloud-init or NetworkManager for the other ENI's subnet. Two rules
for each source of the primary stand directly before main's rule, and a table holds only these
destinations:

    32765: from SOURCE lookup main suppress_ifgroup 236
    32765: from SOURCE lookup 10000

The first rule obeys main wherever main leads through a link that is no ENI, with default routes: a
VPN, a bridge. The table therefore hides no other route of main. The second rule leads the table's
destinations by main's way without the other ENIs. Every other destination continues to main. The
first rule would also obey a secondary ENI outside of the link group, and is left out then.

While only the kernel's own rules are there, the kernel gives a user's rule without a priority 32765.
Rules of one priority have the order of their additions. With 32764, the first rule would overtake a
user's rule for marked packets.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from ec2net.core.decide.copies import is_no_matter
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent
from ec2net.core.decide.main import Main
from ec2net.core.decide.routing import IPV6_METRIC
from ec2net.core.model.numbers import PRIMARY
from ec2net.core.model.objects import (
    LAST_PRIORITIES,
    MAIN_TABLE,
    AnyNetwork,
    Route,
    RouteKind,
    Rule,
)

MOST = 256
"""Destinations that are corrected: a routing daemon may have a whole Internet of them."""


def corrected(host: HostIntent, main: Main) -> HostIntent:
    """``host`` with the rules and routes of the primary ENI, where it needs any."""
    others = [
        eni
        for eni in host.enis  # a link that IMDS does not list may be a pod's
        if eni.eni_id is not None and (eni.intent is None or not eni.intent.primary)
    ]
    enis = tuple(
        replace(eni, intent=_with_corrections(eni.intent, others, main))
        if eni.intent is not None and eni.intent.correctable
        else eni
        for eni in host.enis
    )
    return replace(host, enis=enis)


def _with_corrections(intent: EniIntent, others: Collection[EniOutcome], main: Main) -> EniIntent:
    rules: list[Rule] = []
    routes: list[Route] = []
    remarks: list[str] = []
    links = {link.index for eni in others for link in eni.links}
    for version in sorted({source.version for source in intent.correctable}):
        stolen = sorted(_stolen(version, links, main), key=lambda network: network.prefixlen)
        if not stolen:
            continue
        if any(
            _is_foreign(found.item, found.protocol, version, main) for found in main.snapshot.routes
        ):
            remarks.append(
                f"{len(stolen)} routes of main take traffic of the primary ENI,"
                " and foreign routes use its table"
            )
            continue
        if len(stolen) > MOST:
            remarks.append(
                f"main has {len(stolen)} routes through other ENIs: {MOST} are corrected"
            )
        made = list(_routes(intent, stolen[:MOST], links, main))
        routes += made
        if made:
            obeys = all(main.in_group(eni) for eni in others if eni.link is not None)
            present = {found.item for found in main.snapshot.rules}
            for source in (one for one in intent.correctable if one.version == version):
                rules += _rules(source, main, present, obeys=obeys)
    return replace(
        intent,
        corrections=tuple(rules),
        correction_routes=tuple(routes),
        main_remarks=(*intent.main_remarks, *remarks),
    )


def _stolen(version: int, links: Collection[int], main: Main) -> Iterator[AnyNetwork]:
    """Destinations of which main's best route leads through another ENI, one of ``links``."""
    for network, routes in main.snapshot.main_by_destination.items():
        if network.version != version or is_no_matter(network):
            continue
        best = routes[0]
        through = any(link.index in links for link in best.item.links)
        if through and best.protocol != main.numbers.protocol:
            yield network


def _is_foreign(route: Route, protocol: int, version: int, main: Main) -> bool:
    """Whether others have it in the table that the rules would lead to."""
    table = main.numbers.table(PRIMARY)
    ours = protocol == main.numbers.protocol
    return route.table == table and route.version == version and not ours


def _routes(
    intent: EniIntent, stolen: Collection[AnyNetwork], links: Collection[int], main: Main
) -> Iterator[Route]:
    """For each destination main's way without ``links``, and the primary's subnet in between."""
    own = {interface.network for interface in intent.base if interface.version == 4}
    inside = {
        subnet
        for subnet in own
        for network in stolen
        if network.version == 4 and network != subnet and subnet.subnet_of(network)
    }
    for network in dict.fromkeys((*stolen, *inside)):
        way = main.way(network, links)
        if way is None or way.kind is not RouteKind.UNICAST:
            continue  # a kill switch: no correction bypasses it
        metric = 0 if network.version == 4 else IPV6_METRIC
        table = main.numbers.table(PRIMARY)
        yield replace(way, destination=network, table=table, metric=metric, source=None)


def _rules(
    source: AnyNetwork, main: Main, present: Collection[Rule], *, obeys: bool
) -> Iterator[Rule]:
    """The kernel has rules of one priority in the order of their additions: if only the second one
    is there, it goes, and the next pass adds it behind the first."""
    priority = LAST_PRIORITIES[-1]
    by_main = Rule(source, priority, MAIN_TABLE, suppress_group=main.numbers.link_group)
    by_table = Rule(source, priority, main.numbers.table(PRIMARY))
    if obeys:
        yield by_main
    if not obeys or by_main in present or by_table not in present:
        yield by_table
