# SPDX-License-Identifier: Apache-2.0
"""Routes and addresses that a network manager leaves and that disturb the next one.

Default routes and routes of subnets stay: traffic uses them now.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import IPv6Address

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import MAIN_TABLE, Address, Route

_DHCP, _RA = 16, 9
"""RTPROT_DHCP, RTPROT_RA (include/uapi/linux/rtnetlink.h)."""


def clear_routes(links: Collection[int], drivers: Collection[str], parking: int | None) -> None:
    """Leased routes to single hosts in main, by these links, and all their routes in the table
    ``parking``.

    systemd-networkd 257 creates a route to its gateway, and waits without end if the route exists.
    The kernel reports no replacement by an equal route, and systemd-networkd ignores foreign routes
    (ManageForeignRoutes=no). A later check reports a failure.
    """
    for protocol in (_DHCP, _RA):
        with Kernel(protocol, range(0)) as theirs:  # which removes items with this mark only
            for found in theirs.snapshot(drivers).routes:
                route = found.item
                mine = found.protocol == protocol and route.link.index in links
                if mine and (route.table == parking or _is_to_one_host(route)):
                    with suppress(KernelError):
                        theirs.remove(route)


def _is_to_one_host(route: Route) -> bool:
    network = route.destination
    return route.table == MAIN_TABLE and network.prefixlen == network.max_prefixlen


def link_locals(
    kernel: Kernel, names: Mapping[int, str], drivers: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """By link name, its link-local addresses. ``names``: by index."""
    return {
        name: tuple(str(address.interface.ip) for address in addresses)
        for name, addresses in _link_locals(kernel, names, drivers).items()
    }


def _link_locals(
    kernel: Kernel, names: Mapping[int, str], drivers: Collection[str]
) -> dict[str, list[Address]]:
    found: dict[str, list[Address]] = {}
    for entry in kernel.snapshot(drivers).addresses:
        ip, name = entry.item.interface.ip, names.get(entry.item.link.index)
        if name is not None and isinstance(ip, IPv6Address) and ip.is_link_local:
            found.setdefault(name, []).append(entry.item)
    return found


def clear_link_locals(
    kernel: Kernel,
    before: Mapping[str, Collection[str]],
    names: Mapping[int, str],
    drivers: Collection[str],
) -> None:
    """New link-local addresses, on links that still have a former one."""
    for name, addresses in _link_locals(kernel, names, drivers).items():
        new = [a for a in addresses if str(a.interface.ip) not in before.get(name, ())]
        if len(new) < len(addresses):
            for address in new:
                kernel.remove(address)
