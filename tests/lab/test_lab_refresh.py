# SPDX-License-Identifier: Apache-2.0
"""IMDS changes, or does not: the next pass follows, and no connection is disturbed."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kernel_state import KernelEvents, assert_same
from lab_instance import LabInstance
from probe import LONGEST, Streams, Traffic

pytestmark = pytest.mark.lab

CHANGES = 100
AT_ONCE = 10
ATTEMPTS = 3


CHANGING = {
    "networkd": (r"Member=(Reload|Reconfigure)", "interface='org.freedesktop.network1.Manager'"),
    "networkmanager": (
        r"Member=(Reload|Reapply|Activate|AddAnd|Update|Deactivate|Disconnect)",
        "destination='org.freedesktop.NetworkManager'",
    ),
}
"""Calls of a manager's interface that change something, and a match for all of them."""

LAST = {
    "networkd": ("network1", "network1.Manager", "ListLinks"),
    "networkmanager": ("NetworkManager", "NetworkManager", "GetAllDevices"),
}
"""A call without effect that the program never makes."""


@contextmanager
def reloads(pair: LabInstance) -> Iterator[list[str]]:
    """Recorded calls, by any program, that make the network manager change something."""
    host, backend = pair.host, pair.setting.backend
    changing, match = CHANGING[backend]
    name, interface, last = LAST[backend]
    command = ["nsenter", "--target", str(host.leader), "--all", "--", "busctl", "monitor"]
    found: list[str] = []
    monitor = subprocess.Popen(
        [*command, f"--match=type='method_call',{match}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert monitor.stdout is not None
    try:
        monitor.stdout.readline()  # the monitor listens
        yield found
        # The monitor sees this call after all others.
        path = f"/org/freedesktop/{name}"
        busctl = ["busctl", "call", f"org.freedesktop.{name}", path]
        host.run([*busctl, f"org.freedesktop.{interface}", last])
        for line in monitor.stdout:
            if f"Member={last}" in line:
                break
            if re.search(changing, line):
                found.append(line.strip())
    finally:
        monitor.kill()
        monitor.wait()
        monitor.stdout.close()


def test_the_monitor_of_reloads_detects_one(pair: LabInstance) -> None:
    """The other tests depend on this."""
    with reloads(pair) as seen:
        pair.setting.reload(pair.host)
    assert len(seen) == 1


def assert_without_a_gap(act: Callable[[], Traffic]) -> None:
    """No attempt has a gap, and one attempt is dense enough to show any gap: now and then a busy
    machine delays connections beyond 20 ms."""
    longest: list[float] = []
    for _ in range(ATTEMPTS):
        traffic = act()
        assert traffic.gaps == []
        longest.append(traffic.longest)
        if longest[-1] < LONGEST:
            return
    pytest.fail(f"seconds without a connection in each attempt: {longest}")


@pytest.mark.serial
@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_address_changes_in_imds_lose_no_packet_of_another_address(
    pair: LabInstance, role: str
) -> None:
    """R14, R15, R16: the next pass applies assigned and unassigned addresses live: no lease is
    lost, no manager is reloaded, and connections to and from every other address succeed every 20
    ms."""
    eni = pair.primary if role == "primary" else pair.secondary
    before, cursor = pair.kernel(), pair.host.cursor()

    def change() -> Traffic:
        with reloads(pair) as seen, Traffic(pair.vpc, pair.vpc.enis) as traffic:
            ipv4, ipv6 = eni.assign_ipv4(), eni.assign_ipv6()
            prefixes = eni.assign_ipv4_prefix(), eni.assign_ipv6_prefix()
            said = pair.refresh()
            for address in (ipv4, ipv6):
                assert f"+ address {address}/" in said
            assert pair.unreachable() == []
            eni.unassign_ipv4(ipv4)
            eni.unassign_ipv6(ipv6)
            eni.unassign_ipv4_prefix(prefixes[0])
            eni.unassign_ipv6_prefix(prefixes[1])
            said = pair.refresh()
            for address in (ipv4, ipv6):
                assert f"- address {address}/" in said
        assert seen == []
        return traffic

    assert_without_a_gap(change)
    assert_same(before, pair.kernel())
    assert pair.bounces(cursor) == []
    assert pair.configured("ens5", cursor) + pair.configured("ens6", cursor) == []


def test_a_hundred_changes_lose_no_connection(pair: LabInstance) -> None:
    """R14, R16: addresses of one ENI are assigned and unassigned. Its first address stays first,
    and none is a secondary of another; streams over every other address continue, and connections
    every 20 ms succeed."""
    eni, first = pair.secondary, ipv4s(pair, "ens6")
    cursor = pair.host.cursor()
    with Streams(pair.vpc, pair.vpc.enis) as streams, Traffic(pair.vpc, pair.vpc.enis) as traffic:
        for _ in range(CHANGES // 2 // AT_ONCE):
            more = [eni.assign_ipv4() for _ in range(AT_ONCE)]
            pair.refresh()
            held = ipv4s(pair, "ens6")
            assert held[: len(first)] == first
            assert {info["local"] for info in held[len(first) :]} == set(map(str, more))
            streams.exchange()
            for address in more:
                eni.unassign_ipv4(address)
            pair.refresh()
            assert ipv4s(pair, "ens6") == first
            streams.exchange()
    assert traffic.gaps == []
    assert pair.bounces(cursor) == []


@pytest.mark.backend("networkd")
def test_a_renewed_lease_changes_nothing(pair: LabInstance) -> None:
    """R15, ENU#68: no item is removed and added again; the next pass has no changes."""
    before, cursor, files = pair.kernel(), pair.host.cursor(), pair.files()
    with reloads(pair) as seen, Traffic(pair.vpc, pair.vpc.enis) as traffic:
        for eni in pair.vpc.enis:
            asked = len(pair.vpc.dhcp_messages(eni))
            pair.host.run(["networkctl", "renew", eni.name])
            end = time.monotonic() + 60
            while len(pair.vpc.dhcp_messages(eni)) < asked + 2:  # a request and its answer
                assert time.monotonic() < end, pair.vpc.dhcp_messages(eni)
                time.sleep(0.05)
            kinds = {message.kind for message in pair.vpc.dhcp_messages(eni)[asked:]}
            assert kinds == {"DHCPREQUEST", "DHCPACK"}
        assert pair.refresh() == ""
    assert traffic.gaps == []
    assert seen == []
    assert_same(before, pair.kernel())
    assert pair.files() == files
    assert pair.bounces(cursor) == []


def ipv4s(instance: LabInstance, link: str) -> list[dict[str, Any]]:
    """Addresses in the kernel's order, with their flags; a lease's seconds decrease with time."""
    found = instance.host.ip("-4", "addr", "show", "dev", link)
    held = [info for entry in found for info in entry.get("addr_info", ())]
    assert not [info for info in held if info.get("secondary")]
    return [{k: v for k, v in info.items() if not k.endswith("_life_time")} for info in held]


@pytest.mark.serial
def test_another_kind_of_eni_changes_nothing_for_the_others(pair: LabInstance) -> None:
    """A hotplug, and its detach, may reload the network manager: no other link is disturbed
    (C-c)."""
    cursor = pair.host.cursor()

    def come_and_go() -> Traffic:
        with Traffic(pair.vpc, pair.vpc.enis) as traffic:
            eni = pair.attach_many("ens40")
            pair.vpc.detach(eni)
            pair.until_unit("ens40", "inactive")
        return traffic

    assert_without_a_gap(come_and_go)
    assert pair.configured("ens5", cursor) + pair.configured("ens6", cursor) == []
    assert pair.bounces(cursor, but=["ens40"]) == []


RTM_NEWADDR = 20

ACTIONS = {
    "refresh": ["ec2net", "refresh"],
    "start": ["ec2net", "start", "ens6"],
    "refresh unit": ["systemctl", "start", "ec2net-refresh.service"],
    "units restarted": [
        *("systemctl", "try-restart", "ec2net@ens5.service", "ec2net@ens6.service"),
        *("ec2net-primary.service", "ec2net-early.service", "ec2net.service"),
    ],
    "presets and daemon-reload": [
        *("sh", "-c", "systemctl daemon-reload && systemctl preset ec2net-early.service"),
    ],
    "udev triggered": [
        *("sh", "-c", "udevadm control --reload && udevadm trigger --settle --subsystem-match=net"),
    ],
}


@pytest.mark.parametrize("action", list(ACTIONS))
def test_commands_without_changes_do_nothing(pair: LabInstance, action: str) -> None:
    """R15: start, restart, refresh and a package's upgrade change neither the kernel nor networkd;
    a refresh or a start writes no file."""
    pair.refresh()
    before, files, cursor = pair.kernel(), pair.files(), pair.host.cursor()
    with reloads(pair) as seen, KernelEvents(pair.vpc.guest) as events:
        pair.host.run(ACTIONS[action])
        changes = events.taken() if "udev" not in action else []
    assert seen == []
    # The network manager may renew the lease of an existing address at that moment.
    assert [kind for kind in changes if kind != RTM_NEWADDR] == []
    assert_same(before, pair.kernel())
    assert pair.bounces(cursor) == []
    assert pair.configured("ens5", cursor) + pair.configured("ens6", cursor) == []
    assert pair.files() == files


def test_a_pass_without_news_logs_nothing(pair: LabInstance) -> None:
    """R28: ec2net logs no line, in any minute."""
    pair.refresh()
    cursor = pair.host.cursor()
    pair.host.run(["systemctl", "start", "ec2net-refresh.service"])
    said = pair.host.journal(since=cursor)
    assert [entry.message for entry in said if entry.identifier == "ec2net"] == []
    assert any("Finished ec2net-refresh.service" in entry.message for entry in said)
