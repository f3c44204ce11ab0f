# SPDX-License-Identifier: Apache-2.0
"""The daemon when something hangs, dies or is wrong: IMDS, a plugin, the clock, itself."""

import json
import random
import select
import signal
import time
from pathlib import Path

import pytest
from endurance import rounds
from instance import MANY, Instance, primary, subnets
from kernel_state import KernelEvents, assert_same, differences
from manager import LIMIT, managed

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds_faults import Fault, Hang
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]

SEED = 20261125
KILLS = rounds(50)

POLLING = "[resident]\nfast_for = 0.1\npoll = 1\n"
QUICK = POLLING + "[timeouts]\npass = 3\n"

FOREIGN = [
    "rule add priority 10001 from 192.0.2.9 lookup 77",
    "route add 192.0.2.0/24 dev ens6 table 77",
    "addr add 192.0.2.77/32 dev ens6",
]


@pytest.fixture
def pair(vpc: SimulatedVpc) -> tuple[Eni, Eni]:
    first, second = subnets(vpc, 2)
    return primary(vpc, first), vpc.attach(second, device=1, **MANY)


def test_the_daemon_survives_fifty_kills_during_applies(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """By SIGKILL at a random point of an apply; the next start completes it, and changes nothing
    foreign. The last start has no changes."""
    chance = random.Random(SEED)
    instance.configure(POLLING)
    instance.ec2net("refresh")
    instance.guest.ip(["link set ens6 up", *FOREIGN])
    instance.ec2net("refresh")
    whole = instance.kernel()
    halfway = tried = 0
    while halfway < KILLS:
        tried += 1
        assert tried < 6 * KILLS + 10, f"{halfway} of {tried} kills were halfway"
        # Something to do: rules, addresses and routes of the secondary.
        instance.guest.ip_each(
            [
                "rule del priority 10001 from 10.0.2.224/28",
                "route flush table 10001",
                f"addr del {pair[1].ipv4s[1]}/32 dev ens6",
            ]
        )
        with KernelEvents(vpc.guest) as events, managed(instance, ready=False) as manager:
            select.select([events], [], [], LIMIT)
            wanted = chance.randrange(6)
            seen = len(events.taken())
            while seen < wanted and select.select([events], [], [], 0.05)[0]:
                seen += len(events.taken())
            manager.process.send_signal(signal.SIGKILL)
            manager.process.wait(LIMIT)
        halfway += differences(whole, instance.kernel()) != []
    with managed(instance) as manager:
        manager.until(lambda: differences(whole, instance.kernel()) == [], what="whole")
        manager.until_configured(2)
        assert instance.unreachable() == []
    assert_same(whole, instance.kernel())
    print(f"{halfway} of {tried} kills left half an apply")


def test_imds_that_hangs_has_no_effect_and_is_reported_once(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    instance.configure(QUICK)
    with managed(instance) as manager:
        manager.until_configured(2)
        before = instance.kernel()
        with vpc.imds.fault(Fault(Hang())) as hanging:
            manager.until(
                lambda: "could not be read" in manager.log() or "no IMDS" in manager.log()
            )
            told = manager.log()
            hits = hanging.hits
            manager.until(lambda: hanging.hits > hits + 1)
            # Drift is repaired all the same.
            vpc.guest.ip(["rule del priority 10001"])
            manager.until(lambda: differences(before, instance.kernel()) == [])
            manager.until(lambda: "+ rule 10001" in manager.log()[len(told) :])
            errors = [line for line in manager.log().splitlines() if "ERROR" in line]
            assert len(errors) <= 2, errors  # how it fails may differ once
        address = pair[1].assign_ipv4()
        manager.until(lambda: f"+ address {address}" in manager.log())
        manager.until(lambda: "resolved " in manager.log())
        manager.until_configured(2)


def test_lost_events_are_recovered(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """A process that is stopped while ENIs are attached and detached and thousands of routes
    change: its queue overflows (ENOBUFS)."""
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.process.send_signal(signal.SIGSTOP)
        vpc.guest.ip(f"route add 20.{n // 256}.{n % 256}.0/24 dev ens5" for n in range(6000))
        eni = vpc.attach(pair[1].subnet, device=2, **MANY)
        vpc.guest.ip(["rule del priority 10001"])
        vpc.guest.ip(f"route del 20.{n // 256}.{n % 256}.0/24 dev ens5" for n in range(6000))
        manager.process.send_signal(signal.SIGCONT)
        manager.until_configured(3)
        manager.until(lambda: instance.unreachable(eni, pair[1]) == [])


ROUTES = 20_000


@pytest.mark.serial
def test_a_routing_daemon_does_not_keep_ec2net_busy(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """ec2net recognizes foreign routes and links by their bytes."""
    instance.configure("[resident]\nfast_for = 0.1\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        said, cpu = manager.log(), manager.cpu()
        vpc.guest.ip(f"route add 20.{n // 256}.{n % 256}.0/24 dev ens5" for n in range(ROUTES))
        vpc.guest.ip(f"link add link{n} type bridge" for n in range(100))
        used = manager.cpu() - cpu
        print(f"{ROUTES} routes and 100 links of others: {used:.2f} s of CPU")
        assert used < 2.0
        assert manager.log() == said


def test_a_conflict_over_a_rule_ends_with_limited_repairs(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """Another tool removes each repaired rule: no busy loop, and one line about it."""
    instance.configure("[resident]\nfast_for = 0.1\nrepairs = 4\ndebounce = 0.05\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        began, repairs, patient = time.monotonic(), 0, 0.0
        while not patient or time.monotonic() < patient + 4:
            assert patient or time.monotonic() < began + LIMIT, manager.log()
            done = vpc.guest.run(
                ["ip", "rule", "del", "priority", "10001", "from", "10.0.2.224/28"]
            )
            repairs += done.returncode == 0
            time.sleep(0.02)
            if not patient and "repairs are limited" in manager.log():
                patient = time.monotonic()
        assert 4 <= repairs <= 7 + (time.monotonic() - began) / 15  # and four more a minute
        assert manager.log().count("repairs are limited") == 1
        assert manager.log().count("drift: ") == 1
        shown = instance.ec2net("status").stdout
        assert "! repairs are limited: another program keeps removing what ec2net restores" in shown
        assert " times, last " in shown
        explained = instance.ec2net("explain", "ens6").stdout
        assert "repairs are limited:\n  repairs are limited" in explained
        assert " times until " in explained


def test_detaching_enis_is_no_conflict(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """ec2net removes their leftovers, which is no repair of a foreign removal."""
    instance.configure("[resident]\nfast_for = 0.1\nrepairs = 4\ndebounce = 0.05\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        before = instance.kernel()
        for number in range(8):
            eni = vpc.attach(pair[1].subnet, f"ens{20 + number}", **MANY)
            manager.until_configured(3)
            vpc.detach(eni)
            manager.until(lambda: not differences(before, instance.kernel()), what="gone")
        assert "repairs are limited" not in manager.log()
        assert instance.ec2net("status", "--json").stdout.count('"fight": ""') == 1


HUNG = """
import os, time
from ec2net.core.plugins.api import Applied, Backend, Observed, Suitability, hookimpl

class HungBackend(Backend):
    name = "hung"
    @classmethod
    def suits(cls, link, environment):
        return Suitability(False, "only where it is named")
    def observe(self, snapshot, links, deadline):
        return Observed(snapshot)
    def wanted(self, intent, host, seen):
        return intent.rules
    def apply(self, plan, goals, seen, deadline):
        time.sleep(3600)

@hookimpl
def ec2net_backends():
    return (HungBackend,)

@hookimpl
def ec2net_adjust_intent(intent, facts):
    while os.path.exists(os.environ["STUCK"]):
        pass
"""


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """Environment with a foreign plugin ``hung``; a file ``stuck`` makes a hook hang."""
    from instance import environment

    (tmp_path / "ec2net_hung.py").write_text(HUNG)
    info = tmp_path / "ec2net_hung-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ec2net-hung\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ec2net]\nhung = ec2net_hung\n")
    path = f"{environment()['PYTHONPATH']}:{tmp_path}"
    return {"PYTHONPATH": path, "STUCK": str(tmp_path / "stuck")}


def test_a_backend_that_hangs_is_abandoned_and_the_others_continue(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni], plugin: dict[str, str]
) -> None:
    instance.configure(QUICK + '[[eni]]\nmatch = { device = 2 }\nbackend = "hung"\n')
    with managed(instance, env=plugin) as manager:
        manager.until_configured(2)
        vpc.attach(pair[1].subnet, device=2, ipv4=1, ipv6=0)
        manager.until(lambda: "backend hung: still hangs in apply" in manager.log())
        manager.until(lambda: "degraded" in manager.states().values())
        address = pair[1].assign_ipv4()
        manager.until(lambda: f"+ address {address}" in manager.log())
        assert instance.unreachable(pair[1]) == []
        assert manager.threads() == 2
        polls = vpc.imds.count()
        manager.until(lambda: vpc.imds.count() > polls + 20)
        assert manager.threads() == 2  # the one that hangs, however often there is work for it
        # Once for the host, once for the ENI.
        assert manager.log().count("hangs in apply") == 2


def test_a_loop_that_hangs_feeds_no_watchdog(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni], plugin: dict[str, str]
) -> None:
    """No side thread does. (That systemd ends it then is shown in the lab.)"""
    instance.configure(QUICK + '[plugins]\nenabled = ["hung"]\n')
    with managed(instance, env={**plugin, "WATCHDOG_USEC": "400000"}) as manager:
        manager.until_configured(2)
        assert manager.told[0].startswith("WATCHDOG_USEC=")  # more than all that it may take
        manager.hear("WATCHDOG=1")
        Path(plugin["STUCK"]).touch()
        manager.until(lambda: _silent(manager._notify, 3.0))
        Path(plugin["STUCK"]).unlink()
        manager.hear("WATCHDOG=1")


def _silent(notify: object, seconds: float) -> bool:
    """Whether no message arrives for this time."""
    import socket

    assert isinstance(notify, socket.socket)
    notify.settimeout(seconds)
    try:
        notify.recv(4096)
    except TimeoutError:
        return True
    return False


def test_a_wall_clock_that_jumps_changes_nothing(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni], tmp_path: Path
) -> None:
    """An hour forward, two back: only monotonic time counts, for the pace as for the token."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    fake = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    instance.configure(POLLING)
    with managed(instance, env=fake) as manager:
        manager.until_configured(2)
        manager.poke()
        files, said = instance.files(), manager.log()
        vpc.imds.clear_log()
        with KernelEvents(vpc.guest) as events:
            for offset in ("+3600", "-3600", "+0"):
                clock.write_text(offset)
                polls = _polls(vpc)
                took = manager.until(lambda seen=polls: _polls(vpc) >= seen + 3)  # type: ignore[misc]
                assert took > 0.9  # three that are a second apart
            assert events.taken() == []
        assert "PUT" not in {request.method for request in vpc.imds.requests}
        assert instance.files() == files
        assert manager.log() == said
        # The daemon does use that clock: for times that people read.
        clock.write_text("-86400000")
        vpc.attach(pair[1].subnet, device=2)
        manager.until_configured(3)
        document = json.loads((instance.run_dir / "resident.json").read_text())
        assert min(row["since"] for row in document["enis"]) < "2025"


def _polls(vpc: SimulatedVpc) -> int:
    return sum(request.path.endswith("interfaces/macs/") for request in vpc.imds.requests)


def test_a_link_renamed_before_its_event_is_read_is_seen(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """As udev does while the daemon runs a pass: the event has the old name."""
    instance.configure("[resident]\nfast_for = 0.1\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.poke()
        manager.stopped(True)
        eni = vpc.attach(pair[1].subnet, device=2, ipv4=1)
        vpc.guest.ip(
            [f"link set {eni.name} down", f"link set {eni.name} name ens99", "link set ens99 up"]
        )
        manager.stopped(False)
        manager.until_configured(3)  # not by a poll, which follows in a minute


def test_every_reload_is_done_and_none_uses_more_memory(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """A SIGHUP right after READY, between two reads of the flag, is not lost."""
    instance.configure("[resident]\nfast_for = 0.1\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        before = 0
        for count in range(rounds(400)):
            manager.process.send_signal(signal.SIGHUP)
            manager.hear("RELOADING=1")
            manager.hear("READY=1")
            before = before or (manager.memory() if count == 10 else 0)
        assert manager.memory() < 1.1 * before
