# SPDX-License-Identifier: Apache-2.0
"""``primary_rules = "auto"``: keep the primary's traffic from other ENIs. Pure.

A foreign route in main through another ENI attracts the primary's traffic, and the VPC drops it. An
example is a connected route of cloud-init or NetworkManager for the other ENI's subnet. Two rules
for each source of the primary stand directly before main's rule, and a table holds only these
destinations:

    32764: from SOURCE lookup main suppress_ifgroup 236
    32765: from SOURCE lookup 10000

The first rule obeys main wherever main leads through a link that is no ENI, with default routes: a
VPN, a bridge. The table therefore hides no other route of main. The second rule leads the table's
destinations by main's way without the other ENIs. Every other destination continues to main. The
first rule would also obey a secondary ENI outside of the link group, and is left out then.
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
            sources = (one for one in intent.correctable if one.version == version)
            rules += [rule for source in sources for rule in _rules(source, main, obeys=obeys)]
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
        if best.protocol != main.numbers.protocol and best.item.link.index in links:
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
        yield Route(network, table, metric, way.link, way.gateway)


def _rules(source: AnyNetwork, main: Main, *, obeys: bool) -> Iterator[Rule]:
    _, _, first, second = LAST_PRIORITIES
    if obeys:
        yield Rule(source, first, MAIN_TABLE, suppress_group=main.numbers.link_group)
    yield Rule(source, second, main.numbers.table(PRIMARY))
