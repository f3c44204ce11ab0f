# SPDX-License-Identifier: Apache-2.0
"""The routes that packets take from an ENI's addresses to destinations of every kind."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from checkout import TOP

from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

DOCUMENT = TOP / "docs/routing.md"
_BEGIN = "<!-- generated: ways (EC2NET_WRITE=1 pytest tests/netns/test_ways.py) -->\n"
_END = "<!-- end -->"

ATTEMPT_SECONDS = 10.0
"""Timeout for all concurrent connections: some of them must fail."""

TUNNEL = ("link add wg0 type bridge", "link set wg0 up")
STATIC = (
    "route add 192.168.77.0/24 dev wg0",
    "route add 2001:db8:77::/48 dev wg0",
    "route add 192.168.78.0/24 via 172.17.0.2",
    "route add 192.168.79.0/24 via 10.0.1.1 dev ens5",
    "route add 2001:db8:79::/48 via fe80:ec2::1 dev ens5",
    "route add 192.168.80.0/24 via 10.0.2.1 dev ens6 onlink",
    "route add 2001:db8:80::/48 via fe80:ec2::1 dev ens6",
)


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination. ``answers``: a host there accepts connections."""

    name: str
    addresses: tuple[object, ...]
    """One address of each family, or only of IPv4."""
    answers: bool = False


def destinations(vpc: SimulatedVpc, enis: Sequence[Eni], container: str) -> list[Destination]:
    peers = [vpc.add_peer(eni.subnet) for eni in enis]
    hosts = [
        Destination(f"{eni.subnet.ipv4}, a host in {eni.name}'s subnet", (p.ipv4, p.ipv6), True)
        for eni, p in zip(enis, peers, strict=True)
    ]
    outside = (vpc.outside.ipv4, vpc.outside.ipv6)
    return [
        Destination("172.17.0.2, a container behind docker0", (container,), True),
        Destination("192.168.77.9, static route by wg0", ("192.168.77.9", "2001:db8:77::9")),
        Destination("192.168.78.9, static route by a container", ("192.168.78.9",)),
        Destination("192.168.79.9, static route by ens5", ("192.168.79.9", "2001:db8:79::9")),
        Destination("192.168.80.9, static route by ens6", ("192.168.80.9", "2001:db8:80::9")),
        *hosts,
        Destination("198.51.100.7, outside", outside, True),
        Destination("169.254.169.253, a service of the VPC", ("169.254.169.253", "fd00:ec2::253"), True),
    ]  # fmt: skip


def measured(
    vpc: SimulatedVpc, enis: Sequence[Eni], rows: Iterable[Destination]
) -> list[dict[str, str]]:
    """For each ENI, by destination, the device, which must be one for all addresses of the ENI.

    The kernel reports the device; real connections show whether a host answers or the packets are
    dropped.
    """
    tried = [
        (eni, to, Attempt(source, ip_address(str(address))))
        for eni in enis
        for to in rows
        for address in to.addresses
        for source in eni.addresses()
        if source.version == ip_address(str(address)).version
    ]
    before = set(vpc.drops())
    answers = connect_all(vpc.guest, [attempt for *_, attempt in tried], ATTEMPT_SECONDS)
    dropped = {(drop.source, drop.destination) for drop in set(vpc.drops()) - before}
    ways: dict[str, dict[str, set[str]]] = {eni.name: {} for eni in enis}
    for (eni, to, attempt), answer in zip(tried, answers, strict=True):
        way = way_of(vpc.guest, attempt.destination, attempt.source)
        wrong = way.startswith("ens") and way != eni.name
        lost = (str(attempt.source), str(attempt.destination)) in dropped
        assert lost is wrong, (attempt, way, answer)
        if lost:
            way = f"{way}, dropped"
        elif to.answers and not isinstance(answer, Answer):
            way = f"{way}, not reached"
        ways[eni.name].setdefault(to.name, set()).add(way)
    assert all(len(one) == 1 for found in ways.values() for one in found.values()), ways
    return [{name: one.pop() for name, one in ways[eni.name].items()} for eni in enis]


def document() -> tuple[str, str, str]:
    """The document of routing: the text before its table of routes, the table, and the text after
    it."""
    before, mark, rest = DOCUMENT.read_text().partition(_BEGIN)
    table, end, after = rest.partition(_END)
    assert mark
    assert end
    return before + mark, table, end + after


def told(column: int) -> dict[str, str]:
    """By destination one column of the table (0: the first after the destinations)."""
    rows = [line.strip("| ").split(" | ") for line in document()[1].splitlines()[2:]]
    return {cells[0]: cells[1 + column] for cells in rows}


def way_of(guest: Namespace, destination: object, source: object = None) -> str:
    """The link by which the kernel would send, by ``ip route get``; empty: not at all.

    Without ``source`` as for a program that leaves it to the kernel.
    """
    bound = [] if source is None else ["from", str(source)]
    command = ["ip", "-j", "route", "get", str(destination), *bound]
    answer = guest.run(command).stdout
    return str(json.loads(answer)[0]["dev"]) if answer.strip() else ""
