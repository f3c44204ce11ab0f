# SPDX-License-Identifier: Apache-2.0
"""Default routes, gateways and numbers: what ``doctor`` finds wrong with them."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from doctor_host import (
    ERROR,
    FIRST,
    HOST,
    KERNEL,
    NUMBERS,
    OTHER,
    OURS,
    SECOND,
    SNAPSHOT,
    STATIC,
    WARNING,
    default,
    intents,
    told,
)
from eni_facts import link, mac

from ec2net.core.config.settings import Manage, Routing
from ec2net.core.decide.intent import Standing
from ec2net.core.doctor import routes
from ec2net.core.doctor.finding import Check
from ec2net.core.model.objects import MAIN_TABLE, Route, RouteKind, Rule
from ec2net.core.model.snapshot import Found, Snapshot


def with_rule(rule: Rule, protocol: int = STATIC) -> Snapshot:
    return replace(SNAPSHOT, rules=(*SNAPSHOT.rules, Found(rule, protocol)))


def with_route(route: Route, protocol: int = STATIC) -> Snapshot:
    return replace(SNAPSHOT, routes=(*SNAPSHOT.routes, Found(route, protocol)))


def without_routes(table: int, version: int) -> Snapshot:
    left = (
        found
        for found in SNAPSHOT.routes
        if (found.item.table, found.item.destination.version) != (table, version)
    )
    return replace(SNAPSHOT, routes=tuple(left))


# Default routes and gateways.


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (SNAPSHOT, []),
        (without_routes(10001, 4), [(ERROR, Check.DEFAULT_ROUTE, "ens6")]),
        (without_routes(10001, 6), [(ERROR, Check.DEFAULT_ROUTE, "ens6")]),
        (without_routes(MAIN_TABLE, 4), [(ERROR, Check.DEFAULT_ROUTE, "ens5")]),
        (without_routes(MAIN_TABLE, 6), [(WARNING, Check.DEFAULT_ROUTE, "ens5")]),
        (without_routes(10000, 4), []),  # no rule leads there
    ],
)
def test_a_table_without_a_default_route_is_reported(snapshot: Snapshot, expected: object) -> None:
    assert told(routes.missing_defaults(HOST, snapshot)) == expected


def test_an_eni_in_a_vrf_needs_a_default_route_in_the_vrfs_table() -> None:
    host = HOST.without({}, Standing.IGNORED)
    enis = tuple(
        replace(one, intent=replace(one.intent, table=1042, vrf="vrf-blue", rules=()))
        if one.intent is not None and not one.intent.primary
        else one
        for one in host.enis
    )
    host = replace(host, enis=enis)
    missing = [(ERROR, Check.DEFAULT_ROUTE, "ens6")] * 2
    assert told(routes.missing_defaults(host, SNAPSHOT)) == missing
    both = (Found(default(version, 1042, SECOND), OURS) for version in (4, 6))
    snapshot = replace(SNAPSHOT, routes=(*SNAPSHOT.routes, *both))
    assert told(routes.missing_defaults(host, snapshot)) == []


def test_an_unreachable_default_is_no_default_route() -> None:
    guard = default(4, 10001, SECOND, kind=RouteKind.UNREACHABLE)
    left = without_routes(10001, 4).routes
    snapshot = replace(SNAPSHOT, routes=(*left, Found(guard, OURS)))
    assert told(routes.missing_defaults(HOST, snapshot)) == [(ERROR, Check.DEFAULT_ROUTE, "ens6")]


@pytest.mark.parametrize("settings", [{"routing": Routing.OFF}, {"manage": Manage.NO_RULES}])
def test_unmanaged_sources_need_no_table(settings: dict[str, Any]) -> None:
    assert told(routes.missing_defaults(intents(**settings), without_routes(10001, 4))) == []


def test_an_observed_eni_needs_no_table() -> None:
    snapshot = without_routes(10001, 4)
    assert told(routes.missing_defaults(HOST, snapshot, {mac(1)})) == []


def test_gateways_are_asked_through_links_that_are_up() -> None:
    down = replace(SNAPSHOT, links=(link(0), link(1, up=False)))
    asked = {(g.link.name, str(g.address)) for g in routes.gateways(HOST, down)}
    assert asked == {("ens5", "10.0.0.1"), ("ens5", "fe80:ec2::1")}
    assert len(routes.gateways(HOST, SNAPSHOT)) == 4
    assert told(routes.links_down(HOST, down)) == [(ERROR, Check.LINK_DOWN, "ens6")]
    assert told(routes.links_down(HOST, SNAPSHOT)) == []


def test_a_silent_gateway_is_reported_with_the_kind_of_request() -> None:
    ipv4, ipv6 = routes.silent([g for g in routes.gateways(HOST, SNAPSHOT) if g.link == SECOND])
    assert (ipv4.severity, ipv4.check, ipv4.subject) == (ERROR, Check.GATEWAY, "ens6")
    assert "the gateway 10.0.1.1 does not answer ARP" in ipv4.cause
    assert "fe80:ec2::1 does not answer neighbour solicitations" in ipv6.cause


# Numbers.


def rule(source: str, priority: int, table: int, **values: Any) -> Rule:
    return Rule(ip_network(source), priority, table, **values)


FOREIGN = [(WARNING, Check.FOREIGN_OBJECT, "")]
HARMFUL = [(ERROR, Check.FOREIGN_OBJECT, "")]


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (SNAPSHOT, []),
        (with_rule(rule("10.0.9.0/24", 10007, 50)), []),  # no source of an ENI
        (with_rule(rule("10.0.1.0/24", 10007, 50)), FOREIGN),
        (with_rule(rule("10.0.1.0/24", 22799, 50)), FOREIGN),
        (with_rule(rule("10.0.1.0/24", 22800, 50)), []),
        (with_rule(rule("10.0.1.0/24", 9998, 50)), []),
        (with_rule(rule("10.0.1.4/32", 5000, 10001)), []),  # needless, and right
        (with_rule(rule("10.0.9.0/24", 30400, 10002)), FOREIGN),  # nodeadm
        (with_rule(rule("10.0.9.0/24", 10007, 50), OURS), []),
        (with_rule(rule("0.0.0.0/0", 32766, 254), KERNEL), []),
        (with_rule(rule("10.0.1.0/24", 10000, 254)), HARMFUL),
        (with_rule(rule("10.0.1.0/24", 10002, 254)), FOREIGN),  # follows ec2net's
        (with_rule(rule("10.0.1.4/32", 10001, 10001)), FOREIGN),  # says the same: net-utils
        (with_rule(rule("10.0.1.0/24", 10000, 254, suppress_prefixlength=0)), FOREIGN),
        (with_rule(rule("0.0.0.0/0", 10000, 52)), HARMFUL),
        (with_rule(rule("0.0.0.0/0", 10000, 52, destination=ip_network("10.8.0.0/16"))), FOREIGN),
        (
            with_route(default(4, 10001, FIRST, metric=100)),
            [(ERROR, Check.FOREIGN_OBJECT, "ens6")],
        ),
        (
            with_route(default(4, 10001, SECOND, metric=900)),
            [(WARNING, Check.FOREIGN_OBJECT, "ens6")],
        ),
        (with_route(default(4, 10005, OTHER)), FOREIGN),
        (with_route(default(4, 10001, SECOND, metric=900), KERNEL), []),
        (with_route(default(4, 500, OTHER)), []),
        (with_route(default(4, MAIN_TABLE, OTHER)), []),
    ],
)
def test_foreign_users_of_ec2nets_numbers_are_reported(
    snapshot: Snapshot, expected: object
) -> None:
    assert told(routes.foreign_objects(HOST, snapshot, NUMBERS)) == expected


def test_the_command_that_removes_a_foreign_object_is_one_of_ip() -> None:
    def command(snapshot: Snapshot) -> str:
        (found,) = routes.foreign_objects(HOST, snapshot, NUMBERS)
        return found.remedy.partition("if nothing needs it, run: ")[2]

    assert command(with_rule(rule("10.0.1.0/24", 10000, 254))) == (
        "ip rule del from 10.0.1.0/24 lookup main priority 10000"
    )
    assert command(with_rule(rule("2001:db8::/64", 10000, 10001))) == (
        "ip -6 rule del from 2001:db8::/64 lookup 10001 priority 10000"
    )
    assert command(with_route(default(6, 10001, FIRST))) == (
        "ip -6 route del default via fe80:ec2::1 dev ens5 table 10001 metric 512"
    )


@pytest.mark.parametrize("others", [(), (mac(1),)])
def test_tables_of_unmanaged_enis_belong_to_other_tools(others: tuple[Any, ...]) -> None:
    host = HOST if others else intents(manage=Manage.NO_RULES)
    snapshot = replace(
        SNAPSHOT,
        rules=(Found(rule("10.0.1.4/32", 10001, 10001), STATIC),),
        routes=(Found(default(4, 10001, SECOND), STATIC),),
    )
    assert told(routes.foreign_objects(host, snapshot, NUMBERS, others)) == []
