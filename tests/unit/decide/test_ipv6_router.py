# SPDX-License-Identifier: Apache-2.0
"""Which router an ENI uses in a subnet without ``fe80:ec2::1``."""

from collections.abc import Callable
from ipaddress import IPv6Address

import pytest
from eni_facts import link, mac

from ec2net.core.decide.ipv6_router import other_routers
from ec2net.core.decide.routing import EVERYTHING, IPV6_GATEWAY
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import MAIN_TABLE, LinkRef, Route
from ec2net.core.model.snapshot import Found, Snapshot

RA, OURS = 9, 236
ROUTER, OTHER = IPv6Address("fe80::1"), IPv6Address("fe80::2")
LINK = LinkRef(link(1).index, link(1).name)


def default(gateway: IPv6Address, protocol: int = RA, metric: int = 512) -> Found[Route]:
    return Found(Route(EVERYTHING[6], MAIN_TABLE, metric, LINK, gateway), protocol)


def routers(*routes: Found[Route], answers: Callable[[int], bool | None]) -> dict[Mac, IPv6Address]:
    links = {mac(1): (link(1),), mac(2): (link(2),)}
    return other_routers(Snapshot(routes=routes), links, OURS, answers)


def test_an_advertised_router_replaces_the_constant_that_does_not_answer() -> None:
    assert routers(default(ROUTER), answers=lambda _: False) == {mac(1): ROUTER}


def test_the_constant_stays_while_it_answers() -> None:
    assert routers(default(ROUTER), answers=lambda _: True) == {}


def test_the_advertised_router_with_the_better_metric_counts() -> None:
    routes = (default(OTHER, metric=600), default(ROUTER))
    assert routers(*routes, answers=lambda _: False) == {mac(1): ROUTER}


def test_an_advertised_constant_is_used_without_a_request() -> None:
    def refuse(_: int) -> bool:
        raise AssertionError("asked")

    assert routers(default(ROUTER), default(IPV6_GATEWAY), answers=refuse) == {}
    assert routers(answers=refuse) == {}
    assert routers(default(ROUTER, protocol=3), answers=refuse) == {}


@pytest.mark.parametrize(("in_use", "result"), [(ROUTER, {mac(1): ROUTER}), (IPV6_GATEWAY, {})])
def test_the_router_in_use_stays_while_the_answer_is_unknown(
    in_use: IPv6Address, result: dict[Mac, IPv6Address]
) -> None:
    routes = (default(ROUTER), default(in_use, OURS))
    assert routers(*routes, answers=lambda _: None) == result
