# SPDX-License-Identifier: Apache-2.0
"""Tables of ENIs that another program uses, reported before they are shared."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from doctor_host import FIRST, HOST, NUMBERS, OTHER, OURS, SECOND, SNAPSHOT, STATIC
from eni_facts import mac

from ec2net.core.config.settings import Manage
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.decide.shared_tables import SHOWN, shared_tables
from ec2net.core.model.errors import SharedTables
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef, Route
from ec2net.core.model.snapshot import Found

PBR, KERNEL = 195, 2


def told(
    *routes: tuple[int, LinkRef, int], host: HostIntent = HOST, observed: tuple[Mac, ...] = ()
) -> tuple[SharedTables, ...]:
    """``routes``: table, link and protocol of a default route each."""
    found = tuple(
        Found(Route(ip_network("0.0.0.0/0"), table, 20, link), protocol)
        for table, link, protocol in routes
    )
    snapshot = replace(SNAPSHOT, routes=(*SNAPSHOT.routes, *found))
    return shared_tables(host, snapshot, NUMBERS, observed)


def test_a_configured_host_shares_no_table() -> None:
    assert told() == ()


@pytest.mark.parametrize(
    ("table", "named"),
    [(10000, "10000 of ens5"), (10001, "10001 of ens6"), (10005, "10005;"), (22799, "22799;")],
)
def test_a_program_with_routes_in_a_table_for_enis_is_named_with_its_remedy(
    table: int, named: str
) -> None:
    """Whether ec2net uses the table already, or keeps it for an ENI."""
    (found,) = told((table, OTHER, PBR))
    assert str(found).startswith("FRR (pbr): it has routes in tables that ec2net keeps for ENIs: ")
    assert named in found.problem
    assert "pbr table range" in found.remedy


@pytest.mark.parametrize(
    "route",
    [
        (9999, OTHER, PBR),
        (22800, OTHER, PBR),
        (254, OTHER, PBR),
        (10001, SECOND, STATIC),  # for example by hand
        (10001, OTHER, KERNEL),
        (10001, OTHER, OURS),
    ],
)
def test_other_tables_and_routes_through_the_eni_are_no_matter(
    route: tuple[int, LinkRef, int],
) -> None:
    assert told(route) == ()


@pytest.mark.parametrize(
    ("destination", "gateway", "is_reported"),
    [
        ("0.0.0.0/0", "10.0.1.1", False),  # for example of nodeadm
        ("0.0.0.0/0", "10.0.1.9", True),
        ("192.168.80.0/24", "10.0.1.9", False),
    ],
)
def test_a_default_route_through_another_router_of_the_subnet_is_reported(
    destination: str, gateway: str, is_reported: bool
) -> None:
    route = Route(ip_network(destination), 10001, 20, SECOND, ip_address(gateway))
    snapshot = replace(SNAPSHOT, routes=(*SNAPSHOT.routes, Found(route, STATIC)))
    assert bool(shared_tables(HOST, snapshot, NUMBERS)) is is_reported


def test_a_table_of_frr_is_reported_whatever_router_it_leads_to() -> None:
    """The tables of FRR's next groups are those of the next ENIs."""
    assert told((10000, FIRST, PBR))


def test_each_program_is_reported_once_with_all_of_its_tables() -> None:
    pbr, static = told(
        *((table, OTHER, PBR) for table in range(10000, 10009)), (10001, FIRST, STATIC)
    )[::-1]
    assert pbr.problem.count("of ens") == 2
    assert f"and {9 - SHOWN} more" in pbr.problem
    assert pbr.macs == {mac(0), mac(1)}
    assert "numbers.table_base" in static.remedy


@pytest.mark.parametrize(
    ("standing", "is_reported"),
    [
        (Standing.PENDING, True),
        (Standing.IGNORED, False),
        (Standing.REFUSED, False),
    ],
)
def test_the_table_of_an_eni_that_ec2net_does_not_configure_is_its_users(
    standing: Standing, is_reported: bool
) -> None:
    host = HOST.without({mac(1): "told"}, standing)
    assert bool(told((10001, OTHER, PBR), host=host)) is is_reported


def test_the_table_of_an_observed_eni_is_its_users() -> None:
    assert told((10001, OTHER, PBR), observed=(mac(1),)) == ()


def test_without_rules_ec2net_does_not_use_the_table_of_a_secondary_eni() -> None:
    enis = tuple(
        replace(eni, intent=replace(eni.intent, rules=(), manage=Manage.NO_RULES))
        if eni.intent is not None
        else eni
        for eni in HOST.enis
    )
    assert told((10001, OTHER, PBR), host=replace(HOST, enis=enis)) == ()
