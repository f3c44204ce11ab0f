# SPDX-License-Identifier: Apache-2.0
"""No packet from an ENI's addresses before its table is complete.

The table's routes follow some milliseconds after the addresses that they prefer as source, as the
kernel requires. Replies meanwhile would use main's default route and leave through the primary ENI,
and the source check would drop them. A table without a default route therefore ends in an
unreachable one. If networkd leases the first address, the rules precede the lease.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import MAIN_TABLE, LinkRef, Rank, Route, RouteKind
from ec2net.core.model.plan import Action, Change, is_shared

_LAST = 2**32 - 1
"""Metric: any other route comes first."""

_NO_LINK = LinkRef(0, "none")


@contextmanager
def guarded(changes: Collection[Change], kernel: Kernel) -> Iterator[None]:
    """Guard the tables that get a default route, while one plan is applied."""
    added = [change for change in changes if change.action is Action.ADD]
    routes = guard_routes(added, {change.mac for change in added if change.mac is not None})
    put_guards(routes, kernel)
    try:
        yield
    finally:
        lift_guards(routes, (), kernel)


def changes_ahead(changes: Iterable[Change], coming: Collection[Mac]) -> list[Change]:
    """The changes before a network manager brings ENIs up: settings of links, and rules."""
    return [
        change
        for change in changes
        if (change.mac in coming or (coming and is_shared(change.item)))
        and change.action is not Action.REMOVE
        and change.item.rank <= Rank.RULE
    ]


def guard_routes(changes: Iterable[Change], coming: Collection[Mac]) -> list[tuple[Mac, Route]]:
    """An unreachable last route for each table that will have a default route. It carries our mark: a pass that
    was killed leaves it to the next."""
    found = []
    for change in changes:
        item = change.item
        if change.mac is None or change.mac not in coming or change.action is Action.REMOVE:
            continue
        if isinstance(item, Route) and item.table != MAIN_TABLE and not item.destination.prefixlen:
            kind = RouteKind.UNREACHABLE
            route = Route(item.destination, item.table, _LAST, _NO_LINK, kind=kind)
            found.append((change.mac, route))
    return found


def put_guards(routes: Iterable[tuple[Mac, Route]], kernel: Kernel) -> None:
    """Add guards. Without one, some packets may be lost as said above: no reason to give up."""
    for _, route in routes:
        with suppress(KernelError):
            kernel.replace(route)


def lift_guards(
    routes: Iterable[tuple[Mac, Route]], waiting: Collection[tuple[Mac, int]], kernel: Kernel
) -> None:
    """Remove guards, except for tables that still wait (ENI and IP version); a later pass does."""
    for mac, route in routes:
        if (mac, route.destination.version) not in waiting:
            with suppress(KernelError):
                kernel.remove(route)
