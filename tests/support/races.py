# SPDX-License-Identifier: Apache-2.0
"""ENIs that are attached and detached again while ec2net configures them."""

import heapq
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
from ec2net.core.simulation.vpc.subnet import Subnet

SHORTEST, LONGEST = 0.02, 1.0
"""Seconds that a link exists."""

MOVED = 1 / 3
"""Share of links that leave by a move into another namespace."""


@dataclass(slots=True)
class Raced:
    """Counts of events."""

    attached: int = 0
    moved: int = 0


def race(
    vpc: SimulatedVpc, subnet: Subnet, names: Sequence[str], count: int, chance: random.Random
) -> Raced:
    """Attach and detach ``count`` ENIs under these names, as many at a time as there are names.

    How many of them move away does not depend on chance, which ones do.
    """
    done = Raced()
    trash = vpc.namespace(f"trash{chance.randrange(1 << 30):x}")
    leave = frozenset(chance.sample(range(count), round(count * MOVED)))
    free = list(names)
    alive: list[tuple[float, int, Eni]] = []
    order = itertools.count()

    def end_one() -> None:
        moment, number, eni = heapq.heappop(alive)
        time.sleep(max(0.0, moment - time.monotonic()))
        if number in leave:
            vpc.detach(eni, Detach.MOVE, into=trash)
            done.moved += 1
        vpc.detach(eni)
        free.append(eni.name)

    while done.attached < count:
        while not free or (alive and alive[0][0] <= time.monotonic()):
            end_one()
        taken = {eni.device for eni in vpc.enis}
        device = next(n for n in itertools.count(1) if n not in taken)
        eni = vpc.attach(subnet, free.pop(chance.randrange(len(free))), device=device, ipv4=2)
        done.attached += 1
        heapq.heappush(
            alive, (time.monotonic() + chance.uniform(SHORTEST, LONGEST), next(order), eni)
        )
    while alive:
        end_one()
    return done
