# SPDX-License-Identifier: Apache-2.0
"""Foreign state is untouched: random state of others, random events, compared after each (R4).

``EC2NET_SEED`` is where to begin (the seed of a failure replays it), ``EC2NET_SECONDS`` how long
to go on with the seeds behind it.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chance import assign
from foreign_state import BRIDGE, Planter
from foreign_view import foreign, without_link
from instance import Instance, primary, subnets
from kernel_state import State, differences, in_order, lacking, marked
from manager import Manager, managed

from ec2net.core.vpc.eni import Detach, Eni
from ec2net.core.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

STEPS = 14
ENIS = 4

SETTINGS = (
    "",
    'routing = "strict"\n',
    'routing = "off"\n',
    "primary_rules = true\n",
    'ipv4_prefix_mode = "local"\nipv6_prefix_mode = "none"\n',
    'main_default = "no"\n',
    "mtu = 1500\n",
)


@dataclass
class Life:
    """An instance with what others have on it, and what may happen to both."""

    instance: Instance
    chance: random.Random
    planter: Planter
    expected: State = field(default_factory=dict)
    manager: Manager | None = None
    story: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def vpc(self) -> SimulatedVpc:
        return self.instance.vpc

    @property
    def here(self) -> list[Eni]:
        """ENIs whose links are in the guest."""
        links = [json.loads(line)["ifname"] for line in self.instance.kernel()["links"]]
        return [eni for eni in self.vpc.enis if eni.name in links]

    def seen(self) -> State:
        names = {eni.name for eni in self.vpc.enis}
        planter = self.planter
        return foreign(self.instance.kernel(), names, planter.addresses, planter.altnames)

    def check(self) -> None:
        """Nothing of what others have is gone, changed, or in another order; nothing is new."""
        seen = self.seen()
        found = differences(self.expected, seen)
        found += [
            f"another order of {subject}"
            for subject in ("rules 4", "rules 6")
            if not in_order(self.expected[subject], seen[subject])
        ]
        assert not found, "\n".join([*self.story, *found, self.log()])

    def log(self) -> str:
        return self.manager.log()[-3000:] if self.manager is not None else ""

    def plant(self, eni: Eni) -> None:
        """Somebody puts things on an ENI and into tables; from now on they are expected."""
        self.planter.plant_on(eni, [other for other in self.vpc.enis if other is not eni])
        self.more()

    def more(self) -> None:
        """What is new now is expected from now on, beside all that was."""
        seen = self.seen()
        gone = [line for s, lines in self.expected.items() for line in lacking(lines, seen[s])]
        assert not gone, "\n".join([*self.story, *gone, self.log()])
        self.expected = seen

    def happen(self) -> None:
        events: list[Callable[[], str]] = [
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
        self.story.append(self.chance.choice(events)())
        self.check()
        if self.chance.random() < 0.7:
            self.story.append(self.refresh())
            self.check()

    def attach(self) -> str:
        if len(self.vpc.enis) >= ENIS:
            return "nothing: no room"
        device = min(set(range(1, ENIS + 1)) - {eni.device for eni in self.vpc.enis})
        subnet = self.chance.choice(self.vpc.subnets)
        prefixes = self.chance.randint(0, 1)
        eni = self.vpc.attach(
            subnet, device=device, ipv4=2, ipv6=2, ipv4_prefixes=prefixes, ipv6_prefixes=prefixes
        )
        self.more()
        if self.chance.random() < 0.7:
            self.plant(eni)
        return f"attach {eni.name}"

    def assign(self) -> str:
        return assign(self.chance, self.vpc.enis)

    def assign_what_others_hold(self) -> str:
        """An address that is on a bridge, or on another ENI, before IMDS lists it."""
        eni = self.chance.choice(self.vpc.enis)
        address = eni.subnet.allot_ipv4()
        link = self.chance.choice([BRIDGE, *(other.name for other in self.here)])
        self.planter.add_address(link, f"{address}/32")
        self.more()
        eni.assign_ipv4(address)
        return f"assign {address} to {eni.name}, which is on {link}"

    def unassign(self) -> str:
        eni = self.chance.choice(self.vpc.enis)
        if len(eni.ipv4s) > 1 and self.chance.random() < 0.5:
            address = self.chance.choice(eni.ipv4s[1:])
            eni.unassign_ipv4(address)
            return f"unassign {address} from {eni.name}"
        if len(eni.ipv6s) > 1:
            eni.unassign_ipv6(eni.ipv6s[-1])
            return f"unassign an IPv6 address from {eni.name}"
        return "nothing: none to unassign"

    def detach(self) -> str:
        if len(self.vpc.enis) < 2:
            return "nothing: no secondary"
        eni = self.chance.choice(self.vpc.enis[1:])
        self.lose(eni)
        self.vpc.detach(eni)
        return f"detach {eni.name}"

    def move(self) -> str:
        """Into a task's namespace; the ENI stays attached."""
        secondaries = [eni for eni in self.here if eni.device]
        if not secondaries:
            return "nothing: no secondary"
        eni = self.chance.choice(secondaries)
        self.lose(eni)
        self.vpc.detach(eni, Detach.MOVE)
        return f"move {eni.name} away"

    def lose(self, eni: Eni) -> None:
        """The kernel takes with a link what is on it."""
        self.expected = without_link(self.expected, eni.name)
        addresses = {(link, a) for link, a in self.planter.addresses if link != eni.name}
        self.planter.addresses = addresses

    def refresh(self) -> str:
        # What stands in the way is a failure each time (1).
        self.instance.ec2net("refresh", status=None)
        return "refresh"

    def by_hand(self) -> str:
        last = self.vpc.enis[-1].name
        words = self.chance.choice(
            [["verify"], ["plan"], ["start", last, "--timeout", "1"], ["explain", "ens5"]]
        )
        self.instance.ec2net(*words, status=None)
        return f"ec2net {' '.join(words)}"

    def remove(self) -> str:
        """By hand; a manager that runs refuses it."""
        name = self.chance.choice(self.here).name
        self.instance.ec2net("remove", name, status=None)
        return f"remove {name}"

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
        """By SIGKILL, if it runs."""
        self.stack.close()
        self.manager = None

    def take_away(self) -> str:
        """Somebody takes an address of theirs away; nobody may make it again for them."""
        addresses = sorted(self.planter.addresses)
        if not addresses:
            return "nothing: no foreign address"
        link, interface = one = self.chance.choice(addresses)
        # With the kernel's default an address takes those that came after it in its subnet along.
        if not interface.endswith(("/32", "/128")):
            return "nothing: it has a subnet"
        # And when a link loses its last IPv4 address, the kernel takes all its IPv4 routes.
        if sum(where == link and "." in text for where, text in addresses) < 2:
            return "nothing: it is the last one there"
        self.check()
        self.vpc.guest.ip([f"addr del {interface} dev {link}"])
        self.planter.addresses.remove(one)
        self.expected = self.seen()
        return f"somebody takes {interface} from {link}"

    def imitate(self) -> str:
        chosen = [e for e in self.here if e.device and self.planter.keeps_ipv4(e.name)]
        for eni in chosen:
            self.planter.imitate(eni)
            self.more()
        return f"somebody imitates us on {', '.join(eni.name for eni in chosen) or 'nothing'}"

    def settle(self) -> None:
        """By the defaults, with a secondary ENI, where everything of ours has a double: there is
        nothing left to do then, for a process of its own nor for the manager."""
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

    def uninstall(self) -> None:
        """All ENIs are removed, one after the other: nothing of ours is left, all of others'."""
        self.stop()
        here = self.here
        for eni in here:
            self.instance.ec2net("remove", eni.name)
            self.story.append(f"remove {eni.name}")
            self.check()
        state = self.instance.kernel()
        assert marked(state) == [], self.story
        links = [json.loads(line) for line in state["links"]]
        left = {link["ifname"]: link for link in links if link["ifname"] in {e.name for e in here}}
        assert {link.get("group") for link in left.values()} == {"0"}, self.story
        for eni in here:
            assert str(eni.eni_id) not in left[eni.name].get("altnames", ()), self.story


def files_of_others(instance: Instance) -> dict[Path, bytes]:
    """Beside the program's own directories."""
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
    life = Life(instance, chance, Planter(vpc.guest, chance), story=[f"seed {seed}"])
    life.planter.plant_host()
    life.expected = life.seen()
    for eni in vpc.enis:
        life.plant(eni)
    try:
        life.refresh()
        life.check()
        for _ in range(STEPS):
            life.happen()
        life.settle()
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
    end = time.monotonic() + float(os.environ.get("EC2NET_SECONDS", "20"))
    while True:
        print(f"seed {seed}")
        with SimulatedVpc(prefix=f"s{seed}-") as vpc:
            live(vpc, install(vpc), seed)
        if time.monotonic() > end:
            break
        seed += 1
