# SPDX-License-Identifier: Apache-2.0
"""An hour of an instance's life in a minute: random events from a seed, invariants after each.

EC2NET_SEED=7 EC2NET_ENDURANCE=5 .venv/bin/pytest -s tests/netns/test_resident_hour.py

The daemon's intervals are a sixtieth of the real ones (``SCALED``).
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from chance import assign
from endurance import FACTOR
from instance import Instance, primary, subnets
from kernel_state import PROTOCOL, State, differences
from manager import Manager, managed

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.imds_faults import Drip, Effect, Fault, Hang, Reset, Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

SCALE = 60.0
SCALED = "[resident]\npoll = 1.0\nfast = 0.1\nfast_for = 1.0\n[timeouts]\npass = 4\nlock = 10\n"
HOUR = 3600.0 / SCALE
SETTLING = 60.0
"""Seconds, real ones, for an event to be followed on a busy machine."""

ENIS = 6

FOREIGN = [
    "rule add priority 500 fwmark 7 lookup 77",
    "rule add priority 10001 from 192.0.2.9 lookup 77",
    "rule add priority 9999 from 192.0.2.10 lookup 77",
    "route add 192.0.2.0/24 dev ens5 metric 9",
    "route add 198.18.0.0/15 dev ens5 table 77",
    "addr add 192.0.2.77/32 dev ens5",
    "-6 rule add priority 500 fwmark 7 lookup 77",
]


@dataclass
class Life:
    """An instance with its daemon, and its possible events."""

    vpc: SimulatedVpc
    instance: Instance
    chance: random.Random
    manager: Manager | None = None
    story: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.manager = self.stack.enter_context(managed(self.instance))

    def happen(self) -> None:
        """One event."""
        events: list[Callable[[], str]] = [
            self.attach,
            self.detach,
            self.detach,
            self.assign,
            self.assign,
            self.unassign,
            self.vandal,
            self.vandal,
            self.outage,
            self.reload,
            self.kill,
            self.by_hand,
        ]
        self.story.append(self.chance.choice(events)())

    @property
    def secondaries(self) -> list[Eni]:
        return self.vpc.enis[1:]

    def attach(self) -> str:
        if len(self.vpc.enis) >= ENIS:
            return "nothing: no room"
        device = min(set(range(1, ENIS + 1)) - {eni.device for eni in self.vpc.enis})
        subnet = self.chance.choice(self.vpc.subnets)
        late = Propagation(self.chance.uniform(0, 0.3), self.chance.uniform(0, 1))
        eni = self.vpc.attach(
            subnet,
            device=device,
            ipv4=self.chance.randint(1, 3),
            ipv6=self.chance.randint(0, 2),
            ipv4_prefixes=self.chance.randint(0, 1),
            propagation=late,
        )
        return f"attach {eni.name}"

    def detach(self) -> str:
        if not self.secondaries:
            return "nothing: no secondary"
        eni = self.chance.choice(self.secondaries)
        if self.chance.random() < 0.3:
            self.vpc.detach(eni, Detach.MOVE)
        self.vpc.detach(eni)
        return f"detach {eni.name}"

    def assign(self) -> str:
        return assign(self.chance, self.vpc.enis)

    def unassign(self) -> str:
        eni = self.chance.choice(self.vpc.enis)
        kinds: list[tuple[list[object], Callable[..., None]]] = [
            (list(eni.ipv4s[1:]), eni.unassign_ipv4),
            (list(eni.ipv6s[1:]), eni.unassign_ipv6),
            (list(eni.ipv4_prefixes), eni.unassign_ipv4_prefix),
            (list(eni.ipv6_prefixes), eni.unassign_ipv6_prefix),
        ]
        held, drop = self.chance.choice(kinds)
        if not held:
            return "nothing: none to unassign"
        one = self.chance.choice(held)
        drop(one)
        return f"unassign {one} from {eni.name}"

    def vandal(self) -> str:
        """Another program deletes objects of ec2net."""
        name = self.chance.choice(self.vpc.enis).name
        number = 10000 + self.chance.choice(self.vpc.enis).device
        line = self.chance.choice(
            [
                f"rule del priority {number} lookup {number}",
                f"-6 rule del priority {number} lookup {number}",
                f"route flush table {number}",
                f"link set {name} group 0",
                *([f"link set {name} down"] if name != "ens5" else []),
            ]
        )
        self.vpc.guest.ip_each([line])
        return line

    def outage(self) -> str:
        """IMDS fails for some minutes, in which an address may be assigned."""
        effects: list[Effect] = [Status(503), Status(429), Status(404), Hang(), Drip(1.0), Reset()]
        effect = self.chance.choice(effects)
        before = self.owned()
        seconds = self.chance.uniform(0.5, 4)
        with self.vpc.imds.fault(Fault(effect, rate=self.chance.choice([1.0, 0.5]))):
            time.sleep(seconds)
            assert self.owned() == before, f"lost in an outage ({effect})"
        return f"IMDS: {effect} for {seconds * SCALE / 60:.0f} min"

    def reload(self) -> str:
        assert self.manager is not None
        self.manager.process.send_signal(signal.SIGHUP)
        return "reload"

    def kill(self) -> str:
        assert self.manager is not None
        self.manager.process.kill()
        self.manager.process.wait(60)
        self.stack.close()
        self.stack = ExitStack()
        self.start()
        return "kill -9 and start"

    def by_hand(self) -> str:
        verb = self.chance.choice(["refresh", "verify", "plan", f"start {self.vpc.enis[-1].name}"])
        self.instance.ec2net(*verb.split(), status=None)
        return f"ec2net {verb} by hand"

    def owned(self) -> list[str]:
        """Rules and routes of ec2net."""
        state = self.instance.kernel()
        return sorted(
            f"{subject} {line}"
            for subject, lines in state.items()
            if subject.startswith(("rules", "routes"))
            for line in lines
            if json.loads(line).get("protocol") == PROTOCOL
        )

    def foreign(self) -> State:
        """Rules and routes that neither ec2net nor the kernel added, and foreign addresses."""
        state = self.instance.kernel()
        kept: State = {}
        for subject, lines in state.items():
            if subject.startswith(("rules", "routes")):
                kept[subject] = [
                    line
                    for line in lines
                    if json.loads(line).get("protocol") not in (PROTOCOL, "2")
                ]
        kept["addresses"] = [line for line in state["addresses"] if "192.0.2." in line]
        return kept

    def wrong(self) -> list[str]:
        """Differences from the intended state, by another process and by connections."""
        assert self.manager is not None
        if self.manager.process.poll() is not None:
            return [f"the manager ended: {self.manager.log()}"]
        plan = json.loads(self.instance.ec2net("plan", "--json", status=None).stdout)
        found = [f"to do: {change['text']}" for change in plan["changes"]]
        found += [f"pending: {eni['mac']}" for eni in plan["enis"] if eni["standing"] == "pending"]
        return found or [f"{tick}" for tick in self.instance.unreachable()]


def test_an_hour_of_random_events_leaves_the_intended_state(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    seed = int(os.environ.get("EC2NET_SEED", "20261125"))
    print(f"seed {seed}")
    instance.configure(SCALED)
    first, second = subnets(vpc, 2)
    primary(vpc, first, ipv4=2, ipv6=2)
    vpc.attach(second, device=1, ipv4=2, ipv6=2)
    vpc.guest.ip([line for line in FOREIGN if not line.startswith("-6")])
    vpc.guest.ip([line[3:] for line in FOREIGN if line.startswith("-6")], version=6)
    life = Life(vpc, instance, random.Random(seed))
    began = time.monotonic()
    foreign = None
    steps = 0
    try:
        life.start()
        while time.monotonic() - began < HOUR * FACTOR:
            if steps:
                life.happen()
            steps += 1
            end = time.monotonic() + SETTLING
            while wrong := life.wrong():
                assert time.monotonic() < end, told(life, seed, wrong)
                time.sleep(0.1)
            if foreign is None:
                foreign = life.foreign()
            assert differences(foreign, life.foreign()) == [], told(life, seed, ["foreign"])
        polls = (time.monotonic() - began) / 1.0
        requests = vpc.imds.count()
        print(f"{steps} steps, {requests} requests in {polls:.0f} intervals")
        # Each interval 1 + 5 per ENI and their listings; each event a few reads of an ENI.
        assert requests < polls * (2 + 6 * ENIS) + steps * 12 * (2 + 6)
    finally:
        life.stack.close()


def told(life: Life, seed: int, wrong: list[str]) -> str:
    log = life.manager.log()[-3000:] if life.manager is not None else ""
    return f"seed {seed}\n" + "\n".join([*life.story[-15:], *map(str, wrong[:10]), log])
