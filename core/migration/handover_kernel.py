# SPDX-License-Identifier: Apache-2.0
"""Rules and routes that systemd-networkd made of a predecessor's files: taken over, then removed.

ec2net's own rules come before these are removed, so that a packet always finds its way.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress

from ec2net.core.kernel.session import Kernel
from ec2net.core.migration.net_utils import Wrote
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import MAIN_TABLE, Route, RouteKind
from ec2net.core.model.snapshot import Snapshot

_STATIC, _RA, _DHCP = 4, 9, 16
"""RTPROT_STATIC, RTPROT_RA, RTPROT_DHCP (include/uapi/linux/rtnetlink.h): systemd-networkd's."""


def claim(
    wrote: Wrote, links: Collection[int], main: Collection[int], drivers: Collection[str], mark: int
) -> None:
    """Give its routes and addresses the mark of ec2net, in one step each: none is missing meanwhile.

    ``links``: of ENIs. ``main``: links whose leased routes in the main table count, too. The next
    pass keeps what it wants and removes the rest. A refusal leaves a route for ``clear``. An address
    comes behind the link's first one by that.
    """
    with Kernel(mark) as kernel:
        snapshot = kernel.snapshot(drivers)
        for route, _ in _routes(snapshot, wrote, links, main):
            with suppress(KernelError):
                kernel.replace(route)
        for found in snapshot.addresses:
            address = found.item
            its = address.interface in wrote.addresses and address.link.index in links
            if its and found.protocol != mark:
                with suppress(KernelError):
                    kernel.move(address, address)


def clear(
    wrote: Wrote, links: Collection[int], main: Collection[int], drivers: Collection[str]
) -> None:
    """Remove the rules of the tool, and routes of it that nothing took over."""
    for protocol in (_STATIC, _RA, _DHCP):
        with Kernel(protocol, range(0)) as theirs:  # removes items with this mark only
            snapshot = theirs.snapshot(drivers)
            for found in snapshot.rules:
                rule = found.item
                if (rule.source, rule.priority, rule.table) in wrote.rules:
                    with suppress(KernelError):
                        theirs.remove(rule)
            for route, made_by in _routes(snapshot, wrote, links, main):
                if made_by == protocol:
                    with suppress(KernelError):
                        theirs.remove(route)


def left(
    wrote: Wrote, links: Collection[int], main: Collection[int], drivers: Collection[str]
) -> tuple[str, ...]:
    """Descriptions of the tool's remaining objects."""
    with Kernel(_STATIC) as kernel:
        snapshot = kernel.snapshot(drivers)
    rules = [
        found.item.describe()
        for found in snapshot.rules
        if found.protocol == _STATIC
        and (found.item.source, found.item.priority, found.item.table) in wrote.rules
    ]
    return (*rules, *(route.describe() for route, _ in _routes(snapshot, wrote, links, main)))


def _routes(
    snapshot: Snapshot, wrote: Wrote, links: Collection[int], main: Collection[int]
) -> Iterator[tuple[Route, int]]:
    """Its routes, with the protocol. An administrator's static routes are not its."""
    for found in snapshot.routes:
        route = found.item
        if route.kind is not RouteKind.UNICAST or route.link.index not in links:
            continue
        leased = found.protocol in (_RA, _DHCP)
        own_table = route.table in wrote.tables and (
            leased
            or (found.protocol == _STATIC and (route.table, route.destination) in wrote.static)
        )
        if own_table or (leased and route.table == MAIN_TABLE and route.link.index in main):
            yield route, found.protocol
