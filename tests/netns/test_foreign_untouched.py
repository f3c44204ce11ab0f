# SPDX-License-Identifier: Apache-2.0
"""Foreign state is untouched: random state of others, random events, compared after each (R4).

``EC2NET_SEED`` is where to begin (the seed of a failure replays it), ``EC2NET_ENDURANCE``
how long to go on with the seeds behind it, in units of 20 s.
"""

import os
import random
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from endurance import FACTOR
from foreign_life import SETTINGS, Life
from foreign_state import Planter
from instance import Instance, primary, subnets
from manager import Manager, managed

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

STEPS = 14


@dataclass(kw_only=True)
class Guest(Life):
    """Events in a namespace, by separate processes, or by a daemon that runs meanwhile."""

    instance: Instance
    manager: Manager | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    def ec2net(self, *words: str) -> None:
        self.instance.ec2net(*words, status=None)

    def remove_one(self, eni: Eni) -> None:
        self.instance.ec2net("remove", eni.name, "--force")

    def log(self) -> str:
        return self.manager.log()[-3000:] if self.manager is not None else ""

    def events(self) -> list[Callable[[], str]]:
        possible: list[Callable[[], str]] = [
            self.attach,
            self.attach,
            self.assign,
            self.assign,
            self.assign_what_others_hold,
            self.unassign,
            self.unassign,
            self.detach,
            self.move,
            self.refresh,
            self.by_hand,
            self.remove,
            self.configure,
            self.restart,
            self.restart,
            self.take_away,
            self.imitate,
        ]
        return [self.chance.choice(possible) for _ in range(STEPS)]

    def configure(self) -> str:
        text = self.chance.choice(SETTINGS)
        self.instance.configure(text)
        if self.manager is not None:
            self.stop()
            self.start()
        return f"configure {text.strip() or 'the defaults'}"

    def restart(self) -> str:
        if self.manager is None:
            self.start()
            return "start the manager"
        if self.chance.random() < 0.5:
            self.manager.stop()
        self.stop()
        return "the manager ends"

    def start(self) -> None:
        self.manager = self.stack.enter_context(managed(self.instance))

    def stop(self) -> None:
        """By SIGKILL, if the daemon runs."""
        self.stack.close()
        self.manager = None

    def settle(self) -> None:
        """With the default settings, a secondary ENI, and a double of each of ec2net's objects: no
        change is due then, neither for a separate process nor for the daemon."""
        self.stop()
        self.instance.configure()
        if len(self.here) < 2:
            self.story.append(self.attach())
        self.story += [self.refresh(), self.imitate(), self.refresh()]
        self.check()
        assert self.instance.refresh(status=None) == [], self.story
        with managed(self.instance) as manager:
            for _ in range(2):
                manager.poke()
            done = re.findall(r"^ec2net: INFO: \S+: [+~-] .*", manager.log(), flags=re.MULTILINE)
        assert done == [], [*self.story, *done]


def files_of_others(instance: Instance) -> dict[Path, bytes]:
    """In addition to the program's own directories."""
    run = instance.run_dir.parent
    found = (path for path in run.rglob("*") if instance.run_dir not in path.parents)
    return {path: path.read_bytes() for path in found if path.is_file()}


def live(vpc: SimulatedVpc, instance: Instance, seed: int) -> None:
    """One host with its foreign state, from nothing to the removal of all ENIs."""
    chance = random.Random(seed)
    first, second = subnets(vpc, 2)
    primary(vpc, first, ipv4=2, ipv6=2)
    vpc.attach(second, device=1, ipv4=3, ipv6=2, ipv4_prefixes=1, ipv6_prefixes=1)
    for name in ("systemd/network/10-mine.network", "NetworkManager/conf.d/mine.conf", "ec2netx"):
        path = instance.run_dir.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(40))
    files = files_of_others(instance)
    planter = Planter(vpc.guest, chance)
    life = Guest(vpc, chance, planter, [f"seed {seed}"], instance=instance)
    life.begin()
    try:
        life.refresh()
        life.check()
        life.happen(life.events())
        life.settle()
        life.stop()
        life.uninstall()
    finally:
        life.stop()
    instance.configure()
    files[instance.config_root / "etc/ec2net/ec2net.toml"] = b""
    assert files_of_others(instance) == files


def test_foreign_state_is_the_same_after_each_of_many_random_events(
    install: Callable[[SimulatedVpc], Instance],
) -> None:
    seed = int(os.environ.get("EC2NET_SEED", "20261125"))
    end = time.monotonic() + 20 * FACTOR
    while True:
        print(f"seed {seed}")
        with SimulatedVpc(prefix=f"s{seed}-") as vpc:
            live(vpc, install(vpc), seed)
        if time.monotonic() > end:
            break
        seed += 1
