# SPDX-License-Identifier: Apache-2.0
"""A subnet whose IPv6 router is not ``fe80:ec2::1``, as on some Outposts: advertisements name it."""

import socket

import pytest
from instance import HANGS, Instance, primary, subnets

from ec2net.core.kernel.neighbours import Neighbours
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.subnet import GATEWAY_LINK_LOCAL

pytestmark = pytest.mark.netns

ROUTER = "fe80::42"


def advertised(instance: Instance, eni: Eni) -> None:
    """The route that the kernel makes of the router's advertisement."""
    instance.guest.ip(
        [f"route add default via {ROUTER} dev {eni.name} proto ra metric 1024"], version=6
    )


def gateways(instance: Instance) -> list[str]:
    """The gateways of the default routes in the ENI's table."""
    shown = instance.guest.run(["ip", "-6", "route", "show", "table", "10001", "default"]).stdout
    return [line.split()[2] for line in shown.splitlines()]


@pytest.fixture
def eni(instance: Instance) -> Eni:
    """A secondary in a subnet with both routers."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    eni = instance.vpc.attach(second, ipv6=1)
    instance.guest.ip([f"link set {eni.name} up"])
    instance.vpc.router.ip([f"addr add {ROUTER}/64 dev {second.bridge} nodad"])
    return eni


def until_known(instance: Instance, eni: Eni) -> bool:
    """Whether EC2's constant answered; three solicitations without an answer take 3 s.

    A kernel with more than 128 neighbours (gc_thresh1, all namespaces together) may forget a result.
    """
    link = instance.guest.call(lambda: socket.if_nametoindex(eni.name))
    limit = Deadline(HANGS, "three solicitations")
    with instance.guest.call(Neighbours) as neighbours:
        while (known := neighbours.has_answered(link, GATEWAY_LINK_LOCAL)) is None:
            neighbours.ask(link, GATEWAY_LINK_LOCAL)
            limit.wait(neighbours.fileno(), seconds=1.0)
            neighbours.drain()
        return known


def test_the_advertised_router_is_used_where_the_constant_does_not_answer(
    instance: Instance, eni: Eni
) -> None:
    bridge = instance.vpc.subnets[1].bridge
    instance.vpc.router.ip([f"addr del {GATEWAY_LINK_LOCAL}/64 dev {bridge}"])
    advertised(instance, eni)
    instance.refresh()
    log, limit = "", Deadline(HANGS, "a refresh that reads the result before the kernel forgets it")
    while gateways(instance) != [ROUTER]:
        limit.check()
        assert not until_known(instance, eni)
        log = instance.ec2net("refresh").stderr
    assert f"{eni.name}: EC2's IPv6 router fe80:ec2::1 does not answer" in log
    assert ROUTER in log
    assert instance.unreachable(eni) == []
    assert instance.refresh() == []
    instance.guest.ip([f"neigh flush dev {eni.name} nud all"], version=6)
    assert instance.refresh() == [], "nothing is known, and the router in use stays"


def test_the_constant_is_used_where_it_answers(instance: Instance, eni: Eni) -> None:
    """In EC2 the advertisements come from another address of the same router."""
    advertised(instance, eni)
    instance.refresh()
    assert until_known(instance, eni)
    assert instance.refresh() == []
    assert gateways(instance) == [str(GATEWAY_LINK_LOCAL)]
