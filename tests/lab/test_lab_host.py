# SPDX-License-Identifier: Apache-2.0
"""The lab itself, which the other tests depend on, and the netlink backend with networkd."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import TOP
from lab_cgroup import ControlGroup
from lab_host import LabHost
from lab_root import LAYERS, RELEASES, Release

from ec2net.core.simulation.vpc import sandbox
from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp
from ec2net.core.simulation.vpc.eni import Detach

pytestmark = pytest.mark.lab

PRIMARY = """\
[Match]
Name=ens5
[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
[DHCPv4]
RouteMetric=512
[IPv6AcceptRA]
RouteMetric=512
[DHCPv6]
WithoutRA=solicit
"""
NOBODYS = """\
[Match]
Name=ens6 ens7 ens8
[Link]
Unmanaged=yes
"""
FILES = {
    "/etc/systemd/network/10-primary.network": PRIMARY,
    "/etc/systemd/network/20-nobodys.network": NOBODYS,
    "/etc/systemd/networkd.conf.d/80-ec2net.conf": (
        TOP / "systemd/networkd.conf.d/80-ec2net.conf"
    ).read_text(),
    "/etc/ec2net/ec2net.toml": 'backend = "netlink"\n',
}
ANSWER_LIMIT = 10.0
"""Seconds: the simulated bridge may lose the first packets of a new link."""
SYSTEMD = {Release.BOOKWORM: "252", Release.TRIXIE: "257"}


@pytest.fixture(scope="module", autouse=True)
def _inside() -> None:
    sandbox.enter()


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.value)
def host(request: pytest.FixtureRequest) -> Iterator[LabHost]:
    """A host with a primary ENI that networkd configures, and without a running ec2net."""
    with VpcWithDhcp(seed=None) as vpc:
        one = vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64")
        vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64")
        vpc.attach(one, device=0, ipv4=4, ipv6=2, ipv4_prefixes=1, ipv6_prefixes=1)
        with LabHost(vpc, request.param, files=FILES) as booted:
            booted.wait_until(lambda: leased(booted), 60, "the primary's leases and routes")
            yield booted


def leased(host: LabHost) -> bool:
    """Whether the primary has what DHCP and router advertisements give."""
    shown = host.run(["sh", "-c", "ip addr show dev ens5; ip route; ip -6 route"]).stdout
    wanted = ("10.0.1.4/24", "2001:db8:0:1::4/128", "default via 10.0.1.1", "via fe80:ec2::1")
    return all(part in shown for part in wanted)


def test_a_real_systemd_runs_without_failed_units(host: LabHost) -> None:
    """PID 1 of the release's systemd version, udevd, networkd; no unit waited in vain."""
    assert host.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    version = host.run(["systemctl", "--version"]).stdout.split()
    assert version[:2] == ["systemd", SYSTEMD[host.release]]
    for unit in ("systemd-udevd", "systemd-networkd", "systemd-resolved"):
        assert host.run(["systemctl", "is-active", unit]).stdout.strip() == "active"
    assert host.processes()[0].pid == 1
    assert host.boot_seconds < 60  # systemd waits 90 s for a missing device


def test_the_program_runs_on_the_python_of_the_distribution(host: LabHost) -> None:
    """R46: the distribution's packages suffice, without a bundled library or one from an index."""
    shown = host.run(
        [
            *("/usr/bin/python3", "-c"),
            "import ec2net, pluggy, requests, pyroute2; print(ec2net.__file__, pyroute2.__file__)",
        ]
    ).stdout.split()
    assert all(path.startswith("/usr/lib/python3/dist-packages/") for path in shown)
    assert "refresh" in host.ec2net("--help").stdout


def test_networkd_configures_the_primary_as_in_ec2(host: LabHost) -> None:
    """One address by DHCP, one by DHCPv6, none by autoconfiguration; MTU, routers and servers."""
    status = host.networkctl("ens5")
    assert status["State"] == "routable (configured)"
    assert status["MTU"].startswith("9001 ")
    assert status["DNS"].split() == ["169.254.169.253", "fd00:ec2::253"]
    [link] = host.ip("-6", "addr", "show", "dev", "ens5", "scope", "global")
    assert [a["local"] for a in link["addr_info"] if a.get("local")] == ["2001:db8:0:1::4"]
    kinds = [m.kind for m in host.vpc.dhcp_messages(host.vpc.enis[0])]
    assert kinds[:4] == ["DHCPDISCOVER", "DHCPOFFER", "DHCPREQUEST", "DHCPACK"]


@pytest.mark.parametrize("how", list(Detach), ids=lambda how: how.value)
def test_a_link_appears_and_disappears_as_a_device_unit(host: LabHost, how: Detach) -> None:
    """Device units, which units bind to; udev knows an ENI by its driver."""
    unit = "sys-subsystem-net-devices-ens8.device"

    def state() -> str:
        return host.run(["systemctl", "is-active", unit], check=False).stdout.strip()

    assert state() == "inactive"
    eni = host.vpc.attach(host.vpc.subnets[1], "ens8")
    host.wait_until(lambda: state() == "active", 60, f"{unit} active")
    properties = host.run(["udevadm", "info", "/sys/class/net/ens8"]).stdout
    assert "E: ID_NET_DRIVER=veth\n" in properties
    assert "E: EC2NET_LINK=1\n" in properties
    host.vpc.detach(eni, how)
    host.wait_until(lambda: state() == "inactive", 60, f"{unit} inactive")
    if how is Detach.MOVE:
        host.vpc.detach(eni)


def test_the_netlink_backend_works_with_networkd(host: LabHost) -> None:
    """networkd leases the primary's first addresses and does not manage ens6; ec2net does the rest,
    and every address works in both directions. A restart of networkd removes nothing of it (C-b,
    R4), and on 257 no nexthop, which the primary's IPv6 default route depends on."""
    vpc = host.vpc
    eni = vpc.attach(vpc.subnets[1], "ens6", ipv4=4, ipv6=2, ipv4_prefixes=1, ipv6_prefixes=1)
    dropped = vpc.dropped()
    host.ec2net("refresh")
    enis = (vpc.enis[0], eni)
    ticks = vpc.check_in(*enis, timeout=ANSWER_LIMIT, patient=True) + vpc.check_out(
        *enis, timeout=ANSWER_LIMIT, patient=True
    )
    assert [tick for tick in ticks if not tick.ok] == []
    assert vpc.dropped() == dropped
    assert host.ec2net("plan").stdout == "Nothing to change.\n"
    secondary = ("ip -br addr show dev ens6", "ip rule", "ip -6 rule", "ip route show table 10001")
    before = host.run(["sh", "-c", ";".join(secondary)]).stdout
    assert "lookup 10001" in before
    cursor = host.cursor()
    host.run(["systemctl", "restart", "systemd-networkd"])
    host.wait_for_message("ens5: DHCPv4 address", 60, since=cursor)
    # networkd 257 restores a route that it removed with a nexthop only later
    # (docs/networkd-measured.md).
    host.wait_until(lambda: leased(host), 10, "the leases after the restart")
    assert host.run(["sh", "-c", ";".join(secondary)]).stdout == before
    assert [e for e in host.journal(since=cursor) if "ens6: Configuring" in e.message] == []
    vpc.detach(eni)
    host.ec2net("refresh")
    assert "10001" not in host.run(["sh", "-c", ";".join(secondary[1:3])]).stdout


def test_a_reboot_keeps_files_and_no_kernel_state(host: LabHost) -> None:
    """A reboot like a real one: /run is empty, rules are removed, links are new; /etc stays."""
    boot = host.read("/proc/sys/kernel/random/boot_id")
    host.run(["sh", "-c", "touch /run/marker /etc/marker; ip rule add from 192.0.2.1 lookup 77"])
    index = host.ip("link", "show", "ens5")[0]["ifindex"]
    host.reboot()
    host.wait_until(lambda: leased(host), 60, "the primary's leases after the reboot")
    assert host.run(["ls", "/run/marker"], check=False).returncode != 0
    assert host.run(["ls", "/etc/marker"]).stdout == "/etc/marker\n"
    assert "192.0.2.1" not in host.run(["ip", "rule"]).stdout
    assert host.ip("link", "show", "ens5")[0]["ifindex"] != index
    assert boot  # the machine's own, since the kernel is
    rules = host.run(["ip", "rule"]).stdout.split("\n")
    assert [rule.split(":")[0] for rule in rules if rule] == ["0", "32766", "32767"]


def test_a_stopped_host_leaves_nothing() -> None:
    """No process, control group, mount or layer."""
    with VpcWithDhcp(prefix="2-") as vpc, LabHost(vpc, Release.BOOKWORM) as host:
        leader, groups, name = host.leader, list(host._group.paths), host.name
        assert all(group.exists() for group in groups)
    assert not Path("/proc", str(leader)).exists()
    assert not any(group.exists() for group in groups)
    assert name not in Path("/proc/self/mounts").read_text()
    assert not (LAYERS / name).exists()


_BOOT_AND_WAIT = """\
import sys, time
from ec2net.core.simulation.vpc import sandbox
sandbox.enter()
from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp
from lab_host import LabHost
from lab_root import Release
with VpcWithDhcp() as vpc:
    vpc.add_subnet("10.0.1.0/24")
    with LabHost(vpc, Release.BOOKWORM) as host:
        print(host.leader, *(server.pid for server in vpc.servers.values()), flush=True)
        print(*host._group.paths, flush=True)
        time.sleep(600)
"""


def test_a_killed_test_stops_its_hosts() -> None:
    """Nothing of a run that was killed outlives it; its control groups go at the next start."""
    folders = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", _BOOT_AND_WAIT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": folders},
    ) as run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        groups = [Path(path) for path in run.stdout.readline().split()]
        assert len(pids) == 2
        assert groups
        watched = [os.pidfd_open(pid) for pid in pids]
        run.send_signal(signal.SIGKILL)
        run.wait(60)
    for pid, watch in zip(pids, watched, strict=True):
        assert select.select([watch], [], [], 60)[0], f"process {pid} is still there"
        os.close(watch)
    end = time.monotonic() + 60
    while any(group.exists() for group in groups):  # the file system sends no event
        assert time.monotonic() < end, groups
        time.sleep(0.05)


def test_a_group_without_a_guardian_is_removed() -> None:
    """The next host ends the leftovers of a run that was killed with all its processes."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait(60)
    group = ControlGroup()
    left = [path.with_name(f"ec2net-lab-{gone.pid}-1") for path in group.paths]
    for path in left:
        path.mkdir()
    with subprocess.Popen(["sleep", "600"]) as orphan:
        for path in left:
            (path / "cgroup.procs").write_text(str(orphan.pid))
        ControlGroup().remove()
        assert orphan.wait(60) == -signal.SIGKILL
    group.remove()
    assert not any(path.exists() for path in (*left, *group.paths))
