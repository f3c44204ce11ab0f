# SPDX-License-Identifier: Apache-2.0
"""Which router an ENI's IPv6 traffic uses, where it is not EC2's constant address. Pure.

``fe80:ec2::1`` is the router of every VPC subnet since 2022. It does not exist everywhere: on some
Outposts and other clouds, a router has another address and says so in its advertisements.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address

from ec2net.core.decide.routing import EVERYTHING, IPV6_GATEWAY
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.snapshot import Snapshot

_RTPROT_RA = 9
"""include/uapi/linux/rtnetlink.h: the kernel or a network manager made it from an advertisement."""


def other_routers(
    snapshot: Snapshot,
    links: Mapping[Mac, tuple[Link, ...]],
    protocol: int,
    answers: Callable[[int], bool | None],
) -> dict[Mac, IPv6Address]:
    """The router of each ENI whose subnet has no ``fe80:ec2::1``.

    ``answers``: whether that address answers on a link, given by index; None: not known yet. Then
    the router stays that ec2net (``protocol``) has in a route.
    """
    advertised = _default_gateways(snapshot, _RTPROT_RA)
    if not advertised:
        return {}
    in_use = _default_gateways(snapshot, protocol)
    routers = {}
    for mac, (link, *_) in links.items():
        found = advertised.get(link.index, [])
        if not found or IPV6_GATEWAY in found:
            continue
        known = answers(link.index)
        silent = found[0] in in_use.get(link.index, []) if known is None else not known
        if silent:
            routers[mac] = found[0]
    return routers


def _default_gateways(snapshot: Snapshot, protocol: int) -> dict[int, list[IPv6Address]]:
    """The gateways of one maker's IPv6 default routes, by link, the best metric first."""
    routes = [
        found.item
        for found in snapshot.routes
        if found.protocol == protocol and found.item.destination == EVERYTHING[6]
    ]
    gateways: dict[int, list[IPv6Address]] = {}
    for route in sorted(routes, key=lambda route: route.metric):
        if isinstance(route.gateway, IPv6Address):
            gateways.setdefault(route.link.index, []).append(route.gateway)
    return gateways
