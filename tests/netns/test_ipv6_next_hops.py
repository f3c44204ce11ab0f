# SPDX-License-Identifier: Apache-2.0
"""Why main does not show IPv6 subnets of secondary ENIs: the kernel's answers, without ec2net.

Main would need a route through the primary ENI for traffic that is not bound, and one on-link for
next hops and bound traffic. The kernel has no order of the two that serves both.
"""

import pytest

from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

BASE = (
    "link add pri type bridge",
    "link add sec type bridge",
    "link set pri up",
    "link set sec up",
    "addr add 2001:db8:0:1::4/128 dev pri nodad noprefixroute",
    "addr add 2001:db8:0:2::4/128 dev sec nodad noprefixroute",
    "route add ::/0 via fe80::1 dev pri metric 512",
)
DETOUR = "route add 2001:db8:0:2::/64 via fe80::1 dev pri metric 512"
HOST = "2001:db8:0:2::3"


@pytest.fixture
def guest(vpc: SimulatedVpc) -> Namespace:
    vpc.guest.ip(BASE)
    return vpc.guest


def accepted(guest: Namespace) -> list[bool]:
    """Whether the kernel accepts a next hop of the subnet without and with ``onlink``."""
    hop = ["ip", "-6", "route", "add", "2001:db8:60::/48", "via", HOST, "dev", "sec"]
    found = []
    for words in ([], ["onlink"]):
        found.append(guest.run([*hop, *words]).returncode == 0)
        guest.run(["ip", "-6", "route", "del", "2001:db8:60::/48"])
    return found


def link(guest: Namespace, *words: str) -> str:
    """The link to a host of the subnet."""
    return guest.run(["ip", "-6", "route", "get", HOST, *words]).stdout.partition("dev ")[2][:3]


def test_without_routes_a_next_hop_needs_onlink(guest: Namespace) -> None:
    assert accepted(guest) == [False, True]


def test_behind_a_detour_the_kernel_refuses_a_next_hop_with_onlink(guest: Namespace) -> None:
    """It compares the link with the best route's, whatever the metric of the on-link route."""
    guest.ip([DETOUR, "route add 2001:db8:0:2::/64 dev sec metric 513"])
    assert accepted(guest) == [True, False]
    assert (link(guest), link(guest, "oif", "sec")) == ("pri", "sec")


def test_before_a_detour_the_on_link_route_takes_all_traffic(guest: Namespace) -> None:
    guest.ip([DETOUR, "route add 2001:db8:0:2::/64 dev sec metric 511"])
    assert accepted(guest) == [True, True]
    assert link(guest, "from", "2001:db8:0:1::4") == "sec"


def test_with_one_metric_a_silent_gateway_moves_the_primarys_traffic(guest: Namespace) -> None:
    """Both hops are accepted, but the kernel prefers a route whose gateway it does not miss."""
    guest.ip([DETOUR, "route append 2001:db8:0:2::/64 dev sec metric 512"])
    assert accepted(guest) == [True, True]
    primary = ("from", "2001:db8:0:1::4")
    assert (link(guest, *primary), link(guest, "oif", "sec")) == ("pri", "sec")
    guest.ip(["neigh replace fe80::1 dev pri lladdr 02:00:00:00:00:01 nud failed"])
    assert link(guest, *primary) == "sec"


def test_a_rule_for_the_link_serves_next_hops_and_bound_traffic_alone(guest: Namespace) -> None:
    """Main does not show the subnet then, so that other programs do not see it."""
    guest.ip(["route add 2001:db8:0:2::/64 dev sec table 10001"])
    guest.ip(["rule add priority 10001 oif sec lookup 10001"], version=6)
    assert accepted(guest) == [True, True]
    assert (link(guest), link(guest, "oif", "sec")) == ("pri", "sec")
    assert HOST[:12] not in guest.run(["ip", "-6", "route", "show", "table", "main"]).stdout
