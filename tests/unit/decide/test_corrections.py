# SPDX-License-Identifier: Apache-2.0
"""The rules of the primary where main would send its traffic through another ENI."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from eni_facts import eni, host, link, mac, prefixes4

from ec2net.core.config.settings import Config, EniSection, Manage, Match
from ec2net.core.decide.compute import compute
from ec2net.core.decide.corrections import MOST, corrected
from ec2net.core.decide.intent import EniIntent
from ec2net.core.decide.main import Main
from ec2net.core.model.facts import Facts
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import MAIN_TABLE, LinkRef, Rank, Route, RouteKind
from ec2net.core.model.purpose import Purpose
from ec2net.core.model.snapshot import Found, Snapshot

NUMBERS = NumberPlan()
KERNEL, DHCP = 2, 16
ENS5, ENS6 = LinkRef(2, "ens5"), LinkRef(3, "ens6")
TUNNEL = LinkRef(9, "wg0")
FACTS = host(eni(0), eni(1))


def route(
    destination: str,
    link: LinkRef,
    gateway: str | None = None,
    metric: int = 512,
    *,
    table: int = MAIN_TABLE,
    protocol: int = DHCP,
) -> Found[Route]:
    via = None if gateway is None else ip_address(gateway)
    return Found(Route(ip_network(destination), table, metric, link, via), protocol)


DEFAULTS = (
    route("0.0.0.0/0", ENS5, "10.0.0.1"),
    route("::/0", ENS5, "fe80::1"),
    route("10.0.0.0/24", ENS5, metric=0, protocol=KERNEL),
)
CONNECTED = route("10.0.1.0/24", ENS6, metric=0, protocol=KERNEL)


def primary(*routes: Found[Route], facts: Facts = FACTS, config: Config | None = None) -> EniIntent:
    """The primary's intent where main has ``routes`` in addition to its own."""
    snapshot = Snapshot(facts.links, (), (*routes, *DEFAULTS))
    main = Main(snapshot, NUMBERS, tuple(mac(n) for n in range(3)))
    outcome = corrected(compute(facts, config or Config()), main).of(mac(0))
    assert outcome is not None
    assert outcome.intent is not None
    return outcome.intent


def rules(intent: EniIntent) -> list[str]:
    return [rule.describe() for rule in intent.corrections]


def routes(intent: EniIntent) -> list[str]:
    return [found.describe() for found in intent.correction_routes]


def test_without_a_route_through_another_eni_the_primary_has_no_rules() -> None:
    intent = primary(
        route("10.0.1.0/24", TUNNEL),
        route("10.60.0.0/16", ENS5, "10.0.0.9"),
        route("10.0.1.0/24", ENS6, metric=513, protocol=NUMBERS.protocol),
    )
    assert (intent.corrections, intent.correction_routes, intent.main_remarks) == ((), (), ())


def test_the_gateway_of_the_primary_leads_a_connected_route_of_another_eni() -> None:
    intent = primary(CONNECTED)
    assert routes(intent) == ["route 10.0.1.0/24 via 10.0.0.1 dev ens5 table 10000"]
    assert rules(intent) == [
        "rule 32764: from 10.0.0.4/32 lookup main suppress_ifgroup 236",
        "rule 32765: from 10.0.0.4/32 lookup 10000",
        "rule 32764: from 10.0.0.9/32 lookup main suppress_ifgroup 236",
        "rule 32765: from 10.0.0.9/32 lookup 10000",
    ]


def test_each_family_is_corrected_separately() -> None:
    intent = primary(route("2001:db8:0:1::/64", ENS6, metric=256))
    assert routes(intent) == [
        "route 2001:db8:0:1::/64 via fe80::1 dev ens5 table 10000 metric 1024"
    ]
    assert {rule.version for rule in intent.corrections} == {6}


@pytest.mark.parametrize("network", ["fe80::/64", "ff00::/8", "224.0.0.0/4", "0.0.0.0/0"])
def test_link_local_multicast_and_default_routes_need_no_correction(network: str) -> None:
    assert primary(route(network, ENS6, metric=1)).corrections == ()


def test_a_better_route_for_the_same_destination_needs_no_correction() -> None:
    """The detour of ``main_table`` is better than what systemd-networkd makes."""
    detour = route("10.0.1.0/24", ENS5, "10.0.0.1", protocol=NUMBERS.protocol)
    assert primary(detour, route("10.0.1.0/24", ENS6, metric=1024)).corrections == ()
    assert primary(detour, CONNECTED).corrections != ()


def test_without_the_other_eni_a_vpn_keeps_its_traffic() -> None:
    intent = primary(CONNECTED, route("0.0.0.0/0", TUNNEL, metric=50))
    assert routes(intent) == ["route 10.0.1.0/24 dev wg0 table 10000"]


def test_no_correction_bypasses_a_kill_switch() -> None:
    blackhole = route("0.0.0.0/0", LinkRef(0, "0"), metric=1)
    blackhole = replace(blackhole, item=replace(blackhole.item, kind=RouteKind.OTHER))
    assert primary(CONNECTED, blackhole).corrections == ()


def test_the_primarys_own_subnet_stays_on_link() -> None:
    """Two ENIs in one subnet, each with its connected route, and the other one's is better."""
    facts = host(eni(0), eni(1, local_ipv4s=eni(0).local_ipv4s))
    mine = route("10.0.0.0/24", ENS5, metric=101)
    stolen = primary(mine, route("10.0.0.0/24", ENS6, metric=0), facts=facts)
    assert "route 10.0.0.0/24 dev ens5 table 10000" in routes(stolen)
    around = primary(route("10.0.0.0/16", ENS6))
    assert routes(around) == [
        "route 10.0.0.0/16 via 10.0.0.1 dev ens5 table 10000",
        "route 10.0.0.0/24 dev ens5 table 10000",
    ]


def test_a_link_outside_of_the_group_has_no_first_rule() -> None:
    """The rule would obey the very route that takes the traffic: an ignored ENI's."""
    ignored = EniSection(Match(mac=(mac(1),)), {"manage": Manage.IGNORE})
    intent = primary(CONNECTED, config=Config(sections=(ignored,)))
    assert {rule.priority for rule in intent.corrections} == {32765}
    joined = replace(FACTS, links=(link(0), link(1, group=236)))
    intent = primary(CONNECTED, config=Config(sections=(ignored,)), facts=joined)
    assert {rule.priority for rule in intent.corrections} == {32764, 32765}


def test_a_table_with_a_foreign_use_is_not_used_for_lookups() -> None:
    other = route("0.0.0.0/0", ENS5, "10.0.0.1", table=10000)
    intent = primary(CONNECTED, other)
    assert (intent.corrections, intent.correction_routes) == ((), ())
    assert "foreign routes use its table" in intent.main_remarks[0]


def test_a_route_to_the_whole_internet_is_not_corrected() -> None:
    many = [route(f"100.{n // 250}.{n % 250}.0/24", ENS6, "10.0.1.9") for n in range(MOST + 1)]
    intent = primary(*many)
    assert len(intent.correction_routes) == MOST
    assert intent.main_remarks == (
        f"main has {MOST + 1} routes through other ENIs: {MOST} are corrected",
    )


def test_the_routes_are_added_before_the_rules_and_removed_after_them() -> None:
    intent = primary(CONNECTED)
    assert {found.rank for found in intent.correction_routes} == {Rank.ROUTE}
    assert {rule.rank for rule in intent.corrections} == {Rank.CORRECTION}
    assert {rule.purpose for rule in intent.corrections} == {Purpose.CORRECTION}
    assert Rank.ROUTE < Rank.CORRECTION < Rank.DETOUR


def test_delegated_prefixes_are_sources_as_well() -> None:
    facts = host(eni(0, ipv4_prefixes=prefixes4("10.0.0.16/28")), eni(1))
    intent = primary(CONNECTED, facts=facts)
    assert "rule 32765: from 10.0.0.16/28 lookup 10000" in rules(intent)
