# SPDX-License-Identifier: Apache-2.0
"""The promise of routing, asked of the kernel for random hosts and main tables.

A packet leaves through an ENI only if the ENI has its source address. Main's answer is obeyed where
its link is no ENI or the source's own. Packets without a source, forwarded and marked packets
go as on the same host without ec2net. A counter-example prints the lines of ``ip`` that make it.
"""

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from endurance import rounds
from hypothesis import HealthCheck, example, given, seed, settings
from instance import Instance, primary, subnets
from main_habits import BRIDGES, DESTINATIONS, MARK, OUTSIDE, Habits, habits

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import AnyAddress
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

EXAMPLES, SEED = rounds(60), 20261129
CONTAINER, STRANGER = "172.17.0.5", "2001:db8:dd::5"
"""Sources of forwarded packets that no ENI has."""
NO_IPV4 = f"error {errno.EINVAL}"
"""The kernel's answer for a packet from a link without an IPv4 address."""
MANY: dict[str, Any] = {"ipv4": 2, "ipv6": 2, "ipv4_prefixes": 1, "ipv6_prefixes": 1}


@dataclass(frozen=True, slots=True)
class Packet:
    """``into``: forwarded from this link; ``through``: bound to this link."""

    to: AnyAddress
    source: AnyAddress | None = None
    into: str = ""
    through: str = ""
    mark: int = 0

    @property
    def outside(self) -> "Packet":
        """The same to a destination that only default routes lead to."""
        return replace(self, to=next(one for one in map(ip_address, OUTSIDE) if self.fits(one)))

    def fits(self, address: AnyAddress) -> bool:
        return address.version == self.to.version

    def __str__(self) -> str:
        words = [f"to {self.to}"]
        words += [f"from {self.source}"] if self.source else []
        words += [f"{name} {value}" for name, value in
                  (("iif", self.into), ("oif", self.through), ("mark", self.mark)) if value]  # fmt: skip
        return " ".join(words)


Ways = Mapping[Packet, str]
"""By packet the link and the gateway; the error if there is no way."""


def asked(guest: Namespace, packets: Iterable[Packet]) -> Ways:
    listed = json.loads(guest.run(["ip", "-j", "link"]).stdout)
    names = {int(one["ifindex"]): str(one["ifname"]) for one in listed}
    indices = {name: index for index, name in names.items()} | {"": 0}

    def all_ways() -> Ways:
        with Kernel(236) as kernel:
            return {packet: way(kernel, packet) for packet in packets}

    def way(kernel: Kernel, packet: Packet) -> str:
        links = {"into": indices[packet.into], "through": indices[packet.through]}
        try:
            answer = kernel.lookup(packet.to, packet.source, mark=packet.mark, **links)
        except KernelError as error:
            return f"error {error.errno}"
        return f"{names.get(answer.link, 'none')} {answer.gateway or ''}".strip()

    return guest.call(all_ways)


def of_host(enis: Iterable[Eni]) -> Iterator[Packet]:
    """Packets whose way depends on no address that ec2net adds."""
    for to in map(ip_address, DESTINATIONS):
        stranger = ip_address(CONTAINER if to.version == 4 else STRANGER)
        for mark in (0, MARK):
            yield Packet(to, mark=mark)
            for into in ("br0", *(eni.name for eni in enis)):
                yield Packet(to, stranger, into, mark=mark)
        for eni in enis:
            yield Packet(to, through=eni.name)


def of_enis(enis: Iterable[Eni]) -> Iterator[Packet]:
    """Packets from the ENIs' addresses and, forwarded, from their delegated prefixes."""
    for to in map(ip_address, DESTINATIONS):
        for eni in enis:
            for source in (a for a in eni.addresses() if a.version == to.version):
                yield Packet(to, source)
                yield Packet(to, source, mark=MARK)
                yield Packet(to, source, through=eni.name)
            for prefix in (p for p in eni.prefixes() if p.version == to.version):
                yield Packet(to, prefix[5], "br0")


@dataclass(frozen=True, slots=True)
class Host:
    """The ways after a pass, and those without ec2net."""

    enis: list[Eni]
    before: Ways
    after: Ways

    def broken(self) -> Iterator[str]:
        names = {eni.name for eni in self.enis}
        for packet, way in self.after.items():
            owner = self._owner(packet)
            if owner is None:
                wanted = self._as_before(packet, way)
            else:
                link = way.split()[0]
                if link in names and link != owner.name and not self._is_killed(packet):
                    yield f"{packet}: {way}, and {owner.name} has the source"
                wanted = self._of_main(packet, owner, names)
            if wanted and not way.startswith(wanted):
                yield f"{packet}: {way}, expected {wanted}"

    def _owner(self, packet: Packet) -> Eni | None:
        source = packet.source
        return next(
            (
                eni
                for eni in self.enis
                if source in eni.addresses()
                or any(source is not None and source in prefix for prefix in eni.prefixes())
            ),
            None,
        )

    def _as_before(self, packet: Packet, way: str) -> str:
        """A packet that is bound to a link leaves by it; ec2net may know another next hop."""
        before = self.before[packet]
        if before == NO_IPV4:
            return ""
        if not packet.through:
            return before
        return before.split()[0] if not before.startswith("error") else way

    def _of_main(self, packet: Packet, owner: Eni, names: set[str]) -> str:
        """The way that main names, if it counts for ``owner``; empty if it does not."""
        unnamed = replace(packet, source=None, into="")
        before, outside = self.before[unnamed], self.before[unnamed.outside]
        link = before.split()[0]
        if packet.through or link == "error" or (link in names and link != owner.name):
            return ""
        if owner is not self.enis[0] and (packet.mark or str(packet.to).startswith("10.83.")):
            return ""  # a rule behind those of an ENI does not count for it
        if owner is self.enis[0]:
            return before if not is_shared(packet.to) else ""
        nets = (owner.subnet.ipv4, owner.subnet.ipv6)
        inside = any(net is not None and packet.to in ip_network(str(net)) for net in nets)
        if before == outside or (link == owner.name and (inside or is_shared(packet.to))):
            return ""  # its own table has it
        return before

    def _is_killed(self, packet: Packet) -> bool:
        """With a kill switch no way is left to the primary: its packets are lost there or in the VPC."""
        return self.before[Packet(packet.outside.to)].startswith("error")


def is_shared(to: AnyAddress) -> bool:
    """Whether several next hops may lead there: the source decides which one."""
    return str(to).startswith(("10.82.", "10.84.", "10.85.", "2001:db8:84:"))


def configured(instance: Instance, host: Habits) -> Host:
    vpc = instance.vpc
    where = subnets(vpc, 3)
    enis = [primary(vpc, where[0], **MANY)]
    vpc.guest.ip(BRIDGES)
    vpc.guest.sysctl({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
    for device, (n, card) in enumerate(host.secondaries, 1):
        enis.append(vpc.attach(where[n - 1], card=card, device=device, **MANY))
        vpc.guest.ip([f"link set {enis[-1].name} up"])
    vpc.guest.ip_each(host.of(4))
    vpc.guest.ip_each(host.of(6), version=6)
    before = asked(vpc.guest, of_host(enis))
    for _ in range(2):
        instance.ec2net("refresh", status=None)
    return Host(enis, before, asked(vpc.guest, (*of_host(enis), *of_enis(enis))))


@seed(SEED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(habits())
@example(Habits(((1, 0), (2, 0)), ("route add 10.0.2.0/24 dev ens7 metric 1024 proto dhcp",)))
@example(Habits(((2, 0),), ("route add 10.0.2.0/24 dev ens6 proto kernel scope link",)))
@example(
    Habits(
        ((2, 0), (2, 0)), ("route add default dev wg0 metric 50", "route add 10.0.2.128/25 dev br0")
    )
)
def test_no_packet_leaves_through_an_eni_that_lacks_its_source(
    install: Callable[[SimulatedVpc], Instance], host: Habits
) -> None:
    with SimulatedVpc(seed=SEED) as vpc:
        found = configured(install(vpc), host)
        wrong = list(found.broken())
        where = ", ".join(f"{eni.name}: {eni.subnet.ipv4}" for eni in found.enis)
        script = "\n".join(f"ip {line}" for line in (*BRIDGES, *host.lines))
    print(f"{EXAMPLES} examples, seed {SEED}; {where}\n{script}")
    assert not wrong, f"{len(wrong)} of {len(found.after)} packets:\n" + "\n".join(wrong[:40])
