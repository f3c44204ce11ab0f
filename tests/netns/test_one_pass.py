# SPDX-License-Identifier: Apache-2.0
"""One pass is enough: after it the plan is empty, after any earlier change.

``EC2NET_SEED`` replays a failure, ``EC2NET_ENDURANCE`` sets the number of changes.
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest
from chance import assign
from endurance import rounds
from instance import MANY, Instance, primary

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

CHANGES = 150
SETTINGS = (
    "",
    "mtu = 1280\n",
    "mtu = 1500\n",
    'mtu = "keep"\n',
    # Not for the primary: a pass that loses the host's IPv6 gateway is rolled back.
    '[[eni]]\nmatch = { role = "secondary" }\nmtu = 600\nipv6 = "off"\n',
    'routing = "strict"\n',
    'routing = "off"\n',
    "primary_rules = true\n",
    'ipv4_prefix_mode = "local"\nipv6_prefix_mode = "local"\n',
    'main_default = "no"\n',
    "altnames = []\n",
    'manage = "no-addresses"\n',
    'manage = "no-rules"\n',
    'ipv6 = "off"\n',
)


@dataclass
class Changes:
    """Random changes of a host; each returns its description."""

    instance: Instance
    chance: random.Random
    settings: str = ""
    story: list[str] = field(default_factory=list)

    def make(self) -> None:
        kinds = (
            self.assign,
            self.unassign,
            self.other_first_address,
            self.configure,
            self.other_mtu,
            self.take_away,
            self.set_down,
            self.detach_or_attach,
        )
        self.story.append(self.chance.choice(kinds)())

    @property
    def eni(self) -> Eni:
        return self.chance.choice(self.instance.vpc.enis[1:])

    def assign(self) -> str:
        return assign(self.chance, self.instance.vpc.enis)

    def unassign(self) -> str:
        eni = self.eni
        held = [*eni.ipv4s[1:], *eni.ipv6s, *eni.prefixes()]
        if not held:
            return "nothing to unassign"
        gone = self.chance.choice(held)
        for kind in (eni.ipv4s, eni.ipv6s, eni.ipv4_prefixes, eni.ipv6_prefixes):
            if gone in kind:
                kind.remove(gone)  # type: ignore[arg-type]
        eni.fabric.remap(eni, [], [ip_network(gone)])
        return f"unassign {gone} from {eni.name}"

    def other_first_address(self) -> str:
        """One of the present addresses, or a new one."""
        eni = self.eni
        if self.chance.random() < 0.5:
            eni.assign_ipv4()
            eni.ipv4s.insert(0, eni.ipv4s.pop())
        else:
            self.chance.shuffle(eni.ipv4s)
        eni.fabric.remap(eni, [], [])
        return f"first address {eni.ipv4s[0]} of {eni.name}"

    def configure(self) -> str:
        self.settings = self.chance.choice(SETTINGS)
        self.instance.configure(self.settings)
        return f"configure {self.settings!r}"

    def other_mtu(self) -> str:
        """Never below 1280 for the primary: no router here advertises its IPv6 routes again."""
        eni = self.chance.choice(self.instance.vpc.enis)
        mtu = self.chance.choice((1400, 1000 if eni.device else 1300))
        self.instance.guest.ip([f"link set {eni.name} mtu {mtu}"])
        return f"link {eni.name} mtu {mtu}"

    def take_away(self) -> str:
        """Something that ec2net made."""
        kind = self.chance.choice(("addr", "route", "rule"))
        version = self.chance.choice((4, 6))
        if kind == "addr":
            eni = self.eni
            self.instance.guest.ip_each([f"-{version} addr flush dev {eni.name} scope global"])
            return f"flush IPv{version} addresses of {eni.name}"
        if kind == "route":
            self.instance.guest.ip_each([f"-{version} route flush table 10001"])
            return f"flush IPv{version} table 10001"
        self.instance.guest.ip_each([f"-{version} rule flush protocol 236"])
        return f"flush IPv{version} rules"

    def set_down(self) -> str:
        eni = self.eni
        self.instance.guest.ip([f"link set {eni.name} down"])
        return f"link {eni.name} down"

    def detach_or_attach(self) -> str:
        vpc = self.instance.vpc
        if len(vpc.enis) > 3:
            eni = vpc.enis[-1]
            vpc.detach(eni, Detach.DELETE)
            return f"detach {eni.name}"
        return f"attach {vpc.attach(vpc.subnets[1], **MANY).name}"


def left(instance: Instance) -> list[str]:
    planned = json.loads(instance.ec2net("plan", "--json", status=None).stdout)
    return [f"{change['action']} {change['text']}" for change in planned["changes"]]


@pytest.fixture
def host(vpc: SimulatedVpc, install: Callable[[SimulatedVpc], Instance]) -> Instance:
    """A primary and two secondaries, configured."""
    made = install(vpc)
    # Large enough for all prefixes of ENIs that are detached again.
    first, second = (vpc.add_subnet(f"10.0.{16 * n}.0/20", f"2001:db8:0:{n}::/64") for n in (1, 2))
    primary(vpc, first, **MANY)
    vpc.attach(second, **MANY)
    vpc.attach(second, **MANY)
    made.refresh()
    return made


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0], [1, 2, 3], [1]])
def test_another_first_address_needs_one_pass(host: Instance, order: list[int]) -> None:
    """Only the next pass moved addresses behind it that preceded it."""
    eni = host.vpc.enis[1]
    gone = [address for n, address in enumerate(eni.ipv4s) if n not in order]
    eni.ipv4s[:] = [eni.ipv4s[n] for n in order]
    # The VPC's router reaches prefixes through the first address.
    eni.fabric.remap(eni, eni.ipv4_prefixes, [ip_network(address) for address in gone])
    host.refresh()
    assert left(host) == []
    assert host.unreachable(eni) == []


def test_an_mtu_that_allows_ipv6_again_needs_one_pass(host: Instance) -> None:
    """IPv6 returns on the link as soon as its MTU is 1280 or more."""
    eni = host.vpc.enis[1]
    host.guest.ip([f"link set {eni.name} mtu 1000"])
    assert f"replace link {eni.name} mtu 9001" in host.refresh()
    assert left(host) == []
    assert host.unreachable(eni) == []


def test_an_mtu_that_removes_unwanted_ipv6_needs_one_pass(host: Instance) -> None:
    """The kernel removes IPv6 addresses with the MTU. Their removal by ec2net failed then."""
    host.configure(SETTINGS[4])
    host.refresh()
    assert left(host) == []
    ticks = host.vpc.check_out(host.vpc.enis[1], patient=True)
    assert [tick for tick in ticks if tick.address.version == 4 and not tick.ok] == []


def test_one_pass_is_enough_after_random_changes(host: Instance) -> None:
    seed, count = int(os.environ.get("EC2NET_SEED", "20261129")), rounds(CHANGES)
    print(f"EC2NET_SEED={seed}, {count} changes")
    changes = Changes(host, random.Random(seed))
    for _ in range(count):
        changes.make()
        done = host.ec2net("refresh", status=None)
        story = "\n".join([f"EC2NET_SEED={seed}", *changes.story[-8:], done.stderr])
        assert left(host) == [], story
