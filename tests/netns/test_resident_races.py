# SPDX-License-Identifier: Apache-2.0
"""The seed bug and the daemon: hundreds of links that vanish, and one process before and after."""

import random
import time

import pytest
from endurance import rounds
from instance import MANY, Instance, primary, subnets
from kernel_state import differences
from manager import managed
from probe import Traffic
from races import race

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

RACES = rounds(1000)
NAMES = [f"ens{number}" for number in range(100, 150)]
SEED = 20261125


def test_a_thousand_races_leave_nothing(vpc: SimulatedVpc, instance: Instance) -> None:
    """R17: a third of the links moves into another namespace, and the daemon is stopped now and
    then, so that it misses their events. One process, descriptors and memory as at the start;
    nothing on disk or in the kernel; the traffic of other ENIs has no gap."""
    chance = random.Random(SEED)
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    other = vpc.attach(second, device=1, **MANY)
    crowd = vpc.add_subnet("10.0.128.0/17", "2001:db8:0:80::/64")
    instance.configure("[resident]\nfast_for = 0.1\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        race(vpc, crowd, NAMES, 50, chance)  # to warm up
        manager.until_configured(2)
        manager.until(lambda: instance.files().keys() == _own_files(vpc, instance), what="files")
        manager.rest()
        kernel, memory, descriptors = instance.kernel(), manager.memory(), manager.descriptors()
        files, cpu, began = instance.files().keys(), manager.cpu(), time.monotonic()
        moved = 0
        with Traffic(vpc, [vpc.enis[0], other]) as traffic:
            for part in range(10):
                if part % 3 == 2:
                    manager.stopped(True)
                done = race(vpc, crowd, NAMES, RACES // 10, chance)
                manager.stopped(False)
                moved += done.moved
        seconds = time.monotonic() - began
        used = manager.cpu() - cpu
        manager.until_configured(2)
        took = manager.until(
            lambda: (
                differences(kernel, instance.kernel()) == [] and instance.files().keys() == files
            ),
            what="nothing left",
        )
        manager.rest()
        assert moved >= RACES / 4
        assert traffic.made > 100
        assert traffic.gaps == []
        assert (manager.threads(), manager.children()) == (1, [])
        assert manager.descriptors() == descriptors
        assert manager.memory() < 1.1 * memory
        assert instance.unreachable() == []
        print(
            f"{RACES} races in {seconds:.0f} s, {moved} by a move: {used:.1f} s of CPU; nothing"
            f" left after {took:.1f} s; memory {memory} KiB, then {manager.memory()} KiB"
        )


def _own_files(vpc: SimulatedVpc, instance: Instance) -> set[str]:
    """Files about the host, or about an attached ENI."""
    macs = {str(eni.mac) for eni in vpc.enis} | {eni.name for eni in vpc.enis}
    return {
        name
        for name in instance.files()
        if "/" not in name or name.rpartition("/")[2].removesuffix(".json") in macs | {"primary"}
    }
