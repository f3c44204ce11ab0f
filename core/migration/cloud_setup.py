# SPDX-License-Identifier: Apache-2.0
"""The addresses, routes and rules that nm-cloud-setup has NetworkManager create.

The tool puts them into the applied connection of each ENI (_nmc_mangle_connection in its main.c).
NetworkManager creates a rule again at any activation on the host, and a Reapply without them removes
IPv6 from the link. A restart of NetworkManager makes it forget them: it reads the profiles again, and
changes nothing in the kernel. After that, ec2net removes them.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from ec2net.core.host.managers import NETWORKMANAGER_UNIT
from ec2net.core.kernel.session import Asked, Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import MAIN_TABLE, Address, Route, Rule
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import Journals

_KERNEL, _STATIC = 2, 4
"""RTPROT_KERNEL, RTPROT_STATIC (include/uapi/linux/rtnetlink.h): the marks of NetworkManager."""

_TABLES = (range(30200, 30350), range(30400, 30600))
"""For the ENI's subnet, and for its default route; the rules have the same numbers as priorities."""
_MAIN_PRIORITY = 30350
"""Priority of the rule between them, which obeys main except for its default routes."""

SETTLED_SECONDS = 15.0
"""For NetworkManager to have its leases again after a restart (0.5 s in the lab)."""


def restart(deadline: Deadline) -> None:
    """Restart NetworkManager, and wait until it has configured its devices. Raises
    ``CommandFailed`` if it does not start."""
    output(("systemctl", "restart", NETWORKMANAGER_UNIT), deadline)
    limit = deadline.within(SETTLED_SECONDS, "waiting for NetworkManager")
    with suppress(CommandFailed):  # a device without a carrier is not worth a failure
        output(("nm-online", "-s", "-q", "-t", f"{SETTLED_SECONDS:.0f}"), limit)


def claim(links: Collection[int], drivers: Collection[str], mark: int, journals: Journals) -> None:
    """Replace the tool's addresses by addresses of ec2net (/32). None is missing meanwhile.

    ``links``: of ENIs. The leased address of a link is none of the tool's. A link without a lease
    keeps its addresses: a user's static address there looks like one of the tool's.
    """
    with Kernel(mark) as kernel:
        snapshot = kernel.snapshot(drivers)
        sources, leased = _sources(snapshot), _leased(kernel, snapshot)
        for found in snapshot.addresses:
            address = found.item
            ip, index = address.interface.ip, address.link.index
            of_link = leased.get(index, frozenset()) if index in links else frozenset()
            if found.protocol == mark or ip not in sources or not of_link or ip in of_link:
                continue
            narrow = Address(address.link, IPv4Interface(str(ip)))
            link = snapshot.link(index)
            if not kernel.marks_addresses and link is not None and link.mac is not None:
                journal = journals.read(link.mac, index)
                journal.addresses.add(narrow.interface)
                journals.write(link.mac, journal)
            with suppress(KernelError):
                _replace(kernel, address, narrow)


def _replace(kernel: Kernel, before: Address, narrow: Address) -> None:
    """Add the /32 first, so that the host always has the address."""
    if narrow.interface == before.interface:
        kernel.move(before, narrow)
        return
    kernel.add(narrow)
    kernel.remove(before)


def clear(links: Collection[int], drivers: Collection[str], mark: int) -> None:
    """Remove the rules and routes of the tool. Does nothing before each of its addresses has rules
    of ec2net or leaves through main's default route anyway."""
    with Kernel(_KERNEL) as kernel:
        snapshot = kernel.snapshot(drivers)
        if not _has_ways(snapshot, mark):
            return
        leased = {ip for ips in _leased(kernel, snapshot).values() for ip in ips}
        sources = _sources(snapshot) - leased
        subnets = tuple({found.item.interface.network for found in snapshot.addresses})
        for found in kernel.snapshot(drivers, Asked(subnets)).routes:
            route = found.item
            its = found.protocol == _KERNEL and route.source in sources
            if its and route.table == MAIN_TABLE and route.link.index in links:
                with suppress(KernelError):
                    kernel.remove(route)
    with Kernel(_STATIC) as kernel:
        for item in _made(kernel.snapshot(drivers), links):
            with suppress(KernelError):
                kernel.remove(item)


def _has_ways(snapshot: Snapshot, mark: int) -> bool:
    rules = [found.item.source for found in snapshot.rules if found.protocol == mark]
    defaults = sorted(snapshot.main_defaults(4, not_by=mark), key=lambda route: route.metric)
    first = defaults[0].link.index if defaults else 0
    sources = _sources(snapshot)
    return all(
        found.item.link.index == first or any(found.item.interface.ip in one for one in rules)
        for found in snapshot.addresses
        if found.item.interface.ip in sources
    )


def left(links: Collection[int], drivers: Collection[str]) -> tuple[str, ...]:
    """Descriptions of the tool's rules and routes in the kernel."""
    with Kernel(_STATIC) as kernel:
        snapshot = kernel.snapshot(drivers)
    return tuple(item.describe() for item in _made(snapshot, links))


def _made(snapshot: Snapshot, links: Collection[int]) -> Iterator[Rule | Route]:
    yield from _rules(snapshot)
    yield from _routes(snapshot, links)


def _rules(snapshot: Snapshot) -> Iterator[Rule]:
    for found in snapshot.rules:
        rule = found.item
        of_source = rule.source.prefixlen == 32 and rule.table == rule.priority
        of_main = rule.table == MAIN_TABLE and rule.suppress_prefixlength == 0
        its = (of_source and _is_its(rule.table)) or (
            of_main and rule.source.prefixlen == 0 and rule.priority == _MAIN_PRIORITY
        )
        if its and rule.version == 4 and found.protocol == _STATIC:
            yield rule


def _routes(snapshot: Snapshot, links: Collection[int]) -> Iterator[Route]:
    for found in snapshot.routes:
        route = found.item
        its = found.protocol == _STATIC and _is_its(route.table)
        if its and route.link.index in links:
            yield route


def _is_its(table: int) -> bool:
    return any(table in numbers for numbers in _TABLES)


def _sources(snapshot: Snapshot) -> frozenset[IPv4Address]:
    """The addresses for which the tool has rules: every IPv4 address of the ENIs."""
    networks = (rule.source for rule in _rules(snapshot))
    return frozenset(
        network.network_address
        for network in networks
        if isinstance(network, IPv4Network) and network.prefixlen == 32
    )


def _leased(kernel: Kernel, snapshot: Snapshot) -> Mapping[int, frozenset[object]]:
    """By link, the IPv4 addresses that expire."""
    names = {link.index: link.name for link in snapshot.links}
    found: dict[int, frozenset[object]] = {}
    for state in kernel.address_states(names):
        if state.valid is not None and state.interface.version == 4:
            index = state.link.index
            found[index] = found.get(index, frozenset()) | {state.interface.ip}
    return found
