# SPDX-License-Identifier: Apache-2.0
"""Which of main's routes through an ENI are copied to its table."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from eni_facts import IPV4_ONLY, eni, host, mac

from ec2net.core.config.settings import Config, EniSettings, MainTable, Routing
from ec2net.core.decide import copies
from ec2net.core.decide.compute import compute
from ec2net.core.decide.copies import copied
from ec2net.core.decide.intent import EniIntent
from ec2net.core.decide.main import Main
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import LOCAL_TABLE, MAIN_TABLE, LinkRef, Route, RouteKind
from ec2net.core.model.snapshot import Found, Snapshot

NUMBERS = NumberPlan()
STATIC = 4
ENS5, ENS6, ENS7 = (LinkRef(index, f"ens{index + 3}") for index in (2, 3, 4))
FACTS = host(eni(0), eni(1), eni(2, **IPV4_ONLY))


def route(
    destination: str,
    link: LinkRef = ENS6,
    gateway: str | None = None,
    metric: int = 0,
    *,
    protocol: int = STATIC,
    kind: RouteKind = RouteKind.UNICAST,
    table: int = MAIN_TABLE,
) -> Found[Route]:
    via = None if gateway is None else ip_address(gateway)
    return Found(Route(ip_network(destination), table, metric, link, via, kind=kind), protocol)


def intents(*routes: Found[Route], **settings: object) -> dict[int, EniIntent]:
    config = Config(eni=EniSettings(**settings))  # type: ignore[arg-type]
    main = Main(Snapshot(FACTS.links, (), routes), NUMBERS, ())
    joint = copied(compute(FACTS, config), main)
    return {n: found for n in range(3) for found in joint.ready if found.mac == mac(n)}


def copies_of(n: int, *routes: Found[Route], **settings: object) -> list[str]:
    return [found.describe() for found in intents(*routes, **settings)[n].copied_routes]


def test_a_route_through_an_eni_is_copied_only_to_its_table() -> None:
    found = (
        route("198.51.100.7/32", gateway="10.0.1.5"),
        route("10.60.0.0/16", gateway="10.0.1.1", metric=20),
        route("2001:db8:60::/48", gateway="2001:db8:0:1::5", metric=1024),
        route("192.0.2.0/24"),
    )
    assert copies_of(1, *found) == [
        "route 198.51.100.7/32 via 10.0.1.5 dev ens6 table 10001",
        "route 10.60.0.0/16 via 10.0.1.1 dev ens6 table 10001 metric 20",
        "route 2001:db8:60::/48 via 2001:db8:0:1::5 dev ens6 table 10001 metric 1024",
        "route 192.0.2.0/24 dev ens6 table 10001",
    ]
    assert copies_of(0, *found) == copies_of(2, *found) == []


@pytest.mark.parametrize(
    "found",
    [
        route("0.0.0.0/0", gateway="10.0.1.1"),
        route("10.0.1.0/24"),
        route("224.0.0.0/4"),
        route("fe80::/64"),
        route("ff00::/8"),
        route("10.60.0.0/16", ENS5, "10.0.0.1"),
        route("10.60.0.0/16", protocol=NUMBERS.protocol),
        route("10.60.0.0/16", kind=RouteKind.OTHER),
        route("10.60.0.0/16", table=LOCAL_TABLE),
    ],
    ids=[
        "a default route",
        "its own subnet",
        "multicast",
        "link-local",
        "multicast of IPv6",
        "through the primary",
        "ours",
        "more than is modelled",
        "not in main",
    ],
)
def test_other_routes_are_not_copied(found: Found[Route]) -> None:
    assert [intent.copied_routes for intent in intents(found).values()] == [(), (), ()]


def test_the_best_of_several_routes_is_copied() -> None:
    found = [route("10.60.0.0/16", gateway=f"10.0.1.{n}", metric=n) for n in (9, 3, 5)]
    assert copies_of(1, *found) == ["route 10.60.0.0/16 via 10.0.1.3 dev ens6 table 10001 metric 3"]


def test_a_family_without_a_default_route_gets_no_copy() -> None:
    assert copies_of(2, route("2001:db8:60::/48", ENS7, "fe80::9")) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"routing": Routing.STRICT},
        {"routing": Routing.OFF},
        {"main_table": MainTable.APART},
        {"primary_rules": True, "routing": Routing.STRICT},
    ],
)
def test_main_is_copied_only_where_main_takes_precedence(settings: dict[str, object]) -> None:
    found = route("10.60.0.0/16", gateway="10.0.1.5"), route("10.61.0.0/16", ENS5, "10.0.0.5")
    assert {i.copied_routes for i in intents(*found, **settings).values()} == {()}


def test_a_copy_that_the_kernel_refuses_does_not_affect_the_rest_of_the_eni() -> None:
    (copy,) = intents(route("10.60.0.0/16", gateway="10.0.1.5"))[1].copied_routes
    assert copy.optional
    needed = (*intents()[1].table_routes, *intents()[1].main_routes)
    assert not any(route.optional for route in needed)


def test_copies_have_a_limit_that_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST", 3)
    found = [route(f"10.{n}.0.0/{16 if n < 62 else 24}", gateway="10.0.1.5") for n in range(60, 65)]
    intent = intents(*found)[1]
    assert {copy.destination.prefixlen for copy in intent.copied_routes[:2]} == {16}
    assert len(intent.copied_routes) == 3
    assert intent.main_remarks == ("main has 5 routes through it: 3 are copied",)
    assert replace(intent, main_remarks=(), copied_routes=()) == intents()[1]
