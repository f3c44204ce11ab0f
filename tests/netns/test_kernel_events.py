# SPDX-License-Identifier: Apache-2.0
"""The definition of a kernel event, for tests that assert that nothing happened."""

import select

import pytest
from instance import HANGS
from kernel_state import KernelEvents

from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

NEWADDR, DELADDR = 20, 21

LEASED = "addr {verb} 2001:db8::5/128 dev lo valid_lft {life} preferred_lft {life}"


def until(events: KernelEvents, kind: int, times: int = 1) -> list[int]:
    """Wait for events of a kind."""
    types: list[int] = []
    while types.count(kind) < times:
        assert select.select([events], [], [], HANGS)[0], types
        types += events.taken()
    return types


def add(guest: Namespace, address: str) -> None:
    """Add an IPv6 address; the kernel reports it now, and again when a work queue has ended its
    duplicate detection."""
    with KernelEvents(guest) as events:
        guest.ip([address])
        until(events, NEWADDR, times=2)


def test_a_renewed_lease_is_no_event(vpc: SimulatedVpc) -> None:
    guest = vpc.guest
    guest.ip(["link set lo up"])
    add(guest, LEASED.format(verb="add", life=100))
    with KernelEvents(guest) as events:
        guest.ip([LEASED.format(verb="change", life=200), "addr add 192.0.2.7/32 dev lo"])
        assert until(events, NEWADDR).count(NEWADDR) == 1  # of the later address


def test_any_other_change_of_an_address_is_an_event(vpc: SimulatedVpc) -> None:
    """A new lease, a lease that ends and starts again, and an address of ec2net that is written
    again."""
    guest = vpc.guest
    guest.ip(["link set lo up"])
    add(guest, "addr add 2001:db8::6/128 dev lo")
    with KernelEvents(guest) as events:
        guest.ip([LEASED.format(verb="add", life=100)])
        until(events, NEWADDR, times=2)
        guest.ip([LEASED.format(verb="del", life=100)])
        until(events, DELADDR)
        guest.ip([LEASED.format(verb="add", life=100)])
        until(events, NEWADDR)  # the tentative form was reported before
        guest.ip(["addr change 2001:db8::6/128 dev lo preferred_lft 0"])
        assert until(events, NEWADDR) == [NEWADDR]
