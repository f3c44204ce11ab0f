# SPDX-License-Identifier: Apache-2.0
"""The units: sandboxed, limited, ordered, and the purpose of each."""

import re
import time

import pytest
from lab_boot import Boot
from lab_instance import LabInstance, late

from ec2net.core.simulation.vpc.imds import Propagation

pytestmark = [pytest.mark.lab, pytest.mark.mode("on-demand")]

SERVICES = [
    "ec2net.service",
    "ec2net@ens5.service",
    "ec2net-early.service",
    "ec2net-primary.service",
    "ec2net-refresh.service",
    "ec2net-hostname.service",
    "ec2net-udev@ens5.service",
]
FILES = [
    *("ec2net@.service", "ec2net-early.service", "ec2net-primary.service"),
    *("ec2net-refresh.service", "ec2net-refresh.timer", "ec2net-hostname.service"),
    *("ec2net-udev@.service", "ec2net.service", "ec2net-on-demand.target"),
]
EXPOSURE = 2.0


def show(instance: LabInstance, unit: str, *properties: str) -> dict[str, str]:
    command = ["systemctl", "show", unit, *(f"--property={name}" for name in properties)]
    lines = instance.host.run(command).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_is_sandboxed_and_limited(pair: LabInstance, service: str) -> None:
    """R21: exposure by systemd's own measure; each start, stop and restart has a time limit."""
    said = pair.host.run(["systemd-analyze", "security", "--no-pager", service]).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= EXPOSURE, said
    names = ("TimeoutStartUSec", "TimeoutStopUSec", "MemoryMax", "TasksMax", "Restart", "Type")
    values = show(pair, service, *names, "CollectMode")
    waited = ("ec2net.service", "ec2net-primary.service")
    assert values["Type"] == ("notify" if service in waited else "oneshot")
    assert values["CollectMode"] == "inactive-or-failed"
    for name in ("TimeoutStartUSec", "TimeoutStopUSec", "MemoryMax", "TasksMax"):
        assert values[name] != "infinity", name
    if values["Restart"] != "no":
        bound = show(pair, service, "StartLimitBurst", "StartLimitIntervalUSec", "RestartUSec")
        assert 0 < int(bound["StartLimitBurst"]) < 10
        assert bound["StartLimitIntervalUSec"] not in ("0", "infinity")


def test_systemd_analyze_reports_nothing(pair: LabInstance) -> None:
    paths = [f"/usr/lib/systemd/system/{name}" for name in FILES]
    done = pair.host.run(["systemd-analyze", "verify", "--man=no", *paths], check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_secondary_that_stays_pending_does_not_delay_network_online(boot: Boot) -> None:
    """R21: no unit waits for the secondary at boot; the primary is complete before
    network-online."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        never = Propagation(listed=0.0, settled=None)
        instance.vpc.attach(instance.two, device=1, propagation=never)

    files = {
        "/etc/systemd/system/wants-online.service": (
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
            "[Install]\nWantedBy=multi-user.target\n"
        ),
        "/etc/systemd/system-preset/10-test.preset": "enable wants-online.service\n",
    }
    with boot(before=enis, files=files, complete=False) as instance:
        host = instance.host
        online = ["systemctl", "is-active", "network-online.target"]
        host.wait_until(
            lambda: host.run(online, check=False).stdout.strip() == "active", 60, "network-online"
        )
        assert instance.unreachable(instance.primary) == []
        assert instance.unit_state("ens6") == "activating"
        moments = {
            unit: int(show(instance, unit, "ActiveEnterTimestampMonotonic").popitem()[1])
            for unit in ("ec2net-primary.service", "network-online.target")
        }
        assert 0 < moments["ec2net-primary.service"] <= moments["network-online.target"]


def test_a_host_without_a_hostname_gets_the_one_from_imds(boot: Boot) -> None:
    """Only where the unit is enabled, and only if the host has no name yet."""
    with boot() as instance:
        host = instance.host
        started = ["systemctl", "start", "ec2net-hostname.service"]
        name = host.read("/etc/hostname").strip()
        host.run(started)
        assert host.read("/etc/hostname").strip() == name  # the condition fails
        host.run(["sh", "-c", "umount /etc/hostname 2>/dev/null; : >/etc/hostname"])
        host.run(started)
        wanted = instance.vpc.imds.tree()["local-hostname"]
        assert host.read("/etc/hostname").strip() == wanted
        assert host.run(["hostname"]).stdout.strip() == wanted


def test_the_timer_refreshes_in_time(boot: Boot) -> None:
    """R27: each minute, to the second, and a change in IMDS is applied without a command."""
    quick = "[Timer]\nOnActiveSec=\nOnActiveSec=3\nOnUnitInactiveSec=4\n"
    files = {
        "/etc/systemd/system/ec2net-refresh.timer.d/quick.conf": quick + "RandomizedDelaySec=0\n"
    }
    with boot(files=files, timer=True) as instance:
        timer = show(instance, "ec2net-refresh.timer", "AccuracyUSec", "ActiveState")
        assert timer == {"AccuracyUSec": "1s", "ActiveState": "active"}
        before = instance.host.cursor()
        address = instance.primary.assign_ipv4()
        took = instance.host.wait_until(
            lambda: str(address) in instance.host.run(["ip", "addr"]).stdout, 60, "a refresh"
        )
        print(f"{instance.setting}: a timer of 4 s brought it after {took:.1f} s")
        instance.host.wait_for_message(f"+ address {address}", 60, since=before)
        cursor = instance.host.cursor()
        instance.host.wait_for_message("Finished ec2net-refresh.service", 60, since=cursor)
        said = [e.message for e in instance.host.journal(since=cursor) if e.identifier == "ec2net"]
        assert said == []


PASSES = 10


def test_the_journal_can_be_filtered_by_eni(pair: LabInstance) -> None:
    """A pass's messages belong to its unit, although the process has ended when journald resolves
    the unit."""
    eni, cursor = pair.vpc.enis[1], pair.host.cursor()
    for _ in range(PASSES):
        pair.vpc.guest.ip_each(["rule del priority 9999"])
        pair.host.run(
            ["systemctl", "reset-failed", "ec2net-refresh.service"]
        )  # the count of starts
        pair.host.run(["systemctl", "start", "ec2net-refresh.service"])
    asked = (f"ENI_ID={eni.eni_id}", "ACTION=add", "--unit=ec2net-refresh.service")
    entries = pair.host.told(*asked, since=cursor)
    names = ("MESSAGE", "LINK", "REASON", "BACKEND", "PRIORITY", "SYSLOG_IDENTIFIER")
    told = [tuple(entry[name] for name in names) for entry in entries]
    assert len(told) == PASSES
    for message, *fields in told:
        assert message.startswith("ens6: + rule 9999: from ")
        assert fields == ["ens6", "refresh", pair.setting.backend, "6", "ec2net"]


def test_a_quiet_host_reads_imds_seldom(boot: Boot) -> None:
    """One ENI with one address: four passes of five are left out, without a question to IMDS."""

    def plain(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=1, ipv6=0)

    with boot(before=plain) as instance:
        instance.host.run(["systemctl", "start", "ec2net-refresh.service"])  # this pass runs
        instance.vpc.imds.clear_log()
        instance.host.run(["systemctl", "start", "ec2net-refresh.service"])
        assert instance.vpc.imds.count() == 0
        instance.refresh()
        assert instance.vpc.imds.count() > 0


def test_a_start_that_fails_is_retried_a_limited_number_of_times(boot: Boot) -> None:
    """IMDS never lists the ENI: systemd gives up after StartLimitBurst starts, with no process
    left, and a pass of the timer configures the ENI once IMDS lists it."""
    files = {
        "/etc/ec2net/ec2net.toml.d/20-short.toml": "[timeouts]\nlink = 1\n",
        "/etc/systemd/system/ec2net@.service.d/quick.conf": "[Service]\nRestartSec=0.1\n",
    }
    with boot(files=files) as instance:
        burst = int(show(instance, "ec2net@ens9.service", "StartLimitBurst")["StartLimitBurst"])
        cursor = instance.host.cursor()
        eni = instance.attach("ens9", propagation=late(60.0))
        instance.host.wait_for_message("is still pending", 60, since=cursor)
        instance.host.wait_for_message("Start request repeated too quickly", 60, since=cursor)
        assert instance.own_processes() == []
        time.sleep(1)
        said = [entry.message for entry in instance.host.journal(since=cursor)]
        starts = [line for line in said if line.startswith("Starting ec2net@ens9.service")]
        assert len(starts) == burst
        instance.vpc.settle(eni)
        instance.until_well()
        assert instance.unreachable(eni) == []
        instance.vpc.detach(eni)
        instance.host.wait_until(
            lambda: not [unit for unit in instance.eni_units() if "ens9" in unit], 60
        )
