# SPDX-License-Identifier: Apache-2.0
"""Links that never appear, or vanish at once. Upstream: 766 of them left 1787 processes.

``EC2NET_ENDURANCE`` sets how many attachments race with their detachments
(tests/support/endurance.py).
"""

import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from endurance import rounds
from lab_boot import Boot
from lab_instance import ENI_UNIT, LabInstance, Setting, udev_stopped

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = [pytest.mark.lab, pytest.mark.mode("on-demand"), pytest.mark.backend("networkd")]

RACES = rounds(300)
GHOSTS = 20
LINK_SECONDS = 40
"""How long a start waits for its link here (by default 30 s)."""
DEVICE_SECONDS = 8
"""How long systemd waits for a device unit here (by default 90 s)."""
WITHIN = 60.0
"""Seconds; 30 on an idle machine."""
TIMER = 4
"""Seconds between passes, 60 outside of tests."""
TOGETHER = 10
"""Number of concurrent links whose removal udev does not see."""
VANISHED = ": No such file or directory"
"""The end of a line by which find(1) reports a folder that vanished while it listed."""

FILES = {
    "/etc/systemd/system/ec2net-refresh.timer.d/quick.conf": (
        f"[Timer]\nOnActiveSec=\nOnActiveSec=1\nOnUnitInactiveSec={TIMER}\nRandomizedDelaySec=0\n"
    ),
    "/etc/ec2net/ec2net.toml.d/20-ghosts.toml": f"[timeouts]\nlink = {LINK_SECONDS}\n",
    "/etc/systemd/system.conf.d/ghosts.conf": (
        f"[Manager]\nDefaultDeviceTimeoutSec={DEVICE_SECONDS}\n"
    ),
}


@pytest.fixture(scope="module")
def lone(boot: Boot) -> Iterator[LabInstance]:
    """A host with its primary ENI."""
    with boot(files=FILES) as instance:
        yield instance


def forks(lone: LabInstance, seconds: float) -> int:
    """Processes and threads that the host makes by itself while ``seconds`` go by."""

    def last_pid() -> int:
        return int(lone.host.run(["cat", "/proc/loadavg"]).stdout.split()[-1])

    asking = min(-last_pid() + last_pid() for _ in range(3))
    before = last_pid()
    time.sleep(seconds)
    return last_pid() - before - asking


@pytest.mark.serial
def test_units_for_links_that_never_appear_leave_no_process(lone: LabInstance) -> None:
    """The seed bug, by systemd: no process waits, no pass is delayed, and in the end no unit is
    left (``BindsTo`` a device that never appears: its job ends at systemd's own limit)."""
    names = [f"ghost{number}" for number in range(GHOSTS)]
    units = [f"ec2net@{name}.service" for name in names]
    began = time.monotonic()
    lone.host.run(["systemctl", "start", "--no-block", *units])
    assert lone.own_processes() == []
    # A process of the host may begin in one of these spans; a unit that polls shows in each.
    assert 0 in (forks(lone, 2) for _ in range(3))
    assert lone.own_processes() == []
    assert lone.refresh() == ""
    lone.host.wait_until(
        lambda: not [unit for unit in lone.eni_units() if "ghost" in unit],
        DEVICE_SECONDS + WITHIN,
        "no unit of a ghost",
    )
    print(f"{lone.setting}: no unit of a ghost after {time.monotonic() - began:.1f} s")
    assert left_of(lone, names) == []


@pytest.mark.serial
def test_starts_for_links_that_never_appear_end_at_their_limit(lone: LabInstance) -> None:
    """The seed bug, by hand: 20 processes wait in one system call each, hold nothing, and end with
    exit status 3."""
    names = [f"ghost{number}" for number in range(GHOSTS)]
    command = ["nsenter", "--target", str(lone.host.leader), "--all", "--", "ec2net", "start"]
    began = time.monotonic()
    starts = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in names]
    try:
        while len(lone.own_processes()) < GHOSTS:
            assert time.monotonic() - began < LINK_SECONDS
        while True:  # ends when all starts wait, and none wakes up for a second
            switches = voluntary_switches(lone)
            if forks(lone, 1) == 0 and voluntary_switches(lone) == switches:
                break
            # the time limit for the following steps
            assert time.monotonic() - began < LINK_SECONDS - 5
        assert lone.refresh() == ""
        assert len(children(lone)) == GHOSTS  # the pass did not wait for the starts
        for process in starts:
            assert process.wait(LINK_SECONDS + 60) == 3
            assert process.stderr is not None
            assert b"no such link appeared" in process.stderr.read()
    finally:
        for process in starts:
            process.kill()
            process.communicate()
    assert time.monotonic() - began < LINK_SECONDS + 60
    assert lone.own_processes() == []
    assert left_of(lone, names) == []


class _Outside:
    """A process of the host by its number outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


def children(lone: LabInstance) -> list[_Outside]:
    """The host's processes of the program, by their numbers outside."""
    namespace = os.readlink(f"/proc/{lone.host.leader}/ns/pid")
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            inside = os.readlink(path / "ns/pid") == namespace
            if inside and b"ec2net\0start" in (path / "cmdline").read_bytes():
                found.append(_Outside(int(path.name)))
        except OSError:
            continue
    return found


def voluntary_switches(lone: LabInstance) -> int:
    texts = [Path(f"/proc/{process.pid}/status").read_text() for process in children(lone)]
    counts = [re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE) for text in texts]
    return sum(int(found[1]) for found in counts if found)


def left_of(lone: LabInstance, names: list[str]) -> list[str]:
    """Processes, files, units, rules and symlinks of these links."""
    word = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    left = [f"process {p.command}" for p in lone.own_processes()]
    left += [f"unit {unit}" for unit in lone.eni_units() if word.search(unit)]
    places = ["/run/ec2net", "/run/systemd", "/etc/systemd", "/run/udev"]
    # systemd removes folders of units that end meanwhile: no error, unlike all other ones.
    listing = ["-path", "/run/systemd/journal", "-prune", "-o", "-print"]
    found = lone.host.run(["find", *places, "-ignore_readdir_race", *listing], check=False)
    wrong = [line for line in found.stderr.splitlines() if not line.endswith(VANISHED)]
    assert wrong == []
    left += [f"file {path}" for path in found.stdout.splitlines() if word.search(path)]
    macs = {str(eni.mac) for eni in lone.vpc.enis}
    for folder in ("facts", "journal"):
        names_ = lone.host.run(["ls", f"/run/ec2net/{folder}"]).stdout.split()
        left += [f"file {folder}/{n}" for n in names_ if n.removesuffix(".json") not in macs]
    mine = {10000 + eni.device for eni in lone.vpc.enis}
    for version in ("-4", "-6"):
        for rule in lone.host.ip(version, "rule", "show"):
            if rule["priority"] in range(10001, 11000) and rule["priority"] not in mine:
                left.append(f"rule {rule}")
    return left


@contextmanager
def udev_late(lone: LabInstance) -> Iterator[None]:
    """Uevents meanwhile wait in udev's queue."""
    lone.host.run(["udevadm", "control", "--stop-exec-queue"])
    try:
        yield
    finally:
        lone.host.run(["udevadm", "control", "--start-exec-queue"])


class Races:
    """Attachments, each for a while; every third ends by a move into another namespace."""

    def __init__(self, lone: LabInstance, chance: random.Random) -> None:
        self._lone = lone
        self._chance = chance
        self._trash = lone.vpc.namespace("trash")
        self._free = [f"ens{number}" for number in range(60, 72)]
        self.names: list[str] = []
        self.moved = 0

    def attach(self) -> Eni:
        name = self._free.pop(0)
        self.names.append(name)
        device = 1 + max((eni.device for eni in self._lone.vpc.enis), default=0) % 90
        return self._lone.attach(name, device=device, ipv4=2)

    def end(self, eni: Eni) -> None:
        if len(self.names) % 3 == 0 or self.moved < len(self.names) // 3:
            self._lone.vpc.guest.ip([f"link set {eni.name} netns {self._trash.name}"])
            self.moved += 1
        self._lone.vpc.detach(eni)
        self._free.append(eni.name)

    def run(self, count: int) -> None:
        """Several at a time, each alive for 20 ms to 1 s."""
        alive: list[tuple[float, Eni]] = []
        for left in range(count, -1, -1):
            while alive and (
                not left or not self._free or min(alive, key=_moment)[0] <= time.monotonic()
            ):
                moment, eni = min(alive, key=_moment)
                time.sleep(max(0.0, moment - time.monotonic()))
                alive.remove((moment, eni))
                self.end(eni)
            if left:
                eni = self.attach()
                alive.append((time.monotonic() + self._chance.uniform(0.02, 1.0), eni))

    def run_unseen(self, count: int) -> None:
        """The links existed, with a device unit and a unit of ec2net, and udev misses their
        removal."""
        for _ in range(count // TOGETHER):
            enis = [self.attach() for _ in range(TOGETHER)]
            wanted = {f"ec2net@{eni.name}.service" for eni in enis}
            self._lone.host.wait_until(lambda: wanted <= self._lone.eni_units(), 60)  # noqa: B023
            with udev_stopped(self._lone):
                for eni in enis:
                    self.end(eni)


def _moment(end: tuple[float, Eni]) -> float:
    return end[0]


def test_attach_and_detach_races_leave_nothing(lone: LabInstance) -> None:
    """R17, R23, the seed bug: a third of the links ends by a move into another namespace. In some
    races udev is late, in others it misses the removal. The timer runs meanwhile, and 30 s later
    nothing is left."""
    races = Races(lone, random.Random(20260327))
    lone.host.run(["systemctl", "start", "ec2net-refresh.timer"])
    try:
        races.run(RACES * 2 // 3)
        with udev_late(lone):
            races.run(RACES // 6)
        races.run_unseen(RACES // 6)
        ended = time.monotonic()
        names = sorted(set(races.names))
        lone.host.wait_until(
            lambda: left_of(lone, names) == [], WITHIN, f"left: {left_of(lone, names)}"
        )
        took = time.monotonic() - ended
    finally:
        lone.host.run(["systemctl", "stop", "ec2net-refresh.timer"])
    # After the last pass, and one more: the state of the pass's unit shows its result.
    lone.host.wait_until(lambda: lone.own_processes() == [], 60)
    lone.host.run(["systemctl", "start", "ec2net-refresh.service"])
    assert left_of(lone, names) == [], lone.story()
    print(f"{lone.setting}: {races.moved} moved, nothing left of {RACES} after {took:.1f} s")
    assert races.moved >= RACES // 3
    failed = lone.host.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"])
    assert failed.stdout == "", "\n".join(
        str(e) for e in lone.host.journal("ec2net-refresh.service") if e.priority < 6
    )
    assert lone.unreachable() == []


def test_the_checks_would_find_a_unit(setting: Setting, lone: LabInstance) -> None:
    """The other tests depend on this."""
    assert {f"ec2net@{lone.primary.name}.service"} <= lone.eni_units()
    assert any(ENI_UNIT.fullmatch(unit) and "device" in unit for unit in lone.eni_units())
    assert left_of(lone, [lone.primary.name]) != []
