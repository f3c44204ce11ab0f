# SPDX-License-Identifier: Apache-2.0
"""``doctor``'s findings about addresses and leases."""

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from doctor_host import (
    ERROR,
    FIRST,
    HOST,
    OTHER,
    SECOND,
    SNAPSHOT,
    STATIC,
    WARNING,
    told,
    view,
)
from eni_facts import mac

from ec2net.core.doctor import addresses
from ec2net.core.doctor.addresses import Lease
from ec2net.core.doctor.finding import Check
from ec2net.core.model.objects import Address, LinkRef
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.model.snapshot import AddressState, Found, Snapshot


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
def test_an_address_on_two_links_is_reported(snapshot: Snapshot, expected: object) -> None:
    assert told(addresses.duplicates(HOST, snapshot)) == expected


def test_the_eni_that_imds_does_not_assign_a_shared_address_to_is_named() -> None:
    """Whichever the kernel lists first."""
    snapshot = holding((FIRST, "10.0.1.4/32"))
    snapshot = replace(snapshot, addresses=snapshot.addresses[::-1])
    (found,) = addresses.duplicates(HOST, snapshot)
    assert found.subject == "ens5"
    assert found.remedy == "run: ip address del 10.0.1.4/32 dev ens5"


def state(on: LinkRef, text: str, *, duplicate: bool = False, valid: int | None = None) -> Any:
    return AddressState(on, ip_interface(text), duplicate, valid)


def test_an_address_in_use_by_another_host_is_reported() -> None:
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
def test_a_time_span_of_systemd_is_parsed(text: str, expected: float | None) -> None:
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
def test_a_lease_file_of_networkd_is_parsed(keys: dict[str, str], expected: Lease | None) -> None:
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
def test_a_lease_past_its_rebinding_time_is_reported(
    address: str, valid: int | None, late: bool
) -> None:
    leases = {2: Lease("10.0.0.4", 3150, 3600)}
    found = told(addresses.overdue(leases, [state(FIRST, address, valid=valid)]))
    assert found == ([(WARNING, Check.LEASE, "ens5")] if late else [])
    assert told(addresses.overdue({}, [state(FIRST, address, valid=valid)])) == []


def test_a_tentative_address_is_a_warning_and_a_failed_one_an_error() -> None:
    one = AddressState(SECOND, ip_interface("2001:db8::4/128"), False, None, tentative=True)
    assert told(addresses.unusable([one], HOST)) == [(WARNING, Check.DUPLICATE_ADDRESS, "ens6")]
    failed = replace(one, duplicate=True)
    assert told(addresses.unusable([failed], HOST)) == [(ERROR, Check.DUPLICATE_ADDRESS, "ens6")]


def test_an_address_in_the_subnet_of_another_eni_is_unassigned_too() -> None:
    seen = view(snapshot=holding((FIRST, "10.0.1.77/32")))
    (found,) = addresses.unassigned(seen)
    assert found.subject == "ens5"
    assert "10.0.1.77 is on ens5, but it is in the subnet of" in found.cause
    assert found.remedy.startswith("remove it: ip address del 10.0.1.77/32 dev ens5")


def test_an_address_that_a_pass_removes_is_not_called_unassigned() -> None:
    seen = view(snapshot=holding((SECOND, "10.0.1.77/32")))
    assert [found.subject for found in addresses.unassigned(seen)] == ["ens6"]
    left = Change(Action.REMOVE, Address(SECOND, ip_interface("10.0.1.77/32")), mac(1))
    planned = replace(seen, plans={"netlink": Plan((left,))})
    assert list(addresses.unassigned(planned)) == []
