# SPDX-License-Identifier: Apache-2.0
"""Whether a gateway answers on the real kernel, from every state of its neighbour entry."""

import socket
import struct
from ipaddress import ip_address

import pytest
from instance import HANGS, primary, subnets

from ec2net.core.kernel.neighbours import Neighbours
from ec2net.core.kernel.router_solicitation import solicit_router
from ec2net.core.model.objects import AnyAddress
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

ROUTER_SOLICITATION = 133

STATES = ("", "reachable", "stale", "delay", "probe", "failed", "permanent", "noarp")


def index(vpc: SimulatedVpc) -> int:
    return vpc.guest.call(lambda: socket.if_nametoindex("ens5"))


def asked(vpc: SimulatedVpc, address: AnyAddress, seconds: float) -> bool:
    """Whether the gateway answers in time. Ends with the event that shows the answer."""
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
def test_a_present_neighbour_answers_at_once(
    vpc: SimulatedVpc, gateways: tuple[AnyAddress, ...], state: str
) -> None:
    """From DELAY on the kernel itself would wait 5 s before its request."""
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
def test_a_silent_neighbour_does_not_answer(
    vpc: SimulatedVpc, gateways: tuple[AnyAddress, ...], state: str
) -> None:
    """An answer of a moment ago does not count either."""
    mac = vpc.subnets[0].gateway_mac
    vpc.router.ip([f"link set {vpc.subnets[0].bridge} down"])
    for gateway in gateways:
        if state:
            vpc.guest.ip([f"neigh replace {gateway} lladdr {mac} dev ens5 nud {state}"])
        assert not asked(vpc, gateway, 0.2)


def test_without_the_link_or_the_family_there_is_no_answer(vpc: SimulatedVpc) -> None:
    (subnet,) = subnets(vpc, 1)
    primary(vpc, subnet, ipv6=0)
    vpc.guest.sysctl({"net/ipv6/conf/ens5/disable_ipv6": "1"})
    assert not asked(vpc, ip_address("fe80:ec2::1"), 0.1)
    with vpc.guest.call(Neighbours) as neighbours:
        neighbours.ask(9999, ip_address("10.0.1.1"))
        assert not neighbours.answers(9999, ip_address("10.0.1.1"))


def test_a_router_solicitation_reaches_the_router_of_the_link(
    vpc: SimulatedVpc, gateways: tuple[AnyAddress, ...]
) -> None:
    """Whole and with hop limit 255: a router ignores any other (RFC 4861, section 6.1.1)."""

    def listening() -> socket.socket:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        bridge = socket.if_nametoindex(vpc.subnets[0].bridge)
        group = socket.inet_pton(socket.AF_INET6, "ff02::2") + struct.pack("@I", bridge)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        listener.settimeout(HANGS)
        return listener

    with vpc.router.call(listening) as listener:
        link = index(vpc)
        vpc.guest.call(lambda: solicit_router(link))
        kind, hops = 0, b""
        while kind != ROUTER_SOLICITATION:  # ends by the socket's timeout
            data, options, _, _ = listener.recvmsg(1024, 1024)
            kind, hops = data[0], options[0][2]
    assert struct.unpack("@i", hops) == (255,)
