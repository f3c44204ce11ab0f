# SPDX-License-Identifier: Apache-2.0
"""Which way a packet takes, by routing mode, source and destination: the table of docs/routing.md.

With ``EC2NET_WRITE=1`` it writes what was measured into the document.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from containers import docker0
from instance import Instance, primary, subnets

from ec2net.core.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.vpc.eni import Eni

pytestmark = pytest.mark.netns

DOCUMENT = Path(__file__).parents[2] / "docs/routing.md"
BEGIN = "<!-- generated: ways (EC2NET_WRITE=1 pytest tests/netns/test_ways.py) -->\n"
END = "<!-- end -->"

ATTEMPT_SECONDS = 2.0
"""For all connections of one ENI, at once: some of them are meant to fail."""

MODES = ("main-first", "strict", "off")

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
    """Where to. ``answers``: a host that can be connected to is there."""

    name: str
    addresses: tuple[object, ...]
    """One of each family, or of IPv4 only."""
    answers: bool = False


def destinations(instance: Instance, enis: tuple[Eni, ...], container: str) -> list[Destination]:
    vpc = instance.vpc
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


def measured(instance: Instance, eni: Eni, rows: list[Destination]) -> dict[str, str]:
    """By destination the device, which must be one for all addresses of the ENI.

    The kernel says which; whether somebody answers, or the packets are dropped, is tried out.
    """
    vpc = instance.vpc
    tried = [
        (to, Attempt(source, ip_address(str(address))))
        for to in rows
        for address in to.addresses
        for source in eni.addresses()
        if source.version == ip_address(str(address)).version
    ]
    before = set(vpc.drops())
    answers = connect_all(instance.guest, [attempt for _, attempt in tried], ATTEMPT_SECONDS)
    dropped = {(drop.source, drop.destination) for drop in set(vpc.drops()) - before}
    ways: dict[str, set[str]] = {}
    for (to, attempt), answer in zip(tried, answers, strict=True):
        way = instance.way(attempt.destination, attempt.source)
        wrong = way.startswith("ens") and way != eni.name
        lost = (str(attempt.source), str(attempt.destination)) in dropped
        assert lost is wrong, (attempt, way, answer)
        if lost:
            way = f"{way}, dropped"
        elif to.answers and not isinstance(answer, Answer):
            way = f"{way}, not reached"
        ways.setdefault(to.name, set()).add(way)
    assert all(len(found) == 1 for found in ways.values()), ways
    return {name: found.pop() for name, found in ways.items()}


def table(instance: Instance) -> Iterator[str]:
    vpc = instance.vpc
    where = subnets(vpc, 3)
    main = primary(vpc, where[0], ipv4=2, ipv6=2)
    second, third = (vpc.attach(subnet, ipv4=2, ipv6=2) for subnet in where[1:])
    vpc.guest.ip([f"link set {second.name} up", *TUNNEL])
    with docker0(vpc) as container:
        vpc.guest.ip(STATIC)
        rows = destinations(instance, (main, second, third), container)
        of_main, of_second = {}, {}
        for mode in MODES:
            instance.configure(f'routing = "{mode}"\n')
            instance.ec2net("refresh")
            of_main[mode] = measured(instance, main, rows)
            of_second[mode] = measured(instance, second, rows)
    assert of_main["main-first"] == of_main["strict"] == of_main["off"]
    yield "| to | from ens6, " + " | ".join(f"`{mode}`" for mode in MODES) + " | from ens5, any |"
    yield "| --- |" + " --- |" * (len(MODES) + 1)
    for to in rows:
        ways = [*(of_second[mode][to.name] for mode in MODES), of_main["main-first"][to.name]]
        yield f"| {to.name} | {' | '.join(ways)} |"


def test_the_ways_are_those_that_the_document_tells(instance: Instance) -> None:
    text = DOCUMENT.read_text()
    before, mark, rest = text.partition(BEGIN)
    told, end, after = rest.partition(END)
    assert mark
    assert end
    found = "".join(f"{line}\n" for line in table(instance))
    if os.environ.get("EC2NET_WRITE"):
        DOCUMENT.write_text(f"{before}{mark}{found}{end}{after}")
    else:
        assert told == found, "EC2NET_WRITE=1 writes what was measured"
