# SPDX-License-Identifier: Apache-2.0
"""Where the demo happens: the simulated VPC, its ENIs, and the program run in the guest."""

import json
import os
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import ec2net
from ec2net.core.imds.endpoint import ENDPOINT_VARIABLE, MODE_VARIABLE
from ec2net.core.model.errors import KernelError
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.hosts import Host
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.sandbox import command_path
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
from ec2net.core.simulation.vpc.subnet import Subnet

LIMIT = 90.0
"""Seconds for the whole demo, which takes about ten: no command waits beyond it."""

CONFIGURATION = """\
[links]
drivers = ["veth"]
[[eni]]
match = { name = "veth-docker" }
manage = "ignore"
"""
"""The ENIs of the simulated VPC are veth links, and so is the container's; all else is as shipped."""

CONTAINER = IPv4Address("172.17.0.2")
_LINK = ("ifname", "altnames", "flags", "mtu", "group", "addr_info")
_DOCKER = (
    # Docker's objects on a host: a bridge with an address, and containers behind it.
    "link add docker0 type bridge",
    "addr add 172.17.0.1/16 dev docker0",
    "link set docker0 up",
    "link add name veth-docker type veth peer name eth0 netns container",
    "link set veth-docker master docker0 up",
)
_CONTAINER = (
    "link set lo up",
    f"addr add {CONTAINER}/16 dev eth0",
    "link set eth0 up",
    "route add default via 172.17.0.1",
)

PROPAGATION = Propagation(listed=0.3, settled=0.8)
"""For the attached ENI: IMDS lists its real device number 0.8 s after its link appears."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a command."""

    status: int
    output: str


@dataclass(slots=True)
class Stage:
    """Use as a context manager, inside a sandbox. Steps keep here what later steps compare."""

    deadline: Deadline = field(default_factory=lambda: Deadline(LIMIT, "the demo"))
    vpc: SimulatedVpc = field(default_factory=lambda: SimulatedVpc(seed=None))
    dropped: int = 0
    """The last read value of the source check's counter."""
    last: Result = field(default_factory=lambda: Result(0, ""))
    kept: dict[str, Any] = field(default_factory=dict)
    """States of the guest by name, as a step found them."""
    assigned: IPv4Address | None = None
    delegated: IPv4Network | None = None
    plugged_at: float = 0.0
    """When the third ENI's link appeared (monotonic)."""
    two: Subnet = field(init=False)
    """The subnet of the second and the third ENI."""
    primary: Eni = field(init=False)
    second: Eni = field(init=False)
    third: Eni | None = None
    neighbour: Host = field(init=False)
    """A host in the second ENI's subnet."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _folder: Path = Path()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Inside the sandbox /run is private, and the end of the sandbox deletes it.
            self._folder = Path(stack.enter_context(TemporaryDirectory(dir="/run")))
            settings = self._folder / "etc/ec2net/ec2net.toml"
            settings.parent.mkdir(parents=True)
            settings.write_text(CONFIGURATION)
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        vpc = stack.enter_context(self.vpc)
        one = vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64")
        self.two = vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64")
        self.primary = vpc.attach(one, ipv4=2, ipv6=1)
        self.second = vpc.attach(self.two, ipv4=4, ipv6=2, ipv4_prefixes=1, ipv6_prefixes=1)
        vpc.configure_primary_base(self.primary)
        self.neighbour = vpc.add_peer(self.two)
        container = vpc.namespace("container")
        vpc.guest.ip(_DOCKER)
        container.ip(_CONTAINER)
        echo = EchoService()
        stack.callback(echo.close)
        echo.listen(container)
        self._wait_for_links()

    def _wait_for_links(self) -> None:
        """Until the kernel has done for the new links what it does by itself a moment later."""
        bridge = ["ip", "link", "show", "docker0"]
        tentative = ["ip", "-6", "address", "show", "tentative"]
        while "state UP" not in self.guest.run(bridge).stdout or self.guest.run(tentative).stdout:
            self.deadline.check()

    @property
    def guest(self) -> Namespace:
        return self.vpc.guest

    def run(self, line: str) -> Result:
        """Run a command line in the guest; ``ec2net`` is this very program."""
        self.deadline.check()
        words = shlex.split(line)
        if words[0] == "ec2net":
            folder = str(self._folder)
            place = ["--run-dir", f"{folder}/state", "--config-root", folder]
            words = [sys.executable, "-P", "-m", *words[:2], *place, *words[2:]]
        done = self.guest.run(words, timeout=self.deadline.remaining(), env=_environment())
        self.last = Result(done.returncode, done.stdout + done.stderr)
        return self.last

    def hotplug(self) -> None:
        """Attach a third ENI: link and MAC are there at once, its number comes later."""
        self.third = self.vpc.attach(self.two, ipv4=2, ipv6=1, propagation=PROPAGATION)
        self.plugged_at = time.monotonic()

    def detach(self) -> None:
        assert self.third is not None
        self.vpc.detach(self.third)

    def assign(self) -> None:
        """An address and a prefix for the second ENI."""
        self.assigned = self.second.assign_ipv4()
        self.delegated = self.second.assign_ipv4_prefix()

    def unassign(self) -> None:
        assert self.assigned is not None
        assert self.delegated is not None
        self.second.unassign_ipv4(self.assigned)
        self.second.unassign_ipv4_prefix(self.delegated)

    def objects(self) -> dict[str, list[str]]:
        """Every address, route and rule of the guest, as ``ip -N -d -j`` shows them.

        Links have only their settings, without counters and timers.
        """
        found: dict[str, list[str]] = {}
        for kind, *what in (("address",), ("rule",), ("route", "show", "table", "all")):
            for family in ("-4", "-6"):
                done = self.guest.run(["ip", "-N", "-d", "-j", family, kind, *what])
                if done.returncode != 0:
                    raise KernelError(done.stderr.strip(), subject=f"ip {family} {kind}")
                found[f"{kind} {family}"] = [
                    json.dumps(_lasting(item), sort_keys=True)
                    for item in json.loads(done.stdout or "[]")
                ]
        return found

    def foreign(self) -> list[str]:
        """Rules and routes that neither ec2net nor the kernel made, and addresses put by hand."""
        ours_or_kernel = {str(NumberPlan().protocol), "2"}
        objects = self.objects()
        found = [
            text
            for kind, items in objects.items()
            if not kind.startswith("address")
            for text in items
            if str(json.loads(text).get("protocol")) not in ours_or_kernel
        ]
        for text in objects["address -4"]:
            found += [
                json.dumps(address, sort_keys=True)
                for address in json.loads(text)["addr_info"]
                if address["local"].startswith("198.18.")
            ]
        return sorted(found)


def _lasting(item: dict[str, Any]) -> dict[str, Any]:
    """A link without what changes by itself; addresses, routes and rules are lasting."""
    if "addr_info" not in item:
        return item
    return {key: item.get(key) for key in _LINK}


def _environment() -> dict[str, str]:
    """This process's, with ec2net where it is now and without what would lead IMDS elsewhere."""
    environment = command_path()
    for name in (ENDPOINT_VARIABLE, MODE_VARIABLE, "JOURNAL_STREAM"):
        environment.pop(name, None)
    where = str(Path(ec2net.__file__).parents[1])
    given = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (where, given)))
    return environment
