# SPDX-License-Identifier: Apache-2.0
"""A pass that is killed at any point is made good by the next one; SIGTERM never halves a pass."""

import itertools
import json
import math
import random
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from endurance import rounds
from instance import HANGS, MANY, PROGRAM_LIMIT, Instance, primary, subnets
from kernel_state import PROTOCOL, KernelEvents, State, assert_same, differences, marked

from ec2net.core.simulation.vpc.imds_faults import Hang
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

KILLS = rounds(50)
RTM_NEWRULE = 32
ATTEMPTS = 8
"""For a signal during the changes: the first event may be one of the link itself, before the pass.
On a busy machine the pass may be over when the event is read."""
SEED = 20240817

OTHER = """\
primary_rules = true
routing = "strict"
ipv4_prefix_mode = "local"
altnames = ["id"]
[[eni]]
match = { device = 2 }
ipv6 = "off"
main_default = "no"
mtu = 1500
"""
"""Differs from the defaults in every kind of thing that is added, replaced and removed."""


@pytest.fixture(scope="module")
def host(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """Three ENIs with everything; the tests bring it to the state that they begin with."""
    with SimulatedVpc(prefix="kill-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        vpc.attach(second, **MANY)
        vpc.attach(second, **MANY)
        yield instance


def reset(instance: Instance) -> None:
    """The state before the first pass: by ip(8), without the program and without other links."""
    instance.configure()
    instance.forget()
    lines = []
    for link in map(json.loads, instance.kernel()["links"]):
        if link["ifname"] == "lo":
            continue
        name = link["ifname"]
        lines += [f"link property del dev {name} altname {a}" for a in link.get("altnames", ())]
        lines += [f"link set {name} group 0 mtu 9001 down", f"addr flush dev {name}"]
    instance.guest.ip_each(lines)
    instance.guest.ip_each(f"route flush table {10000 + n}" for n in range(3))
    instance.guest.ip_each([f"route flush table local proto {PROTOCOL}"])
    for version in (4, 6):
        instance.guest.ip(
            [
                "rule flush",
                "rule add priority 32766 lookup main",
                "rule add priority 32767 lookup default",
            ],
            version=version,
        )
    instance.guest.sysctl({f"net/ipv6/conf/{eni.name}/accept_ra": "1" for eni in instance.vpc.enis})
    instance.vpc.configure_primary_base(instance.vpc.enis[0])


def remembered(instance: Instance) -> dict[str, object]:
    """The state directory without what differs from pass to pass (times, the token)."""
    files = {}
    for name, content in instance.files().items():
        assert ".tmp-" not in name
        data: object = json.loads(content) if name.endswith(".json") else content
        if name == "status.json":
            assert isinstance(data, dict)
            data = [{k: v for k, v in eni.items() if k != "since"} for eni in data["enis"]]
        files[name] = None if "token" in name else data
    return files


@dataclass
class Watched:
    """Observations of one pass. Times in seconds since the start of the process."""

    exit_status: int = 0
    events: int = 0
    """Events of the kernel, about links, addresses, routes and rules."""
    first: float = 0.0
    """When the first event arrived."""
    seconds: float = 0.0


def watch(
    instance: Instance, *, kill_after_events: float = math.inf, kill_after: float = math.inf
) -> Watched:
    """Run a pass, and kill it when so many events, or so many seconds, have gone by."""
    seen = Watched()
    with KernelEvents(instance.guest) as events:
        started = time.monotonic()
        with instance.running("refresh") as process:
            while process.poll() is None:
                select.select([events], [], [], 0.0005)
                seen.seconds = time.monotonic() - started
                seen.events += len(events.taken())
                if seen.events and not seen.first:
                    seen.first = seen.seconds
                if seen.events > kill_after_events or seen.seconds >= kill_after:
                    process.kill()
                    break
                assert seen.seconds < PROGRAM_LIMIT, Path(f"/proc/{process.pid}/stack").read_text()
            seen.exit_status = process.wait(PROGRAM_LIMIT)
    return seen


@dataclass
class Leg:
    """The changes of a pass, and the result of an undisturbed one."""

    begin: Callable[[], None]
    whole: Watched
    good: State
    files: dict[str, object]


def undisturbed(instance: Instance, begin: Callable[[], None]) -> Leg:
    begin()
    whole = watch(instance)
    assert whole.exit_status == 0
    assert whole.events > 30
    return Leg(begin, whole, instance.kernel(), remembered(instance))


def kill_everywhere(instance: Instance, kills: int, *begins: Callable[[], None]) -> None:
    """Kill passes on legs in turn: at points spread over their kernel events, and at random times
    from just before the first change to the end. The next pass must reach the same state.

    Only kills during an apply count; others are corrected as well, and repeated.
    """
    legs = [undisturbed(instance, begin) for begin in begins]
    chance = random.Random(SEED)
    halfway = 0
    for number in itertools.count():
        if halfway == kills:
            return
        assert number < 6 * kills, halfway
        leg = legs[number % len(legs)]
        leg.begin()
        begun = instance.kernel()
        if number % 10 < 6:
            share = (number % kills + chance.random()) / kills
            watch(instance, kill_after_events=round(share * leg.whole.events))
        else:
            moment = chance.uniform(leg.whole.first * 0.9, leg.whole.seconds)
            watch(instance, kill_after=moment)
        left = instance.kernel()
        halfway += bool(differences(begun, left)) and bool(differences(left, leg.good))
        instance.ec2net("refresh")
        assert_same(leg.good, instance.kernel())
        assert remembered(instance) == leg.files
        if number % 10 == 0:
            assert instance.refresh() == []


def test_reset_restores_the_state_before_the_first_pass(host: Instance) -> None:
    """The next test depends on this."""
    reset(host)
    host.ec2net("refresh")  # a link that was never up has another qdisc
    reset(host)
    before = host.kernel()
    assert marked(before) == []
    host.ec2net("refresh")
    reset(host)
    assert_same(before, host.kernel())


def test_first_passes_can_be_killed_anywhere(host: Instance) -> None:
    """R25, items 49 and 50: a leftover was taken for configuration; locks outlived their holder."""
    kill_everywhere(host, KILLS // 2, lambda: reset(host))


def test_changes_can_be_killed_anywhere(host: Instance) -> None:
    """Replacements and removals too: from one configuration to another, and back."""
    reset(host)
    host.ec2net("refresh")
    there, back = partial(host.configure, OTHER), host.configure
    kill_everywhere(host, KILLS // 2, there, back)


@pytest.fixture
def fresh(host: Instance) -> tuple[State, int]:
    """The state that an undisturbed first pass leads to, and its kernel events; then reset."""
    reset(host)
    whole = watch(host)
    good = host.kernel()
    reset(host)
    return good, whole.events


def test_sigterm_after_the_first_change_lets_the_pass_finish(
    host: Instance, fresh: tuple[State, int]
) -> None:
    """Half an apply may cut the host off IMDS (nm-cloud-setup learnt it: B-b)."""
    good, _ = fresh
    for _ in range(ATTEMPTS):
        reset(host)
        with KernelEvents(host.guest) as events, host.running("refresh") as process:
            assert select.select([events], [], [], HANGS)[0]
            process.send_signal(signal.SIGTERM)
            events.taken()
            _, said = process.communicate(timeout=PROGRAM_LIMIT)
            later = events.taken()
        if marked(host.kernel()) and RTM_NEWRULE in later:
            break
    else:
        pytest.fail("no signal came between the first change and the last rule")
    assert process.returncode == 0, said
    assert_same(good, host.kernel())
    assert host.refresh() == []


def ends_at_once(process: subprocess.Popen[str], by: signal.Signals) -> str:
    """Send the signal; returns the output. The process ends as if by the default action of SIGTERM.

    The signal is sent while the process is stopped, so it is pending when the process continues: no
    limit of the process ends a wait before it.
    """
    process.send_signal(signal.SIGSTOP)
    process.send_signal(by)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=HANGS)
    assert process.returncode == -signal.SIGTERM, said
    assert "did not end within" not in said
    (line,) = (line for line in said.splitlines() if "DEBUG" not in line)
    assert by.name in line
    return line


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [["refresh"], ["start", "ens6"]], ids=["refresh", "start"])
def test_a_signal_before_the_first_change_ends_at_once_and_changes_nothing(
    host: Instance, command: list[str], by: signal.Signals
) -> None:
    reset(host)
    before = host.kernel()
    host.imds.clear_log()
    with host.imds.fault(Hang()), host.running(*command, "-v") as process:
        assert host.imds.wait_for(timeout=HANGS)
        assert "before anything was changed" in ends_at_once(process, by)
    if command == ["refresh"]:
        assert_same(before, host.kernel())
    assert not [name for name in host.files() if ".tmp-" in name]


def test_a_signal_ends_the_wait_for_a_link_and_for_the_lock(host: Instance) -> None:
    reset(host)
    host.configure("[timeouts]\nlock = 300\n")
    with host.running("start", "ghost0", "--timeout", "600") as process:
        waiting(process)
        ends_at_once(process, signal.SIGTERM)
    with host.locked(), host.running("refresh") as process:
        waiting(process)
        ends_at_once(process, signal.SIGTERM)


def waiting(process: subprocess.Popen[str]) -> None:
    """Return when all threads of the program have been asleep for a moment."""
    end, quiet, last = time.monotonic() + HANGS, 0, ""
    while quiet < 10:
        assert time.monotonic() < end
        with open(f"/proc/{process.pid}/status") as file:
            switches = [
                line for line in file if "ctxt_switches" in line or line.startswith("Threads")
            ]
        now = "".join(switches)
        quiet = quiet + 1 if now == last else 0
        last = now
        time.sleep(0.02)


def test_a_half_written_file_is_never_read_and_the_next_pass_deletes_it(host: Instance) -> None:
    """Leftovers of a kill between writing and renaming (item 49)."""
    reset(host)
    host.refresh_twice()
    before, files = host.kernel(), remembered(host)
    facts = next(name for name in files if name.startswith("facts/"))
    for folder in (".", "facts", "journal"):
        (host.run_dir / folder / ".tmp-k1ll3d").write_bytes(host.files()[facts][:50])
    assert host.refresh() == []
    assert remembered(host) == files
    assert_same(before, host.kernel())
    # A truncated file, from any cause, counts as absent.
    for name in files:
        if name.endswith(".json"):
            (host.run_dir / name).write_bytes(host.files()[name][:-20])
    host.ec2net("refresh")
    assert_same(before, host.kernel())
    assert host.refresh() == []
