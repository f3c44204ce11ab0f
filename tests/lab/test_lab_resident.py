# SPDX-License-Identifier: Apache-2.0
"""The daemon as a unit of a real systemd: boot, watchdog, processes that hang, modes, races."""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from endurance import rounds
from kernel_state import KernelEvents, State, assert_same
from lab_boot import Boot
from lab_instance import MANY, LabInstance, late, udev_stopped
from probe import Traffic
from races import race

from ec2net.core.simulation.vpc.eni import Presence
from ec2net.core.simulation.vpc.imds_faults import Fault, Hang

pytestmark = [pytest.mark.lab, pytest.mark.mode("resident")]

STALL = float(os.environ.get("EC2NET_STALL", "12"))
"""Seconds for which something is stopped. (Seen with 120, too: docs/resident.md.)"""

NAMES = [f"ens{number}" for number in range(100, 150)]
RACES = rounds(200)


def show(instance: LabInstance, *properties: str) -> dict[str, str]:
    command = ["systemctl", "show", "ec2net.service", *(f"--property={p}" for p in properties)]
    lines = instance.host.run(command).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def main_pid(instance: LabInstance) -> int:
    return int(show(instance, "MainPID")["MainPID"])


def status_of(instance: LabInstance, key: str) -> int:
    text = instance.host.read(f"/proc/{main_pid(instance)}/status")
    found = re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def descriptors(instance: LabInstance) -> int:
    return len(instance.host.run(["ls", f"/proc/{main_pid(instance)}/fd"]).stdout.split())


def test_the_daemon_sends_ready_before_network_online_and_runs_alone(boot: Boot) -> None:
    """READY follows the configured primary; no unit per ENI, no timer, and one process."""
    files = {
        "/etc/systemd/system/wants-online.service": (
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
            "[Install]\nWantedBy=multi-user.target\n"
        ),
        "/etc/systemd/system-preset/10-test.preset": "enable wants-online.service\n",
    }

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        instance.vpc.attach(instance.two, device=1, propagation=late(1000.0))

    with boot(before=enis, files=files, complete=False) as instance:
        host = instance.host
        online = ["systemctl", "is-active", "network-online.target"]
        host.wait_until(
            lambda: host.run(online, check=False).stdout.strip() == "active", 60, "network-online"
        )
        assert instance.unreachable(instance.primary) == []
        moments = show(instance, "ActiveEnterTimestampMonotonic", "ActiveState", "StatusText")
        assert moments["ActiveState"] == "active"
        assert "1 configured" in moments["StatusText"]
        reached = ["systemctl", "show", "network-online.target", "--value"]
        at = host.run([*reached, "--property=ActiveEnterTimestampMonotonic"]).stdout
        assert 0 < int(moments["ActiveEnterTimestampMonotonic"]) <= int(at)
        assert [unit for unit in instance.eni_units() if unit.startswith("ec2net@")] == []
        assert [p.command.split()[-1] for p in instance.own_processes()] == ["run"]
        timers = host.run(["systemctl", "list-timers", "--no-legend"]).stdout
        assert "ec2net" not in timers


def test_switching_the_mode_does_not_change_the_network(pair: LabInstance) -> None:
    """One command in each direction; the other mode then has no changes."""
    pair.refresh()
    host, before, cursor = pair.host, pair.kernel(), pair.host.cursor()
    with KernelEvents(pair.vpc.guest) as events, Traffic(pair.vpc, pair.vpc.enis) as traffic:
        host.run(["systemctl", "enable", "--now", "ec2net-on-demand.target"])
        assert show(pair, "ActiveState")["ActiveState"] == "inactive"
        timer = host.run(["systemctl", "is-active", "ec2net-refresh.timer"]).stdout.strip()
        assert timer == "active"
        host.run(["systemctl", "start", "ec2net-refresh.service"])
        assert events.taken() == []
    assert traffic.gaps == []
    eni = pair.attach("ens40", ipv4=2)  # by a separate unit now
    host.wait_until(lambda: "ec2net@ens40.service" in pair.eni_units(), 60, "its unit")
    host.wait_until(lambda: pair.unreachable(eni) == [], 60, "ens40")
    pair.vpc.detach(eni)
    gone = ["systemctl", "is-active", "ec2net@ens40.service"]
    host.wait_until(lambda: host.run(gone, check=False).stdout.strip() == "inactive", 60)
    host.run(["systemctl", "disable", "--now", "ec2net-on-demand.target"])
    host.run(["systemctl", "start", "ec2net.service"])
    timer = host.run(["systemctl", "is-active", "ec2net-refresh.timer"], check=False).stdout
    assert timer.strip() == "inactive"
    pair.complete()
    assert_same(before, pair.kernel())
    assert pair.bounces(cursor, but=["ens40"]) == []


def test_a_reload_reads_the_configuration_and_changes_nothing_else(pair: LabInstance) -> None:
    pair.refresh()
    pid, before, cursor = main_pid(pair), pair.kernel(), pair.host.cursor()
    with KernelEvents(pair.vpc.guest) as events:
        pair.host.run(["systemctl", "reload", "ec2net.service"])
        pair.host.wait_for_message("configuration reloaded", 60, since=cursor)
        pair.refresh()
        assert events.taken() == []
    assert main_pid(pair) == pid
    assert_same(before, pair.kernel())


def test_a_killed_daemon_restarts_and_finds_nothing_to_do(pair: LabInstance) -> None:
    pair.refresh()
    before, pid = pair.kernel(), main_pid(pair)
    with Traffic(pair.vpc, pair.vpc.enis) as traffic:
        pair.host.run(["kill", "-9", str(pid)])
        pair.host.wait_until(
            lambda: (
                main_pid(pair) not in (0, pid)
                and (show(pair, "ActiveState")["ActiveState"] == "active")
            ),
            60,
            "another one",
        )
    assert traffic.gaps == []
    assert pair.refresh() == ""
    assert_same(before, pair.kernel())


STUCK = """\
import os
from ec2net.core.plugins.api import hookimpl

@hookimpl
def ec2net_adjust_intent(intent, facts):
    while os.path.exists("/etc/stuck"):
        pass
"""

PLUGIN = "/usr/lib/python3/dist-packages"


def test_the_watchdog_ends_a_loop_that_hangs_and_the_next_start_converges(boot: Boot) -> None:
    files = {
        f"{PLUGIN}/ec2net_stuck.py": STUCK,
        f"{PLUGIN}/ec2net_stuck-1.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: ec2net-stuck\nVersion: 1\n"
        ),
        f"{PLUGIN}/ec2net_stuck-1.dist-info/entry_points.txt": "[ec2net]\nstuck = ec2net_stuck\n",
        "/etc/ec2net/ec2net.toml.d/20-stuck.toml": (
            '[plugins]\nenabled = ["stuck"]\n[timeouts]\npass = 3\nlock = 1\nlink = 5\n'
            "[rollback]\nafter = 0\n"
        ),
        "/etc/systemd/system/ec2net.service.d/quick.conf": "[Service]\nWatchdogSec=3\n",
    }
    with boot(files=files) as instance:
        host, pid, cursor = instance.host, main_pid(instance), instance.host.cursor()
        host.write("/etc/stuck", "")
        poking = ["systemd-run", "--unit=poke", "ec2net", "refresh"]
        host.run(poking)
        host.wait_for_message("Watchdog timeout", 60, since=cursor)
        host.run(["rm", "/etc/stuck"])
        host.wait_until(
            lambda: (
                main_pid(instance) not in (0, pid)
                and show(instance, "ActiveState")["ActiveState"] == "active"
            ),
            60,
            "another one",
        )
        eni = instance.attach("ens9", ipv4=2)
        instance.complete(eni)
        assert show(instance, "NRestarts")["NRestarts"] in ("1", "2")


@contextmanager
def stopped(instance: LabInstance, what: str) -> Iterator[None]:
    """SIGSTOP for the processes of this name in the host, or of the VPC's dnsmasq."""
    find = ["pkill", "-STOP", "-f" if "/" in what else "-x", what]
    instance.host.run(find)
    try:
        yield
    finally:
        instance.host.run([*find[:1], "-CONT", *find[2:]])


STALLED = {
    "IMDS": "",
    "the network manager": "systemd-network|NetworkManager",
    "D-Bus": "dbus-daemon",
    "DHCP": "",
}


def test_a_repair_is_logged_with_fields_and_counted(pair: LabInstance) -> None:
    """As in docs/observation.md: the daemon's sandbox allows writing to the documented path."""
    config = "/etc/ec2net/ec2net.toml.d/30-metrics.toml"
    pair.host.write(config, 'metrics_file = "/run/ec2net/ec2net.prom"\n')
    pair.host.run(["systemctl", "reload", "ec2net.service"])
    pair.refresh()
    cursor = pair.host.cursor()
    pair.vpc.guest.ip_each(["rule del priority 9999"])
    pair.host.wait_for_message("ens6: + rule 9999", 60, since=cursor)
    asked = (f"ENI_ID={pair.vpc.enis[1].eni_id}", "ACTION=add", "LINK=ens6")
    said = pair.host.told(*asked, "--unit=ec2net.service", since=cursor)
    assert said
    assert all(entry["MESSAGE"].startswith("ens6: + rule 9999: from ") for entry in said)
    assert {entry["REASON"] for entry in said} <= {"look", "poll", "enis"}
    pair.refresh()
    lines = pair.host.read("/run/ec2net/ec2net.prom").splitlines()
    assert f"ec2net_repairs_total {len(said)}" in lines
    pair.host.run(["rm", config, "/run/ec2net/ec2net.prom", "/run/ec2net/metrics.json"])
    pair.host.run(["systemctl", "reload", "ec2net.service"])
    pair.refresh()


@pytest.mark.parametrize("what", list(STALLED))
def test_a_process_that_hangs_delays_no_other(pair: LabInstance, what: str) -> None:
    """A process is stopped for a while: deadlines hold and the watchdog is fed. The configuration
    stays, and one pass after the process continues, new ENIs are complete."""
    pair.refresh()
    before, cursor, pid = pair.kernel(), pair.host.cursor(), main_pid(pair)
    eni = pair.attach("ens41", ipv4=2, presence=Presence.IMDS_ONLY)
    pair.vpc.reserve(eni.subnet)
    with Traffic(pair.vpc, pair.vpc.enis[:2]) as traffic:
        with stall(pair, what):
            began = time.monotonic()
            pair.vpc.plug(eni)
            while time.monotonic() - began < STALL:
                # Drift of a live rule is repaired whichever process is stopped.
                pair.vpc.guest.ip_each(["rule del priority 9999"])
                pair.host.wait_until(
                    lambda: rules(pair.kernel()) >= rules(before), STALL + 60, "repaired"
                )
                time.sleep(STALL / 4)
        pair.complete(eni)
    assert traffic.gaps == []
    assert main_pid(pair) == pid
    pair.vpc.detach(eni)
    pair.until_unit("ens41", "inactive")
    said = [entry.message for entry in pair.host.journal(since=cursor)]
    assert [line for line in said if "Watchdog timeout" in line] == []
    assert rules(pair.kernel()) == rules(before)
    assert pair.unreachable() == []


def rules(state: State) -> set[str]:
    return {*state["rules 4"], *state["rules 6"]}


@contextmanager
def stall(pair: LabInstance, what: str) -> Iterator[None]:
    if what == "IMDS":
        with pair.vpc.imds.fault(Fault(Hang())):
            yield
    elif what == "DHCP":
        servers = [server.pid for server in pair.vpc.servers.values()]
        for pid in servers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in servers:
                os.kill(pid, signal.SIGCONT)
    else:
        with stopped(pair, STALLED[what]):
            yield


def test_a_thousand_races_leave_one_process(boot: Boot) -> None:
    """R17, the seed bug: a third moves into another namespace, some while udev is deaf. Memory and
    descriptors as at the start, nothing on disk, in units or in the kernel, no gap in traffic."""
    chance = random.Random(20261125)
    with boot() as pair:
        pair.attach("ens6", **MANY)
        pair.complete()
        crowd = pair.vpc.add_subnet("10.0.128.0/17", "2001:db8:0:80::/64")
        race(pair.vpc, crowd, NAMES, 100, chance)
        nothing_left(pair)
        pair.refresh()
        kernel, memory, fds = pair.kernel(), status_of(pair, "VmRSS"), descriptors(pair)
        files, pid = pair.files().keys(), main_pid(pair)
        began, moved = time.monotonic(), 0
        with Traffic(pair.vpc, pair.vpc.enis) as traffic:
            for part in range(10):
                if part == 5:
                    with udev_stopped(pair):
                        moved += race(pair.vpc, crowd, NAMES, RACES // 10, chance).moved
                else:
                    moved += race(pair.vpc, crowd, NAMES, RACES // 10, chance).moved
        took = time.monotonic() - began
        nothing_left(pair)
        pair.refresh()  # as before: afterwards the daemon waits, and no pass has an open descriptor
        assert traffic.gaps == []
        assert moved >= RACES / 4
        assert main_pid(pair) == pid
        assert status_of(pair, "Threads") == 1
        assert descriptors(pair) == fds
        assert status_of(pair, "VmRSS") < 1.1 * memory
        assert pair.files().keys() == files
        assert [unit for unit in pair.eni_units() if unit.startswith("ec2net")] == []
        assert_same(kernel, pair.kernel())
        assert pair.unreachable() == []
        after = status_of(pair, "VmRSS")
        print(f"{pair.setting}: {RACES} races in {took:.0f} s; {memory} KiB, then {after} KiB")


def nothing_left(pair: LabInstance) -> None:
    names = re.compile(r"ens1\d\d")
    pair.host.wait_until(
        lambda: (
            not [path for path in pair.files() if names.search(path)]
            and pair.vpc.guest.run(["ip", "-o", "rule"]).stdout.count("lookup 100") <= 8
        ),
        60,
        "nothing left",
    )


def test_a_stopped_or_masked_service_is_the_first_line_of_status(pair: LabInstance) -> None:
    host = pair.host
    assert "ec2net.service" not in host.ec2net("status", check=False).stdout.partition("\n")[0]
    host.run(["systemctl", "stop", "ec2net.service"])
    try:
        stopped = host.ec2net("status", check=False)
        found = host.ec2net("doctor", check=False)
        host.run(["systemctl", "mask", "ec2net.service"])
        masked = host.ec2net("status", check=False)
    finally:
        host.run(["systemctl", "unmask", "ec2net.service"])
        host.run(["systemctl", "start", "ec2net.service"])
    assert stopped.stdout.startswith("! ec2net.service is stopped: "), stopped.stdout
    assert " ago); see why: journalctl -b -u ec2net.service" in stopped.stdout
    assert stopped.returncode == masked.returncode == found.returncode == 1
    assert masked.stdout.startswith("! ec2net.service is masked: "), masked.stdout
    assert "!! error [service] ec2net.service: is stopped" in found.stdout
    pair.until_well()
    disabled = host.run(["systemctl", "disable", "ec2net.service"], check=False)
    try:
        runs = host.ec2net("status", check=False)
    finally:
        host.run(["systemctl", "enable", "ec2net.service"])
    assert disabled.returncode == 0
    assert runs.stdout.startswith("! ec2net.service runs, but is disabled: "), runs.stdout
    assert runs.returncode == 1
    assert host.ec2net("status").returncode == 0
