# SPDX-License-Identifier: Apache-2.0
"""Rules and routes of a predecessor are taken over and removed in a real kernel, and no others."""

import json

import pytest
from instance import Instance, primary, subnets

from ec2net.core.migration.handover_kernel import claim, clear, left
from ec2net.core.migration.net_utils import wrote

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]

FILES = [
    "[Route]\nTable=10001\nGateway=_dhcp4\n[Route]\nTable=10001\nDestination=10.0.1.0/24\n",
    "[Address]\nAddress=10.0.2.5/32\n[Address]\nAddress=10.0.2.6/32\n",
    "[RoutingPolicyRule]\nFrom=10.0.2.4\nPriority=10001\nTable=10001\n",
]
ITS = wrote(FILES)
MADE = (
    "rule add from 10.0.2.4 lookup 10001 priority 10001 protocol static",
    "route add default via 10.0.2.1 dev ens6 table 10001 metric 513 proto dhcp onlink",
    "route add 10.0.1.0/24 dev ens6 table 10001 proto static",
    "route add default via 10.0.2.1 dev ens6 metric 513 proto dhcp onlink",
)
OTHERS = (
    "rule add from 10.0.2.9 lookup 10001 priority 10001 protocol static",
    "rule add from 10.0.2.4 lookup 10001 priority 10001 protocol 99",
    "route add 192.0.2.0/24 dev ens6 table 10001 proto static",
    "route add 192.0.2.0/24 dev ens6 table 7 proto dhcp",
    "route add default via 10.0.1.1 dev ens5 metric 9 proto dhcp onlink",
)
LINKS = (
    "link set ens6 up",
    "addr add 10.0.2.5/32 dev ens6",
    "addr add 10.0.2.9/32 dev ens6",
    "addr add 10.0.2.4/24 dev ens6",
)


def ipv4(instance: Instance) -> dict[str, list[str]]:
    """Rules and routes of IPv4; the kernel adds those of IPv6 link-local addresses with a delay."""
    state = instance.kernel()
    return {subject: state[subject] for subject in ("rules 4", "routes 4")}


def indices(instance: Instance) -> tuple[list[int], list[int]]:
    """Of the links of both ENIs, and of the secondary's."""
    shown = json.loads(instance.guest.run(["ip", "-json", "link", "show"]).stdout)
    links = {link["ifname"]: link["ifindex"] for link in shown}
    return [links["ens5"], links["ens6"]], [links["ens6"]]


def test_only_objects_of_the_predecessor_are_removed(instance: Instance) -> None:
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    instance.vpc.attach(second)
    instance.guest.ip(LINKS)
    instance.guest.ip(OTHERS)
    before = ipv4(instance)
    instance.guest.ip(MADE)
    enis, secondary = indices(instance)

    def own() -> int:
        return instance.guest.call(lambda: len(left(ITS, enis, secondary, ["veth"])))

    assert own() == len(MADE)
    instance.guest.call(lambda: claim(ITS, enis, secondary, ["veth"], 236))
    shown = instance.guest.run(["ip", "-4", "-o", "addr", "show", "dev", "ens6"]).stdout
    order = [line.split()[3] for line in shown.splitlines()]
    assert order == ["10.0.2.9/32", "10.0.2.4/24", "10.0.2.5/32"]  # its own, now behind the first
    assert own() == 1  # the rule; the routes have the mark of ec2net, and each is still there
    shown = instance.guest.run(["ip", "route", "show", "table", "10001"]).stdout
    assert "10.0.1.0/24 dev ens6 proto 236" in shown.replace("proto ec2net", "proto 236")
    instance.guest.call(lambda: clear(ITS, enis, secondary, ["veth"]))
    assert own() == 0
    instance.guest.ip(["route flush table 10001 proto 236", "route flush table main proto 236"])
    assert ipv4(instance) == before


def test_without_the_mark_the_routes_are_removed(instance: Instance) -> None:
    """A refusal to take over leaves no route of it behind."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    instance.vpc.attach(second)
    instance.guest.ip(LINKS)
    before = ipv4(instance)
    instance.guest.ip(MADE)
    enis, secondary = indices(instance)
    instance.guest.call(lambda: clear(ITS, enis, secondary, ["veth"]))
    assert ipv4(instance) == before
