# SPDX-License-Identifier: Apache-2.0
"""An ENI leaves for another network namespace; an address is removed that IMDS is about to drop."""

from datetime import UTC, datetime

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import differences
from manager import Manager, managed

from ec2net.core.daemon.eni_state import SETTLING
from ec2net.core.simulation.vpc.eni import Detach, Eni, Presence
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
from ec2net.core.state.run_dir import RunDir

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


def test_an_eni_without_a_link_causes_no_request_at_kernel_events(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """Each pass for a kernel event asked IMDS for the list of ENIs, on a host with an EFA-only ENI."""
    efa = vpc.attach(pair[1].subnet, device=2, ipv4=0, ipv6=0, presence=Presence.IMDS_ONLY)
    with managed(instance) as manager:
        manager.until(lambda: manager.states().get(str(efa.mac)) == "absent", what="absent")
        manager.until(lambda: since(manager, efa) > SETTLING, what="known for a while")
        manager.poke()
        whole = instance.kernel()
        vpc.imds.clear_log()
        vpc.guest.ip(["rule del priority 10001"])
        manager.until(lambda: differences(whole, instance.kernel()) == [], what="repaired")
        assert vpc.imds.count() == 0
        assert manager.states()[str(efa.mac)] == "absent"
        assert instance.status()[str(efa.mac)]["standing"] == "absent"
        vpc.detach(efa)
        manager.poke()
        assert str(efa.mac) not in manager.states()


def since(manager: Manager, eni: Eni) -> float:
    """Seconds, at least, for which the daemon has known an ENI in its state."""
    document = RunDir(manager.instance.run_dir).read("resident.json") or {"enis": []}
    told = next(row["since"] for row in document["enis"] if row["mac"] == str(eni.mac))
    cut_off = 1.0  # the document has whole seconds
    return (datetime.now(UTC) - datetime.fromisoformat(told)).total_seconds() - cut_off


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
