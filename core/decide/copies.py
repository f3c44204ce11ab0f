# SPDX-License-Identifier: Apache-2.0
"""Main's routes through a secondary ENI, for packets from that ENI's addresses. Pure.

A main-first rule ignores every route through an ENI, also through its own, since it would match
routes through other ENIs as well. ec2net therefore copies foreign routes of main through an ENI to
the ENI's table, with its mark, and removes a copy with the original. A copy has all of the original
except the preferred source, and of several next hops those through the ENI.
"""

from dataclasses import replace
from ipaddress import IPv6Network

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.decide.main import Main
from ec2net.core.model.objects import MAIN_TABLE, AnyNetwork, Route, RouteKind

MOST = 2000
"""Routes of one ENI that are copied: each costs a quarter of a millisecond in a pass of a new process."""

_LINK_LOCAL = IPv6Network("fe80::/10")


def copied(host: HostIntent, main: Main) -> HostIntent:
    """``host`` with the copies of each ENI that follows main."""
    by_link = _by_link(main)
    enis = tuple(
        replace(eni, intent=_with_copies(eni.intent, by_link.get(eni.intent.link.index, {})))
        if eni.intent is not None and eni.intent.follows_main
        else eni
        for eni in host.enis
    )
    return replace(host, enis=enis)


def _by_link(main: Main) -> dict[int, dict[AnyNetwork, Route]]:
    """By link, the best route of others to each destination."""
    found: dict[int, dict[AnyNetwork, Route]] = {}
    for one in main.snapshot.routes:
        route = one.item
        if route.table != MAIN_TABLE or one.protocol == main.numbers.protocol:
            continue
        if is_no_matter(route.destination):
            continue
        for index in {link.index for link in route.links}:
            own = route.through((index,))
            if own is None or own.kind is not RouteKind.UNICAST:
                continue
            routes = found.setdefault(index, {})
            best = routes.get(route.destination)
            if best is None or route.metric < best.metric:
                routes[route.destination] = own
    return found


def is_no_matter(destination: AnyNetwork) -> bool:
    """A default route, multicast, or a link's own addresses."""
    if not destination.prefixlen or destination.is_multicast:
        return True
    return isinstance(destination, IPv6Network) and destination.subnet_of(_LINK_LOCAL)


def _with_copies(intent: EniIntent, routes: dict[AnyNetwork, Route]) -> EniIntent:
    own = {route.destination for route in intent.table_routes}
    families = {gateway.version for gateway in intent.gateways}
    wanted = [
        replace(route, table=intent.table, link=intent.link, source=None)
        for route in routes.values()
        if route.destination not in own and route.version in families
    ]
    remarks = intent.main_remarks
    if len(wanted) > MOST:
        remarks += (f"main has {len(wanted)} routes through it: {MOST} are copied",)
        wanted = sorted(wanted, key=lambda route: route.destination.prefixlen)[:MOST]
    return replace(intent, copied_routes=tuple(wanted), main_remarks=remarks)
