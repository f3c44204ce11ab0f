# SPDX-License-Identifier: Apache-2.0
"""An ENI leaves for another network namespace; an address is removed that IMDS is about to drop."""

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import differences
from manager import managed

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

NO_POLL = "[resident]\npoll = 3600\nfast_for = 0.1\n"


@pytest.fixture
def pair(vpc: SimulatedVpc, instance: Instance) -> tuple[Eni, Eni]:
    instance.configure(NO_POLL)
    first, second = subnets(vpc, 2)
    return primary(vpc, first), vpc.attach(second, device=1, **MANY)


def has(instance: Instance, address: object) -> bool:
    return any(f'"{address}"' in line for line in instance.kernel()["addresses"])


def test_a_moved_eni_is_absent_at_once_and_a_detached_one_is_deleted(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """No line of ``status`` listed it until the next poll."""
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.poke()
        vpc.detach(pair[1], Detach.MOVE)
        moved = str(pair[1].mac)
        manager.until(lambda: manager.states().get(moved) == "absent", what="absent")
        assert "absent" in instance.ec2net("status", status=None).stdout
        third = vpc.attach(pair[1].subnet, device=2)
        manager.until(lambda: manager.states().get(str(third.mac)) == "configured")
        assert manager.states()[moved] == "absent"  # also after passes for another ENI
        vpc.detach(third)
        manager.until(lambda: str(third.mac) not in manager.states(), what="gone")
        assert manager.states()[moved] == "absent"


def test_a_removed_address_returns_only_after_imds_confirms_it(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """The address was back 0.25 s later, on a host that had released it."""
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.poke()
        given_up, wanted = pair[1].ipv4s[1:3]
        vpc.guest.ip(
            [f"addr del {address}/32 dev {pair[1].name}" for address in (given_up, wanted)]
        )
        manager.until(lambda: "the next reading of IMDS" in manager.log(), what="a look")
        assert not has(instance, given_up)
        assert not has(instance, wanted)
        pair[1].unassign_ipv4(given_up)
        manager.poke()
        assert not has(instance, given_up)
        assert has(instance, wanted)
        pair[1].assign_ipv4(given_up)
        manager.poke()
        assert instance.unreachable() == []


def test_an_address_removed_with_other_items_of_its_eni_returns_at_once(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """No user did that: a link was set down, or a network manager activated a profile."""
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.poke()
        whole = instance.kernel()
        vpc.guest.ip([f"addr flush dev {pair[1].name} scope global"])
        manager.until(lambda: differences(whole, instance.kernel()) == [], what="repaired")
