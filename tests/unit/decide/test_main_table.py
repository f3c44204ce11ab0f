# SPDX-License-Identifier: Apache-2.0
"""Which subnets of secondary ENIs main shows, and by which routes."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from eni_facts import IPV4_ONLY, IPV6_ONLY, eni, host, ipv4, link, mac

from ec2net.core.config.settings import Config, EniSection, Manage, Match, Role
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent
from ec2net.core.decide.main import Main
from ec2net.core.decide.main_table import MainTable, known_subnets
from ec2net.core.decide.ownership import plan_for
from ec2net.core.model.facts import EniFacts, Facts, Value
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import MAIN_TABLE, LinkRef, Rank, Route, RouteKind
from ec2net.core.model.plan import Action, InPlace, Item
from ec2net.core.model.snapshot import Found, Snapshot

OURS, DHCP = NumberPlan().protocol, 16
ENS5, ENS6, ENS7 = (LinkRef(index, f"ens{index + 3}") for index in (2, 3, 4))
TUNNEL = LinkRef(9, "wg0")
FACTS = host(eni(0), eni(1))


def route(
    destination: str, link: LinkRef, gateway: str | None = None, metric: int = 512
) -> Found[Route]:
    via = None if gateway is None else ip_address(gateway)
    return Found(Route(ip_network(destination), MAIN_TABLE, metric, link, via), DHCP)


DEFAULTS = (
    route("0.0.0.0/0", ENS5, "10.0.0.1"),
    route("::/0", ENS5, "fe80::1"),
    route("10.0.0.0/24", ENS5),
)


def joined(
    *routes: Found[Route],
    facts: Facts = FACTS,
    config: Config | None = None,
    applied: tuple[Mac, ...] = (mac(0), mac(1)),
) -> EniIntent:
    """The intent of ENI 1 where main has ``routes``."""
    snapshot = Snapshot(facts.links, (), routes)
    table = MainTable(facts, Main(snapshot, NumberPlan(), applied))
    outcome = table.joined(compute(facts, config or Config())).of(mac(1))
    assert outcome is not None
    assert outcome.intent is not None
    return outcome.intent


def shown(intent: EniIntent) -> list[str]:
    return [found.describe() for found in intent.subnet_routes]


def test_main_shows_a_subnet_through_the_primary_and_as_on_link_after_it() -> None:
    intent = joined(*DEFAULTS)
    assert shown(intent) == [
        "route 10.0.1.0/24 via 10.0.0.1 dev ens5 table main metric 512",
        "route 10.0.1.0/24 dev ens6 table main src 10.0.1.4 metric 513",
    ]
    assert intent.main_remarks == ()


def test_the_route_through_the_primary_is_added_first_and_removed_last() -> None:
    detour, on_link, *_ = joined(*DEFAULTS).subnet_routes
    assert (detour.rank, on_link.rank) == (Rank.DETOUR, Rank.SUBNET)
    assert Rank.ROUTE < Rank.DETOUR < Rank.SUBNET


def test_a_connected_route_of_its_own_link_changes_nothing() -> None:
    """cloud-init makes it. It may go at any time, and then the detour has to be there."""
    own = route("10.0.1.0/24", ENS6, metric=0)
    assert shown(joined(own, *DEFAULTS)) == shown(joined(*DEFAULTS))


@pytest.mark.parametrize(
    ("metric", "is_shown"), [(511, True), (512, False), (1024, False), (16384, True)]
)
def test_a_worse_foreign_route_through_the_eni_stays_in_force(metric: int, is_shown: bool) -> None:
    """A detour would take its traffic. The first leased routes are removed in the same pass."""
    intent = joined(route("10.0.1.0/24", ENS6, metric=metric), *DEFAULTS)
    assert bool(intent.subnet_routes) is is_shown
    assert len(intent.main_remarks) == (not is_shown)


def test_the_most_specific_route_wins_and_then_the_best_metric() -> None:
    worse = route("0.0.0.0/0", TUNNEL, metric=600)
    around = route("10.0.0.0/16", ENS5, "10.0.0.9")
    assert shown(joined(worse, around, *DEFAULTS))[0] == (
        "route 10.0.1.0/24 via 10.0.0.9 dev ens5 table main metric 512"
    )


@pytest.mark.parametrize(
    "way",
    [
        route("0.0.0.0/0", TUNNEL, metric=50),
        route("0.0.0.0/1", TUNNEL),
        route("10.0.0.0/8", TUNNEL),
        route("10.0.1.0/24", TUNNEL),
        route("0.0.0.0/0", ENS7, "10.0.2.1", metric=50),
        replace(
            route("0.0.0.0/0", LinkRef(0, "0"), metric=1),
            item=replace(route("0.0.0.0/0", LinkRef(0, "0")).item, kind=RouteKind.OTHER, metric=1),
        ),
    ],
    ids=["a VPN", "half of a VPN", "a network", "the subnet", "another ENI", "a blackhole"],
)
def test_traffic_that_main_routes_elsewhere_stays_there(way: Found[Route]) -> None:
    """A detour would take traffic from a VPN."""
    intent = joined(way, *DEFAULTS)
    assert intent.subnet_routes == ()
    assert intent.main_remarks == (
        "main does not show 10.0.1.0/24: main does not lead there through the primary ENI",
    )


def test_a_default_route_without_a_gateway_gives_no_detour() -> None:
    (reason,) = joined(route("0.0.0.0/0", ENS5)).main_remarks
    assert reason.endswith("main does not lead there by a gateway of the primary ENI")


NEIGHBOUR = eni(0, local_ipv4s=ipv4("10.0.1.99"), subnet_ipv4=eni(1).subnet_ipv4)
"""The primary in the subnet of ENI 1."""


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        (eni(0, subnet_ipv4=Value(ip_network("10.0.0.0/16"))), "10.0.0.0/16 of the primary"),
        (NEIGHBOUR, "10.0.1.0/24 of the primary"),
        (eni(2, subnet_ipv4=Value(ip_network("10.0.1.0/25"))), "10.0.1.0/25 of another"),
    ],
    ids=["around it, the primary's", "the primary's", "a part of it"],
)
def test_a_subnet_that_overlaps_the_subnet_of_another_eni_is_not_shown(
    other: EniFacts, overlap: str
) -> None:
    """The subnet may be another VPC's, with other hosts at the same addresses."""
    facts = host(*{each.mac: each for each in (eni(0), eni(1), other)}.values())
    intent = joined(*DEFAULTS, facts=facts, applied=(mac(0), mac(1)))
    assert intent.subnet_routes == ()
    assert intent.main_remarks == (f"main does not show 10.0.1.0/24: it overlaps {overlap} ENI",)


def test_an_ignored_eni_counts_for_an_overlap() -> None:
    facts = host(eni(0), eni(1), eni(2, subnet_ipv4=Value(ip_network("10.0.0.0/20"))))
    ignored = EniSection(Match(mac=(mac(2),)), {"manage": Manage.IGNORE})
    intent = joined(*DEFAULTS, facts=facts, config=Config(sections=(ignored,)))
    assert intent.subnet_routes == ()


@pytest.mark.parametrize(
    ("group", "up", "applied", "manage", "is_shown"),
    [
        (0, True, True, Manage.FULL, True),
        (236, True, False, Manage.FULL, True),
        (236, True, False, Manage.OBSERVE, True),
        (0, True, False, Manage.FULL, False),
        (0, True, True, Manage.OBSERVE, False),
        (7, True, True, Manage.FULL, False),
        (236, False, True, Manage.FULL, False),
        (236, True, True, Manage.IGNORE, False),
    ],
)
def test_a_main_first_rule_ignores_the_detour(
    group: int, up: bool, applied: bool, manage: Manage, is_shown: bool
) -> None:
    """The rule does so by the link group of the primary. Otherwise packets of the ENI's own subnet
    would be dropped."""
    facts = replace(FACTS, links=(link(0, group=group, up=up), link(1)))
    section = EniSection(Match(role=Role.PRIMARY), {"manage": manage})
    intent = joined(
        *DEFAULTS,
        facts=facts,
        config=Config(sections=(section,)),
        applied=(mac(0), mac(1)) if applied else (mac(1),),
    )
    assert bool(intent.subnet_routes) is is_shown
    assert len(intent.main_remarks) == (0 if is_shown else 1)


SAME = eni(2, **IPV4_ONLY, local_ipv4s=ipv4("10.0.1.77"), subnet_ipv4=eni(1).subnet_ipv4)
"""In the subnet of ENI 1."""


def in_one_subnet() -> tuple[Facts, tuple[Route, ...], tuple[Route, ...]]:
    """Two secondaries in one subnet, and the routes of each."""
    facts = host(eni(0), eni(1), SAME)
    main = Main(Snapshot(facts.links, (), DEFAULTS), NumberPlan(), (mac(0), mac(1), mac(2)))
    joint = MainTable(facts, main).joined(compute(facts, Config()))
    routes = [intent.subnet_routes for intent in joint.ready]
    return facts, routes[1], routes[2]


def test_enis_in_one_subnet_share_the_detour() -> None:
    _, one, other = in_one_subnet()
    assert one[0] == other[0]
    assert [route.metric for route in (*one, *other)] == [512, 513, 512, 514]


@pytest.mark.parametrize("leaving", [1, 2])
def test_a_shared_detour_stays_for_the_other_eni(leaving: int) -> None:
    facts, *routes = in_one_subnet()
    found = InPlace(tuple(dict.fromkeys((*routes[0], *routes[1]))))
    only = {mac(leaving)}
    plan = plan_for(compute(facts, Config()), only, {}, found, frozenset(only))
    gone = [change.item for change in plan.changes]
    assert routes[leaving - 1][1] in gone
    assert routes[leaving - 1][0] not in gone


def test_an_eni_without_ipv4_is_not_shown() -> None:
    """In IPv6 the kernel would refuse on-link next hops, which it takes as long as main has no route."""
    facts = host(eni(0), eni(1, **IPV6_ONLY))
    intent = joined(*DEFAULTS, facts=facts)
    assert (intent.subnet_routes, intent.main_remarks) == ((), ())


def test_each_known_subnet_is_read_once() -> None:
    same = eni(2, subnet_ipv4=eni(1).subnet_ipv4, subnet_ipv6=eni(1).subnet_ipv6)
    assert list(map(str, known_subnets((eni(1), same)))) == ["10.0.1.0/24", "2001:db8:0:1::/64"]


def removed(facts: Facts, found: InPlace, wanted: dict[Mac, tuple[Item, ...]]) -> list[Item]:
    intents = compute(facts, Config())
    plan = plan_for(intents, {e.mac for e in intents.enis}, wanted, found, frozenset())
    return [change.item for change in plan.changes if change.action is Action.REMOVE]


def test_a_detour_stays_as_long_as_the_route_that_needs_it() -> None:
    """Without it the primary's answers to the subnet would leave through the secondary."""
    routes = joined(*DEFAULTS).subnet_routes
    pending = host(eni(0), eni(1, device_number=Value(0)))
    assert removed(pending, InPlace(routes), {mac(0): ()}) == []


def test_the_routes_of_a_detached_eni_are_removed_and_the_detour_last() -> None:
    routes = joined(*DEFAULTS).subnet_routes
    gone = removed(host(eni(0)), InPlace(routes), {mac(0): ()})
    assert set(gone) == set(routes)
    ranks = [item.rank for item in gone]
    assert ranks == sorted(ranks, reverse=True)
