# SPDX-License-Identifier: Apache-2.0
"""A host with foreign state, and what may happen to both; after each event it is the same (R4)."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chance import assign
from foreign_state import BRIDGE, Planter
from foreign_view import foreign, without_link
from kernel_state import State, differences, in_order, kernel_state, lacking, marked

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

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
    """``chance`` selects the events; ``story`` lists the events so far, for messages."""

    vpc: SimulatedVpc
    chance: random.Random
    planter: Planter
    story: list[str] = field(default_factory=list)
    expected: State = field(default_factory=dict)

    def ec2net(self, *words: str) -> None:
        """Run a command, which may fail."""
        raise NotImplementedError

    def log(self) -> str:
        """The end of the program's own output."""
        raise NotImplementedError

    def remove_one(self, eni: Eni) -> None:
        """``ec2net remove``, which must be done without a failure."""
        raise NotImplementedError

    def until_complete(self, eni: Eni) -> None:
        """Wait for a new ENI, where something is done for it by itself."""

    def until_seen(self) -> None:
        """Wait until udev and the network manager have processed new foreign links."""

    @property
    def here(self) -> list[Eni]:
        """ENIs whose links are in the guest."""
        links = [json.loads(line)["ifname"] for line in kernel_state(self.vpc.guest)["links"]]
        return [eni for eni in self.vpc.enis if eni.name in links]

    def begin(self) -> None:
        """Others have things on the host and on its ENIs."""
        self.planter.plant_host()
        self.until_seen()
        self.expected = self.seen()
        for eni in self.vpc.enis:
            self.plant(eni)

    def seen(self) -> State:
        """Objects that neither ec2net nor the kernel created."""
        names = {eni.name for eni in self.vpc.enis}
        planter = self.planter
        return foreign(kernel_state(self.vpc.guest), names, planter.addresses, planter.altnames)

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

    def plant(self, eni: Eni) -> None:
        """Add foreign objects to an ENI and to tables; from now on the test expects them."""
        self.planter.plant_on(eni, [other for other in self.vpc.enis if other is not eni])
        self.more()

    def more(self) -> None:
        """Expect new foreign objects from now on, in addition to the earlier ones."""
        seen = self.seen()
        gone = [line for s, lines in self.expected.items() for line in lacking(lines, seen[s])]
        assert not gone, "\n".join([*self.story, *gone, self.log()])
        self.expected = seen

    def happen(self, events: Sequence[Callable[[], str]], refreshed: float = 0.7) -> None:
        """Each of the events; ``refreshed``: after how many of them there is a pass at once."""
        for event in events:
            self.story.append(event())
            self.check()
            if self.chance.random() < refreshed:
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
        self.until_complete(eni)
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
        """The kernel removes the objects on a link together with the link."""
        self.expected = without_link(self.expected, eni.name)
        addresses = {(link, a) for link, a in self.planter.addresses if link != eni.name}
        self.planter.addresses = addresses

    def refresh(self) -> str:
        # A conflicting object is a failure in each pass (1).
        self.ec2net("refresh")
        return "refresh"

    def by_hand(self) -> str:
        last = self.vpc.enis[-1].name
        words = self.chance.choice(
            [["verify"], ["plan"], ["start", last, "--timeout", "1"], ["explain", "ens5"]]
        )
        self.ec2net(*words)
        return f"ec2net {' '.join(words)}"

    def remove(self) -> str:
        """Remove by hand; a running daemon refuses the command."""
        name = self.chance.choice(self.here).name
        self.ec2net("remove", name)
        return f"remove {name}"

    def take_away(self) -> str:
        """Remove a foreign address; no tool may restore it."""
        addresses = sorted(self.planter.addresses)
        if not addresses:
            return "nothing: no foreign address"
        link, interface = one = self.chance.choice(addresses)
        # By the kernel's default an address is removed with later addresses of its subnet.
        if not interface.endswith(("/32", "/128")):
            return "nothing: it has a subnet"
        # When a link loses its last IPv4 address, the kernel removes all its IPv4 routes.
        if sum(where == link and "." in text for where, text in addresses) < 2:
            return "nothing: it is the last one there"
        self.check()
        self.vpc.guest.ip([f"addr del {interface} dev {link}"])
        self.planter.addresses.remove(one)
        self.expected = self.seen()
        return f"a user deletes {interface} from {link}"

    def imitate(self) -> str:
        chosen = [e for e in self.here if e.device and self.planter.keeps_ipv4(e.name)]
        for eni in chosen:
            self.planter.imitate(eni)
            self.more()
        return (
            f"another tool imitates ec2net on {', '.join(eni.name for eni in chosen) or 'nothing'}"
        )

    def uninstall(self) -> None:
        """All ENIs are detached in turn: no object of ec2net is left, and all foreign objects
        are."""
        here = self.here
        for eni in here:
            self.remove_one(eni)
            self.story.append(f"remove {eni.name}")
            self.check()
        state = kernel_state(self.vpc.guest)
        assert marked(state) == [], self.story
        links = [json.loads(line) for line in state["links"]]
        left = {link["ifname"]: link for link in links if link["ifname"] in {e.name for e in here}}
        assert {link.get("group") for link in left.values()} == {"0"}, self.story
        for eni in here:
            assert str(eni.eni_id) not in left[eni.name].get("altnames", ()), self.story
