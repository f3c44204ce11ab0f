# SPDX-License-Identifier: Apache-2.0
"""Whether a gateway answers, asked of the real kernel, from every state of its entry."""

import socket
from ipaddress import ip_address

import pytest
from instance import primary, subnets

from ec2net.core.kernel.neighbours import Neighbours
from ec2net.core.model.objects import AnyAddress
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

STATES = ("", "reachable", "stale", "delay", "probe", "failed", "permanent", "noarp")


def index(vpc: SimulatedVpc) -> int:
    return vpc.guest.call(lambda: socket.if_nametoindex("ens5"))


def asked(vpc: SimulatedVpc, address: AnyAddress, seconds: float) -> bool:
    """Whether it answers in time. Ends with the event that says so."""
    link = index(vpc)
    neighbours = vpc.guest.call(Neighbours)
    with neighbours:
        deadline = Deadline(seconds)
        neighbours.ask(link, address)
        while not neighbours.answers(link, address) and not deadline.expired():
            deadline.wait(neighbours.fileno(), seconds=seconds)
            neighbours.drain()
        return neighbours.answers(link, address)


@pytest.fixture
def gateways(vpc: SimulatedVpc) -> tuple[AnyAddress, ...]:
    (subnet,) = subnets(vpc, 1)
    primary(vpc, subnet)
    assert subnet.gateway_ipv4 is not None
    assert subnet.gateway_ipv6 is not None
    return (subnet.gateway_ipv4, subnet.gateway_ipv6)


@pytest.mark.parametrize("state", STATES)
def test_one_that_is_there_answers_at_once(
    vpc: SimulatedVpc, gateways: tuple[AnyAddress, ...], state: str
) -> None:
    """From DELAY on its own the kernel would take 5 s to ask."""
    mac = vpc.subnets[0].gateway_mac
    for gateway in gateways:
        if state:
            line = f"neigh replace {gateway} lladdr {mac} dev ens5 nud {state}"
            vpc.guest.ip([line])
        assert asked(vpc, gateway, 4.0)
        shown = vpc.guest.run(["ip", "neigh", "show", str(gateway), "nud", "all"]).stdout
        fixed = state in ("permanent", "noarp")
        assert (state.upper() if fixed else "REACHABLE") in shown


@pytest.mark.parametrize("state", [s for s in STATES if s not in ("permanent", "noarp")])
def test_one_that_is_silent_does_not(
    vpc: SimulatedVpc, gateways: tuple[AnyAddress, ...], state: str
) -> None:
    """Nor does it count as there because it was a moment ago."""
    mac = vpc.subnets[0].gateway_mac
    vpc.router.ip([f"link set {vpc.subnets[0].bridge} down"])
    for gateway in gateways:
        if state:
            vpc.guest.ip([f"neigh replace {gateway} lladdr {mac} dev ens5 nud {state}"])
        assert not asked(vpc, gateway, 0.2)


def test_a_link_or_a_family_that_is_not_there_answers_nothing(vpc: SimulatedVpc) -> None:
    (subnet,) = subnets(vpc, 1)
    primary(vpc, subnet, ipv6=0)
    vpc.guest.sysctl({"net/ipv6/conf/ens5/disable_ipv6": "1"})
    assert not asked(vpc, ip_address("fe80:ec2::1"), 0.1)
    with vpc.guest.call(Neighbours) as neighbours:
        neighbours.ask(9999, ip_address("10.0.1.1"))
        assert not neighbours.answers(9999, ip_address("10.0.1.1"))
