# SPDX-License-Identifier: Apache-2.0
"""An instance: a booted host with ec2net's units and one backend, and queries about it."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import lab_manager
from checkout import TOP
from kernel_state import State, kernel_state
from lab_host import HostError, LabHost, Process
from lab_journal import Entry
from lab_package import Installed
from lab_root import RELEASES, Release

from ec2net.core.simulation.vpc.connections import Tick
from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.simulated import SEED

MANY: dict[str, Any] = {"ipv4": 3, "ipv6": 2, "ipv4_prefixes": 1, "ipv6_prefixes": 1}
"""The time limit from the issue for a complete ENI."""

COMPLETE_LIMIT = 60.0
"""Seconds for an ENI to become complete where the test does not measure time."""

CHECK_LIMIT = 0.3
"""Seconds for one round of connections that are retried until they succeed."""

ANSWER_LIMIT = 10.0
"""Seconds for connections that are tried once. A busy machine may be late; a SYN that the kernel sends
again, after 1 s, counts as lost."""

ENI_UNIT = re.compile(r"ec2net(-udev)?@.*\.service|sys-subsystem-net-devices-.*\.device")

_numbers = itertools.count(1)

_OF_A_RUN = (
    "/run/ec2net",
    "/run/ec2net/control",
    "/run/ec2net/last-pass",
    "/run/ec2net/resident.json",
)

STATE = ("/run/ec2net", "/run/systemd/network", "/run/NetworkManager/conf.d")


class Mode(Enum):
    """How ec2net is run."""

    RESIDENT = "resident"
    ON_DEMAND = "on-demand"


_ON_DEMAND = TOP / "systemd/preset-on-demand/79-ec2net-on-demand.preset"

_QUIET = "[resident]\npoll = 3600\nfast_for = 0.1\n"
"""Settings of a daemon that acts only on events, as there is no timer."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings that the tests are repeated for."""

    release: Release
    backend: str
    mode: Mode

    def __str__(self) -> str:
        return f"{self.release.value}-{self.backend}-{self.mode.value}"

    @property
    def resident(self) -> bool:
        return self.mode is Mode.RESIDENT

    @property
    def usual(self) -> bool:
        """Whether tests run on it that do not ask for a mode."""
        return self.resident

    @property
    def once(self) -> bool:
        """Whether ``make test`` runs tests without a network manager of their own on this setting.
        The two modes together cover each release with each network manager."""
        mixed = (self.release is Release.BOOKWORM) == (self.backend == "networkd")
        return mixed == self.resident

    def files(self, *, timer: bool) -> dict[str, str]:
        """The parts that give a host this mode."""
        if not self.resident:
            return {"/etc/systemd/system-preset/79-ec2net-on-demand.preset": _ON_DEMAND.read_text()}
        return {} if timer else {"/etc/ec2net/ec2net.toml.d/15-quiet.toml": _QUIET}

    @property
    def manager(self) -> str:
        """The program that logs about leases: a journal identifier."""
        return _MANAGERS[self.backend].identifier

    def prepare(self, root: Path) -> None:
        """Prepare a root file system for this network manager."""
        if self.backend == "networkmanager":
            lab_manager.use_networkmanager(root)

    def bounces(self, entries: Iterable[Entry]) -> list[str]:
        """Lines by which the network manager reports that it removed a configuration."""
        said = (entry.message for entry in entries if entry.identifier == self.manager)
        return [message for message in said if re.search(_MANAGERS[self.backend].down, message)]

    def configured(self, link: str, entries: Iterable[Entry]) -> list[str]:
        """Lines by which the network manager reports that it began to configure a link."""
        begins = _MANAGERS[self.backend].begins.format(link=link)
        said = (entry.message for entry in entries if entry.identifier == self.manager)
        return [message for message in said if re.search(begins, message)]

    def restart(self, host: LabHost) -> None:
        """Restart the network manager."""
        host.run(["systemctl", "restart", f"{self.manager}.service"])

    def reload(self, host: LabHost) -> None:
        """Make the network manager read its configuration again."""
        host.run(list(_MANAGERS[self.backend].reload))

    def without_hooks(self, host: LabHost) -> None:
        """Let no pass begin by itself when a lease is renewed."""
        if self.backend == "networkmanager":
            folder = "/usr/lib/NetworkManager/dispatcher.d"
            host.run(["chmod", "-x", f"{folder}/80-ec2net", f"{folder}/pre-up.d/80-ec2net"])

    def has_configured(self, host: LabHost, link: str) -> bool:
        """Whether the network manager reports a link as configured by its own configuration."""
        if self.backend == "networkd":
            return host.networkctl(link)["State"] == "routable (configured)"
        shown = ["nmcli", "-g", "GENERAL.STATE", "device", "show", link]
        return host.run(shown).stdout.startswith("100 ")


@dataclass(frozen=True, slots=True)
class _Manager:
    """The messages of a network manager in the journal."""

    identifier: str
    down: str
    begins: str
    reload: tuple[str, ...]


_MANAGERS = {
    "networkd": _Manager(
        "systemd-networkd",
        down=r"lease lost|lease expired|: Failed",
        begins=r"^{link}: (Rec|C)onfiguring with ",
        reload=("networkctl", "reload"),
    ),
    "networkmanager": _Manager(
        "NetworkManager",
        down=r"activated -> (deactivating|failed)|canceled DHCP|no lease|state changed (expire|fail)",
        begins=r"device \({link}\): Activation: starting connection",
        reload=("nmcli", "general", "reload"),
    ),
}

SETTINGS = [
    Setting(release, backend, mode)
    for backend in _MANAGERS
    for release in RELEASES
    for mode in Mode
]

_STATES = {"configured": "active", "ignored": "active", "degraded": "failed"}


class LabInstance:
    """A host with its VPC. ``one`` and ``two`` are its subnets, ``primary`` is in the first."""

    def __init__(self, setting: Setting, vpc: VpcWithDhcp) -> None:
        self.setting = setting
        self.vpc = vpc
        self.one = vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64")
        self.two = vpc.add_subnet("10.0.32.0/20", "2001:db8:0:2::/64")
        self.host: LabHost

    @property
    def primary(self) -> Eni:
        return self.vpc.enis[0]

    @property
    def secondary(self) -> Eni:
        return self.vpc.enis[1]

    # Making it so

    def attach(self, name: str | None = None, **arguments: object) -> Eni:
        """Attach one to the second subnet; do not wait."""
        return self.vpc.attach(self.two, name, **arguments)  # type: ignore[arg-type]

    def attach_many(self, name: str | None = None) -> Eni:
        """Attach one with everything, and wait until it is complete."""
        eni = self.attach(name, **MANY)
        self.complete(eni)
        return eni

    def complete(self, *enis: Eni, limit: float = COMPLETE_LIMIT) -> float:
        """Wait until every address works in both directions, the ENIs' units have ended and their
        first IPv4 addresses are in front; returns the seconds until the addresses worked."""
        began = time.monotonic()
        wanted = enis or tuple(self.vpc.enis)
        while bad := self.unreachable(*wanted, limit=CHECK_LIMIT):
            if time.monotonic() - began > limit:
                raise HostError(f"not complete after {limit:g} s: {bad}\n{self.story()}")
        took = time.monotonic() - began
        for eni in wanted:
            self.until_unit(eni.name, "active", limit)
        advertised = [eni.name for eni in wanted if eni.subnet.ipv6 is not None]
        self.host.wait_until(
            lambda: all(self.advertised_routes(name) for name in advertised), limit, "RA"
        )
        # After a late lease the other addresses are added again, which may still be due.
        self.host.wait_until(
            lambda: all(map(self.leads, wanted)), limit, "the first IPv4 addresses first"
        )
        return took

    def until_at_rest(self, *enis: Eni, limit: float = COMPLETE_LIMIT) -> None:
        """Wait for late configuration of a network manager, although every address works before:
        the router's advertisement, and the IPv6 lease, which may be requested after it."""
        names = [eni.name for eni in enis or self.vpc.enis if eni.ipv6s]
        self.host.wait_until(
            lambda: all(self.advertised_routes(n) and self.leases_ipv6(n) for n in names),
            limit,
            "the manager at rest",
        )

    def until_unit(self, link: str, state: str, limit: float = COMPLETE_LIMIT) -> None:
        """Wait for a state of an ENI's unit."""
        try:
            self.host.wait_until(lambda: self.unit_state(link) == state, limit)
        except HostError as error:
            raise HostError(f"{error}: {link} {self.unit_state(link)}\n{self.story()}") from None

    def refresh(self) -> str:
        """Run one pass; returns the logged changes."""
        done = self.host.ec2net("refresh", check=False)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.story()}"
        return done.stderr

    def until_well(self) -> None:
        """Passes, as a timer makes them, until one ends well: a lease may be later than one waits."""
        self.host.wait_until(
            lambda: self.host.ec2net("refresh", check=False).returncode == 0,
            COMPLETE_LIMIT,
            "a pass that ends well",
        )

    def reconfigure(self) -> str:
        """Apply a changed configuration; returns the logged changes."""
        if not self.setting.resident:
            return self.refresh()
        cursor = self.host.cursor()
        self.host.run(["systemctl", "reload", "ec2net.service"])
        return self.repaired(cursor)  # a poll, by the new configuration

    def repaired(self, since: str) -> str:
        """Run one pass; returns its changes and those of the daemon since then."""
        said = self.refresh()
        if not self.setting.resident:
            return said
        logged = self.host.journal(since=since)
        return "\n".join(entry.message for entry in logged if entry.identifier == "ec2net")

    # Asking

    def unreachable(self, *enis: Eni, limit: float = ANSWER_LIMIT) -> list[Tick]:
        """The addresses that do not work in both directions (all ENIs' by default)."""
        wanted = enis or tuple(self.vpc.enis)
        ticks = self.vpc.check_in(*wanted, timeout=limit)
        ticks += self.vpc.check_out(*wanted, timeout=limit)
        return [tick for tick in ticks if not tick.ok]

    def unit_state(self, link: str) -> str:
        """``active``, ``activating``, ``inactive`` ... of the ENI's unit, or the daemon's state in
        these words."""
        if self.setting.resident:
            return self._managed_state(link)
        instance = link.replace("-", r"\x2d")  # systemd.unit(5), "String Escaping"
        command = ["systemctl", "is-active", f"ec2net@{instance}.service"]
        return self.host.run(command, check=False).stdout.strip()

    def _managed_state(self, link: str) -> str:
        read = ["cat", "/run/ec2net/status.json", "/run/ec2net/resident.json"]
        text = self.host.run(read, check=False).stdout
        decoder, documents = json.JSONDecoder(), []
        while text.strip():
            document, end = decoder.raw_decode(text.lstrip())
            documents.append(document)
            text = text.lstrip()[end:]
        if len(documents) < 2:
            return "activating"
        macs = [eni["mac"] for eni in documents[0]["enis"] if eni["link"] == link]
        states = [eni["state"] for eni in documents[1]["enis"] if eni["mac"] in macs]
        if not states or states == ["absent"]:
            return "inactive"
        return _STATES.get(states[0], "activating")

    def advertised_routes(self, link: str) -> list[str]:
        """Default routes from the router's advertisement, in any table."""
        found = self.host.ip("-6", "route", "show", "table", "all", "dev", link, "proto", "ra")
        return [route["dst"] for route in found if route["dst"] == "default"]

    def leases_ipv6(self, link: str) -> bool:
        """Whether an IPv6 address has the lifetime of a lease: ec2net's have none."""
        found = self.host.ip("-6", "addr", "show", "dev", link, "scope", "global", "dynamic")
        return any(entry.get("addr_info") for entry in found)

    def leads(self, eni: Eni) -> bool:
        """Whether an ENI's first IPv4 address precedes its others (R14)."""
        own = [str(address) for address in eni.ipv4s]
        shown = self.host.ip("-4", "addr", "show", "dev", eni.name)
        held = [info.get("local") for entry in shown for info in entry.get("addr_info", ())]
        return [address for address in held if address in own][:1] == own[:1]

    def kernel(self) -> State:
        """Links, addresses, routes, rules and sysctls, to compare."""
        return kernel_state(self.vpc.guest)

    def files(self) -> dict[str, str]:
        """All files below STATE, with times of change: equal when nothing was written."""
        command = ["find", *STATE, "-printf", "%p %i %T@ %C@\n"]
        lines = self.host.run(command, check=False).stdout.splitlines()
        files = dict(line.split(" ", 1) for line in lines)
        # Files of one run of the daemon: the time of its folder changes with them.
        return {name: moment for name, moment in files.items() if name not in _OF_A_RUN}

    def bounces(self, since: str = "", but: Iterable[str] = ()) -> list[str]:
        """Configurations that the network manager removed since a cursor; ``but``: not of these
        links."""
        said = self.setting.bounces(self.host.journal(since=since))
        return [line for line in said if not any(re.search(rf"\b{name}\b", line) for name in but)]

    def configured(self, link: str, since: str = "") -> list[str]:
        """How often the network manager reported that it began to configure a link."""
        return self.setting.configured(link, self.host.journal(since=since))

    def own_processes(self) -> list[Process]:
        """Processes of the program."""
        return [p for p in self.host.processes() if re.search(r"ec2net( |$)", p.command)]

    def at_work(self) -> list[Process]:
        """Units that end by themselves: not the daemon."""
        return [p for p in self.own_processes() if not p.command.endswith("ec2net run")]

    def eni_units(self) -> set[str]:
        """Loaded units of ENIs, device units included, in any state."""
        command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full"]
        words = (line.split() for line in self.host.run(command).stdout.splitlines())
        return {found[0] for found in words if found and ENI_UNIT.fullmatch(found[0])}

    def story(self) -> str:
        """The end of the journal, for messages."""
        return "\n".join(map(str, self.host.journal()[-60:]))


@contextmanager
def booted(
    setting: Setting,
    *,
    files: dict[str, str] | None = None,
    before: Callable[[LabInstance], None] | None = None,
    timer: bool = False,
    complete: bool = True,
    deb: Path | None = None,
    prepare: Callable[[Path], None] | None = None,
    neighbours: bool = False,
    layers: Sequence[Path] = (),
    seed: int | None = SEED,
) -> Iterator[LabInstance]:
    """A booted host with one ENI (``before`` attaches others, or that one differently), complete.

    ``deb``: its package (None: this checkout's). ``prepare`` changes its root file system before
    the boot. ``seed`` is the VPC's. Without ``timer`` passes start only from units of ENIs, events
    and the test.
    """
    files = {**setting.files(timer=timer), **(files or {})}
    with VpcWithDhcp(prefix=f"{next(_numbers)}-", seed=seed) as vpc:
        instance = LabInstance(setting, vpc)
        if before is not None:
            before(instance)
        else:
            vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)

        def before_boot(root: Path) -> None:
            setting.prepare(root)
            if prepare is not None:
                prepare(root)

        with LabHost(
            vpc,
            setting.release,
            installed=Installed.PACKAGE,
            deb=deb,
            files=files,
            neighbours=neighbours,
            layers=layers,
            before_boot=before_boot,
        ) as host:
            instance.host = host
            if not timer:
                host.run(["systemctl", "stop", "ec2net-refresh.timer"])
            if complete:
                instance.complete()
            yield instance


def idle_pass(instance: LabInstance) -> float:
    """Seconds of a pass by hand without changes: the time of this machine, under its present load,
    for a start of the program and its work."""
    began = time.monotonic()
    instance.refresh()
    return time.monotonic() - began


def late(seconds: float = 1.0) -> Propagation:
    """IMDS right after an attachment."""
    return Propagation(listed=0.2, settled=seconds)


@contextmanager
def udev_stopped(instance: LabInstance) -> Iterator[None]:
    """Uevents meanwhile are lost: no process has the socket open, and none requests the events
    again."""
    sockets = ["systemd-udevd-kernel.socket", "systemd-udevd-control.socket"]
    instance.host.run(["systemctl", "stop", "systemd-udevd.service", *sockets])
    try:
        yield
    finally:
        instance.host.run(["systemctl", "start", *sockets, "systemd-udevd.service"])
