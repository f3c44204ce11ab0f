# SPDX-License-Identifier: Apache-2.0
"""Sysctls and addresses: what ``doctor`` finds wrong with them."""

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from doctor_host import (
    ERROR,
    FIRST,
    HOST,
    NOTE,
    OTHER,
    SECOND,
    SNAPSHOT,
    STATIC,
    WARNING,
    intents,
    told,
)
from eni_facts import IPV4_ONLY, eni
from eni_facts import host as facts

from ec2net.core.config.settings import Config, Routing
from ec2net.core.decide.compute import compute
from ec2net.core.doctor import addresses, sysctls
from ec2net.core.doctor.addresses import Lease
from ec2net.core.doctor.finding import Check
from ec2net.core.doctor.sysctls import LinkSysctls, Sysctls
from ec2net.core.model.objects import Address, LinkRef
from ec2net.core.model.snapshot import AddressState, Found, Snapshot

# Sysctls.


def rp_filter(every: int, second: int, **values: Any) -> Sysctls:
    return Sysctls(every, links={3: LinkSysctls(rp_filter=second)}, **values)


STRICT_FILTER = [(WARNING, Check.RP_FILTER, "ens6")]


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({}, rp_filter(0, 1), STRICT_FILTER),
        ({}, rp_filter(1, 0), STRICT_FILTER),  # the larger value counts
        ({}, rp_filter(1, 2), []),
        ({}, rp_filter(2, 1), []),
        ({}, rp_filter(0, 0), []),
        ({}, Sysctls(), []),
        ({"routing": Routing.STRICT}, rp_filter(0, 1), []),
        ({"routing": Routing.STRICT}, rp_filter(0, 1, ipv4_forwarding=1), STRICT_FILTER),
        ({"routing": Routing.OFF}, rp_filter(0, 1), STRICT_FILTER),
    ],
)
def test_a_strict_filter_counts_where_answers_may_take_another_link(
    settings: dict[str, Any], values: Sysctls, expected: object
) -> None:
    assert told(sysctls.strict_filters(intents(**settings), values)) == expected


def test_the_sysctl_that_is_strict_is_named() -> None:
    (found,) = sysctls.strict_filters(HOST, rp_filter(1, 0))
    assert found.cause.startswith("net.ipv4.conf.all.rp_filter is 1 (strict)")
    assert "net.ipv4.conf.ens6.rp_filter=2" in found.remedy


def test_a_strict_filter_is_no_matter_without_ipv4() -> None:
    host = compute(facts(eni(0), eni(1, local_ipv4s=eni(1).ipv4_prefixes)), Config())
    assert list(sysctls.strict_filters(host, rp_filter(0, 1))) == []


@pytest.mark.parametrize(
    ("forwarding", "accept_ra", "lost"),
    [(1, 1, True), (1, 2, False), (1, 0, False), (0, 1, False), (None, None, False)],
)
def test_a_router_that_takes_no_advertisements_is_named(
    forwarding: int | None, accept_ra: int | None, lost: bool
) -> None:
    values = LinkSysctls(ipv6_forwarding=forwarding, accept_ra=accept_ra)
    found = told(sysctls.lost_advertisements(HOST, Sysctls(links={2: values})))
    assert found == ([(WARNING, Check.FORWARDING, "ens5")] if lost else [])


@pytest.mark.parametrize(
    ("forwarding", "settings", "lost"),
    [
        (1, {}, True),
        (0, {}, False),
        (None, {}, False),
        (1, {"published_ports": True}, False),
        (1, {"routing": Routing.OFF}, False),  # somebody else's rules
    ],
)
def test_answers_of_published_ports(
    forwarding: int | None, settings: dict[str, Any], lost: bool
) -> None:
    """Of a secondary; the primary answers what comes in by it."""
    found = told(sysctls.lost_answers(intents(**settings), Sysctls(ipv4_forwarding=forwarding)))
    assert found == ([(NOTE, Check.PUBLISHED_PORTS, "ens6")] if lost else [])


def test_advertisements_are_no_matter_without_ipv6() -> None:
    host = compute(facts(eni(0, **IPV4_ONLY), eni(1)), Config())
    values = Sysctls(links={2: LinkSysctls(ipv6_forwarding=1, accept_ra=1)})
    assert list(sysctls.lost_advertisements(host, values)) == []


# Addresses.


def holding(*more: tuple[LinkRef, str]) -> Snapshot:
    found = (Found(Address(on, ip_interface(text)), STATIC) for on, text in more)
    return replace(SNAPSHOT, addresses=(*SNAPSHOT.addresses, *found))


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (SNAPSHOT, []),
        (holding((FIRST, "10.0.1.4/32")), [(ERROR, Check.DUPLICATE_ADDRESS, "ens5")]),
        (holding((SECOND, "10.0.0.4/24")), [(ERROR, Check.DUPLICATE_ADDRESS, "ens6")]),
        (holding((OTHER, "10.0.1.4/32")), [(WARNING, Check.DUPLICATE_ADDRESS, "docker0")]),
        (holding((FIRST, "fe80::1/64"), (SECOND, "fe80::1/64")), []),
        (holding((OTHER, "172.17.0.1/16"), (LinkRef(10, "br0"), "172.17.0.1/16")), []),
        (holding((SECOND, "10.0.1.4/24")), []),  # twice on the same link, as with a lease
    ],
)
def test_an_address_on_two_links_is_named(snapshot: Snapshot, expected: object) -> None:
    assert told(addresses.duplicates(HOST, snapshot)) == expected


def test_of_two_enis_the_one_that_imds_does_not_give_it_to_is_named() -> None:
    """Whichever the kernel lists first."""
    snapshot = holding((FIRST, "10.0.1.4/32"))
    snapshot = replace(snapshot, addresses=snapshot.addresses[::-1])
    (found,) = addresses.duplicates(HOST, snapshot)
    assert found.subject == "ens5"
    assert found.remedy == "run: ip address del 10.0.1.4/32 dev ens5"


def state(on: LinkRef, text: str, *, duplicate: bool = False, valid: int | None = None) -> Any:
    return AddressState(on, ip_interface(text), duplicate, valid)


def test_an_address_that_somebody_else_has_is_named() -> None:
    states = [
        state(SECOND, "2001:db8:0:1::4/128", duplicate=True),
        state(SECOND, "2001:db8:0:1::9/128"),
        state(OTHER, "2001:db8::1/128", duplicate=True),
    ]
    (found,) = addresses.unusable(states, HOST)
    assert told([found]) == [(ERROR, Check.DUPLICATE_ADDRESS, "ens6")]
    assert "2001:db8:0:1::4" in found.cause


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3600", 3600.0),
        ("1h", 3600.0),
        ("52min 30s", 3150.0),
        ("1d 2h", 93600.0),
        ("1w", 604800.0),
        ("0.5s", 0.5),
        ("", None),
        ("infinity", None),
        ("1h -3s", None),
    ],
)
def test_a_time_span_of_systemd_is_read(text: str, expected: float | None) -> None:
    assert addresses.seconds(text) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"ADDRESS": "10.0.0.4", "T2": "3150", "LIFETIME": "3600"},
            Lease("10.0.0.4", 3150, 3600),
        ),
        (
            {"ADDRESS": "10.0.0.4", "T2": "52min 30s", "LIFETIME": "1h"},
            Lease("10.0.0.4", 3150, 3600),
        ),
        ({"ADDRESS": "10.0.0.4", "LIFETIME": "3600"}, Lease("10.0.0.4", 3150, 3600)),
        ({"ADDRESS": "10.0.0.4"}, None),
        ({}, None),
    ],
)
def test_a_lease_of_networkd_is_read(keys: dict[str, str], expected: Lease | None) -> None:
    assert Lease.parse(keys) == expected


@pytest.mark.parametrize(
    ("address", "valid", "late"),
    [
        ("10.0.0.4/24", 449, True),
        ("10.0.0.4/24", 450, False),
        ("10.0.0.4/24", 3000, False),
        ("10.0.0.4/24", None, False),
        ("10.0.0.9/32", 100, False),  # not the lease's
    ],
)
def test_a_lease_that_nobody_renews_is_named(address: str, valid: int | None, late: bool) -> None:
    leases = {2: Lease("10.0.0.4", 3150, 3600)}
    found = told(addresses.overdue(leases, [state(FIRST, address, valid=valid)]))
    assert found == ([(WARNING, Check.LEASE, "ens5")] if late else [])
    assert told(addresses.overdue({}, [state(FIRST, address, valid=valid)])) == []
