# SPDX-License-Identifier: Apache-2.0
"""What counts as an event of the kernel, for tests that say that nothing happened."""

import pytest
from kernel_state import KernelEvents

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

NEWADDR, DELADDR = 20, 21

LEASED = "addr {verb} 2001:db8::5/128 dev lo valid_lft {life} preferred_lft {life}"


def test_a_lease_that_is_renewed_is_no_event(vpc: SimulatedVpc) -> None:
    guest = vpc.guest
    guest.ip(["link set lo up", LEASED.format(verb="add", life=100)])
    with KernelEvents(guest) as events:
        guest.ip([LEASED.format(verb="change", life=200)])
        assert events.taken() == []


def test_any_other_address_is_an_event(vpc: SimulatedVpc) -> None:
    """A new lease, one that ends and comes again, and one of ours that is written once more."""
    guest = vpc.guest
    guest.ip(["link set lo up", "addr add 2001:db8::6/128 dev lo"])
    with KernelEvents(guest) as events:
        guest.ip([LEASED.format(verb="add", life=100)])
        assert NEWADDR in events.taken()
        guest.ip([LEASED.format(verb="del", life=100)])
        assert DELADDR in events.taken()
        guest.ip([LEASED.format(verb="add", life=100)])
        assert NEWADDR in events.taken()
        guest.ip(["addr change 2001:db8::6/128 dev lo preferred_lft 0"])
        assert events.taken() == [NEWADDR]
