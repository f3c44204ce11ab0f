# SPDX-License-Identifier: Apache-2.0
"""The promise of routing, checked on the kernel for random hosts and main tables.

A packet leaves through an ENI only if the ENI has its source address, and ec2net obeys main
wherever main's link is no ENI. A counterexample prints the lines of ``ip`` that build it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from instance import Instance, primary, subnets
from main_habits import BRIDGES, DESTINATIONS, Habits, habits

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import AnyAddress
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

OUTSIDE: tuple[AnyAddress, ...] = (ip_address("203.0.113.9"), ip_address("2001:db8:ffff::9"))
EXAMPLES, SEED = 12, 20261129

Ways = Mapping[tuple[AnyAddress | None, AnyAddress], str]
"""By source (None: not named) and destination the link and the gateway; the error if the lookup
fails."""


def asked(guest: Namespace, sources: list[AnyAddress | None]) -> Ways:
    names = {
        int(one["ifindex"]): str(one["ifname"])
        for one in json.loads(guest.run(["ip", "-j", "link"]).stdout)
    }

    def all_ways() -> Ways:
        with Kernel(236) as kernel:
            return {
                (source, to): _way(kernel, to, source, names)
                for source in sources
                for to in map(ip_address, DESTINATIONS)
                if source is None or source.version == to.version
            }

    return guest.call(all_ways)


def _way(
    kernel: Kernel, to: AnyAddress, source: AnyAddress | None, names: Mapping[int, str]
) -> str:
    try:
        answer = kernel.lookup(to, source)
    except KernelError as error:
        return f"error {error.errno}"
    return f"{names[answer.link]} {answer.gateway or ''}".strip()


@dataclass(frozen=True, slots=True)
class Host:
    """The routing after two passes, and the routing without ec2net."""

    enis: list[Eni]
    before: Ways
    after: Ways

    def broken(self) -> list[str]:
        names = {eni.name for eni in self.enis}
        found = []
        for (source, to), way in self.after.items():
            link = way.split()[0]
            unnamed = self.before[None, to]
            if source is None:
                if way != unnamed:
                    found.append(f"to {to}: {way}, without ec2net {unnamed}")
                continue
            owner = next(eni for eni in self.enis if source in eni.addresses())
            if link in names and link != owner.name and not self._is_killed(to):
                found.append(f"from {source} of {owner.name} to {to}: {way}")
            main_leads_elsewhere = unnamed.split()[0] not in (*names, "error")
            if main_leads_elsewhere and owner is self.enis[0] and way != unnamed:
                found.append(f"from {source} of the primary to {to}: {way}, main says {unnamed}")
        return found

    def _is_killed(self, to: AnyAddress) -> bool:
        """With a kill switch no route leads to the primary: its packets are lost there or in the
        VPC."""
        outside = next(one for one in OUTSIDE if one.version == to.version)
        return self.before[None, outside].startswith("error")


def configured(instance: Instance, host: Habits) -> Host:
    vpc = instance.vpc
    where = subnets(vpc, 3)
    enis = [primary(vpc, where[0], ipv4=2, ipv6=2)]
    vpc.guest.ip(BRIDGES)
    for n in host.secondaries:
        enis.append(vpc.attach(where[n - 1], ipv4=2, ipv6=2))
        vpc.guest.ip([f"link set {enis[-1].name} up"])
    vpc.guest.ip_each(host.lines)
    before = asked(vpc.guest, [None])
    for _ in range(2):
        instance.ec2net("refresh", status=None)
    sources: list[AnyAddress | None] = [None, *(a for eni in enis for a in eni.addresses())]
    return Host(enis, before, asked(vpc.guest, sources))


@seed(SEED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(habits())
@example(Habits((1, 2), ("route add 10.0.2.0/24 dev ens7 metric 1024 proto dhcp",)))
@example(Habits((2,), ("route add 10.0.2.0/24 dev ens6 proto kernel scope link",)))
@example(Habits((2, 2), ("route add default dev wg0 metric 50", "route add 10.0.2.128/25 dev br0")))
def test_no_packet_leaves_through_an_eni_that_lacks_its_source(
    install: Callable[[SimulatedVpc], Instance], host: Habits
) -> None:
    with SimulatedVpc(seed=SEED) as vpc:
        wrong = configured(install(vpc), host).broken()
        attached = ", ".join(f"ens{6 + i}: 10.0.{n}.0/24" for i, n in enumerate(host.secondaries))
        script = "\n".join(f"ip {line}" for line in (*BRIDGES, *host.lines))
    print(f"seed {SEED}, secondaries {attached or 'none'}\n{script}")
    assert not wrong, f"{len(wrong)} of {EXAMPLES} examples' lookups:\n" + "\n".join(wrong)
