# SPDX-License-Identifier: Apache-2.0
"""Readings of the host for findings, in addition to the engine's. All the I/O; all bounded."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ec2net.core.decide.intent import HostIntent
from ec2net.core.doctor import units
from ec2net.core.doctor.addresses import Lease
from ec2net.core.doctor.filters import RULES_MAX, Ruleset, count
from ec2net.core.doctor.routes import Gateway
from ec2net.core.doctor.sysctls import LinkSysctls, Sysctls
from ec2net.core.engine.surroundings import Surroundings
from ec2net.core.engine.verify import behind
from ec2net.core.host.files import Environment
from ec2net.core.host.service import Fault
from ec2net.core.host.systemctl import BOOTED, units_in
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.imds.ways import Outcome, Way, reaches_further, try_all
from ec2net.core.kernel import nft
from ec2net.core.kernel.neighbours import Neighbours
from ec2net.core.kernel.session import Kernel
from ec2net.core.kernel.sysctl import read_number
from ec2net.core.model.errors import KernelError
from ec2net.core.model.finding import Finding
from ec2net.core.model.objects import AnyNetwork
from ec2net.core.model.snapshot import AddressState
from ec2net.core.runtime.command import CommandFailed
from ec2net.core.runtime.deadline import Deadline

IMDS_SECONDS = 2.0
"""For all ways to IMDS together, which are tried at once: as long as a pass searches."""

GATEWAY_SECONDS = 1.5
"""For all gateways together: two questions of the kernel's (neigh/default/retrans_time_ms is 1 s)."""

SYSTEMCTL_SECONDS = 2.0

NFT_SECONDS = 2.0

_CAP_NET_ADMIN = 12
"""include/uapi/linux/capability.h"""

_log = logging.getLogger("ec2net.doctor")


@dataclass(frozen=True, slots=True)
class Readings:
    """``None``: it could not be looked at, or there was no need to."""

    ways: tuple[Way, ...] = ()
    reaches_further: bool | None = None
    sysctls: Sysctls = field(default_factory=Sysctls)
    silent_gateways: tuple[Gateway, ...] | None = ()
    address_states: tuple[AddressState, ...] = ()
    leases: Mapping[int, Lease] | None = None
    failed_units: tuple[str, ...] | None = ()
    service: Fault | None = None
    """The fault of the unit that keeps ENIs configured."""
    last_pass: str | None = None
    wrong_ways: tuple[Finding, ...] = ()
    """The findings of ``verify``: by the kernel's answers, and by the state of network managers."""
    out_of_time: bool = False
    """Whether the deadline came before all ways were checked."""
    ruleset: Ruleset | None = None
    """The tables of nftables."""
    fixed_gateways: tuple[Gateway, ...] = ()
    behind: tuple[tuple[AnyNetwork, str], ...] = ()
    """Networks of ENIs that containers have, with the link that leads to each."""


def read_behind(
    host: HostIntent, kernel: Kernel, around: Surroundings
) -> tuple[tuple[AnyNetwork, str], ...]:
    """For ``Readings.behind``: by the kernel's answers."""
    found = []
    for intent in host.ready:
        for network in (*intent.prefixes, *intent.routed) if intent.rules else ():
            other = around.neighbour(network)
            link = None if other is None else behind(other, kernel, around)
            if other is None or link is None:
                continue
            route = kernel.route_of(other, None, around.names)
            # Not a VPN's route to everywhere.
            if route is not None and route.destination.prefixlen >= network.prefixlen:
                found.append((network, around.names[link]))
    return tuple(found)


def read_imds(
    candidates: Collection[Candidate], deadline: Deadline, *, user_agent: str
) -> tuple[tuple[Way, ...], bool | None]:
    """The ways to IMDS; on a host that forwards also whether its answers reach further."""
    share = deadline.within(IMDS_SECONDS, "trying the ways to IMDS")
    ways = try_all(tuple(candidates), share, user_agent=user_agent)
    good = next((way.candidate for way in ways if way.outcome is Outcome.ANSWERS), None)
    if good is None or not read_sysctls().forwards:
        return ways, None
    return ways, reaches_further(good, deadline, user_agent=user_agent)


def read_sysctls(host: HostIntent | None = None) -> Sysctls:
    """Those of the host, and of the links of ``host``'s ENIs."""
    links = {
        link.index: LinkSysctls(
            read_number("ipv4/conf/LINK/rp_filter", link.name),
            read_number("ipv6/conf/LINK/forwarding", link.name),
            read_number("ipv6/conf/LINK/accept_ra", link.name),
        )
        for eni in (host.enis if host else ())
        for link in eni.links
    }
    return Sysctls(
        read_number("ipv4/conf/all/rp_filter"),
        read_number("ipv4/ip_forward"),
        read_number("ipv6/conf/all/forwarding"),
        links,
    )


def ask_gateways(gateways: Collection[Gateway], deadline: Deadline) -> tuple[Gateway, ...] | None:
    """Those that do not answer; None without the privilege to ask (CAP_NET_ADMIN)."""
    if not _is_network_admin():
        return None
    limit = deadline.within(GATEWAY_SECONDS, "asking gateways")
    neighbours = Neighbours()
    try:
        silent = set(gateways)
        for gateway in gateways:
            neighbours.ask(gateway.link.index, gateway.address)
        while True:  # ends by deadline
            silent = {g for g in silent if not neighbours.answers(g.link.index, g.address)}
            if not silent or limit.expired():
                return tuple(gateway for gateway in gateways if gateway in silent)
            limit.wait(neighbours.fileno(), seconds=limit.remaining())
            neighbours.drain()
    finally:
        neighbours.close()


def read_fixed_gateways(gateways: Collection[Gateway]) -> tuple[Gateway, ...]:
    """Those that the kernel does not ask, since a program set their MAC address for good."""
    neighbours = Neighbours()
    try:
        return tuple(g for g in gateways if neighbours.is_fixed(g.link.index, g.address))
    finally:
        neighbours.close()


def _is_network_admin() -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return True
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "")
    return bool(int(line.partition(":")[2] or "0", 16) >> _CAP_NET_ADMIN & 1)


def read_leases(host: HostIntent, environment: Environment) -> dict[int, Lease]:
    """systemd-networkd's, by link index."""
    indices = [link.index for eni in host.enis for link in eni.links]
    kept = {i: environment.keys(f"/run/systemd/netif/leases/{i}") for i in indices}
    return {i: lease for i, keys in kept.items() if (lease := Lease.parse(keys)) is not None}


def read_failed_units(deadline: Deadline) -> tuple[str, ...] | None:
    """Ours that have failed; none without systemd, None if it does not answer."""
    if not BOOTED.is_dir():
        return ()
    try:
        limit = deadline.within(SYSTEMCTL_SECONDS, "systemctl")
        return units_in("failed", (units.PATTERN,), limit)
    except CommandFailed as error:
        _log.debug("systemctl list-units: %s", error)
        return None


def read_filters(host: HostIntent, deadline: Deadline) -> Ruleset | None:
    """The tables of nftables; None without nft or the privilege, and for too many rules."""
    try:
        limit = deadline.within(NFT_SECONDS, "nft")
        found = Ruleset.parse(nft.ruleset(limit))
    except (KernelError, ValueError, TypeError) as error:
        _log.debug("nft list ruleset: %s", error)
        return None
    return found if count(found, host) <= RULES_MAX else None
