# SPDX-License-Identifier: Apache-2.0
"""``ec2net doctor`` reports nothing on a healthy host, and each fault alone on a faulty one."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import pytest
from instance import MANY, Instance, below_run, primary, subnets

from ec2net.core.doctor.units import masked
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import recognise
from ec2net.core.simulation.vpc.imds_faults import Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

BOUND = 60.0
"""Seconds on a busy machine; the command's own deadline is 15."""


@cache
def machines_own() -> frozenset[str]:
    """Subjects of the machine's files in /etc, which the sandbox shows as well."""
    machine = Environment()
    tools = (one.tool.value for one in recognise(machine))
    return frozenset((*tools, *(one.subject for one in masked(machine))))


@pytest.fixture(scope="module")
def healthy(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with SimulatedVpc(prefix="doctor-", seed=None) as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first)
        vpc.attach(second, device=1, **MANY)
        instance.ec2net("refresh")
        machines_own()  # before /run has anything
        yield instance


def findings(instance: Instance) -> set[tuple[str, str, str]]:
    """Severity, check and subject of what it finds about the simulated host."""
    began = time.monotonic()
    done = instance.ec2net("doctor", "--json", status=None)
    assert time.monotonic() - began < BOUND
    document: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    found = [one for one in document if one["subject"] not in machines_own()]
    print(done.stdout)
    assert done.returncode == int(any(one["severity"] == "error" for one in document))
    assert all(one["cause"] and one["remedy"] for one in found)
    return {(one["severity"], one["check"], one["subject"]) for one in found}


def test_doctor_reports_nothing_on_a_healthy_host_and_changes_nothing(healthy: Instance) -> None:
    before = healthy.kernel(), healthy.files()
    assert findings(healthy) == set()
    assert (healthy.kernel(), healthy.files()) == before


@contextmanager
def sysctl(instance: Instance, name: str, value: str) -> Iterator[None]:
    before = instance.guest.call(lambda: Path("/proc/sys", name).read_text())
    instance.guest.sysctl({name: value})
    try:
        yield
    finally:
        instance.guest.sysctl({name: before.strip()})


@contextmanager
def ip(instance: Instance, do: str, undo: str) -> Iterator[None]:
    """``undo`` may be empty: a refresh restores removed items."""
    instance.guest.ip([do])
    try:
        yield
    finally:
        instance.guest.ip([undo] if undo else [])
        instance.refresh()


@contextmanager
def silent_imds(instance: Instance) -> Iterator[None]:
    instance.vpc.silence_imds(4)
    instance.vpc.silence_imds(6)
    try:
        yield
    finally:
        instance.vpc.unsilence_imds()


def imds_only_through(instance: Instance, number: int) -> AbstractContextManager[object]:
    """IMDS answers only one ENI."""
    return instance.imds.fault(instance.vpc.imds_only_through(instance.vpc.enis[number]))


@contextmanager
def short_hops(instance: Instance) -> Iterator[None]:
    """The host forwards, and packets from IMDS have a TTL of 1."""
    ttl = "net/ipv4/ip_default_ttl"
    with sysctl(instance, "net/ipv4/ip_forward", "1"):
        instance.vpc.router.sysctl({ttl: "1"})
        try:
            yield
        finally:
            instance.vpc.router.sysctl({ttl: "64"})


@contextmanager
def short_hops_of_ipv6(instance: Instance) -> Iterator[None]:
    """The same, without the IPv4 endpoint."""
    hop_limit = f"net/ipv6/conf/{instance.vpc.enis[0].subnet.bridge}/hop_limit"
    instance.vpc.silence_imds(4)
    instance.vpc.router.sysctl({hop_limit: "1"})
    try:
        with sysctl(instance, "net/ipv4/ip_forward", "1"):
            yield
    finally:
        instance.vpc.router.sysctl({hop_limit: "64"})
        instance.vpc.unsilence_imds()


@contextmanager
def silent_gateway(instance: Instance) -> Iterator[None]:
    """The secondary's gateway answers no ARP."""
    instance.vpc.router.nft(
        "table arp quiet {\n chain asked {\n  type filter hook input priority 0\n"
        "  arp daddr ip 10.0.2.1 drop\n }\n}\n"
    )
    try:
        yield
    finally:
        instance.vpc.router.nft("delete table arp quiet\n")


@contextmanager
def failed_detection(instance: Instance) -> Iterator[None]:
    """Another node in the subnet has the address, and announces it to all nodes."""
    router, eni, address = instance.vpc.router, instance.vpc.enis[1], "fe80::dad/64"
    port = f"link set {eni.port} type bridge_slave neigh_suppress"
    router.ip([f"{port} off", f"addr add {address} dev {eni.subnet.bridge} nodad"])
    shown = ["ip", "-6", "addr", "show", "dev", eni.name, "dadfailed"]
    try:
        with (
            sysctl(instance, "net/ipv6/conf/all/accept_dad", "1"),
            ip(
                instance, f"addr add {address} dev {eni.name}", f"addr del {address} dev {eni.name}"
            ),
        ):
            ends = time.monotonic() + 30
            while not instance.guest.run(shown).stdout and time.monotonic() < ends:
                time.sleep(0.05)
            yield
    finally:
        router.ip([f"{port} on", f"addr del {address} dev {eni.subnet.bridge}"])


@contextmanager
def lease_that_ends(instance: Instance) -> Iterator[None]:
    """A lease file that systemd-networkd leaves when no client renews the lease."""
    address = instance.vpc.enis[0].ipv4s[0]
    index = instance.guest.call(lambda: socket.if_nametoindex("ens5"))
    lease = f"ADDRESS={address}\nT1=30min\nT2=52min 30s\nLIFETIME=1h\n"
    change = f"addr change {address}/24 dev ens5"
    with (
        below_run(f"systemd/netif/leases/{index}", text=lease),
        ip(instance, f"{change} valid_lft 300 preferred_lft 300", change),
    ):
        yield


DRIFT = ("warning", "drift", "")
ERROR, WARNING, NOTE = "error", "warning", "note"
FORWARDS = (NOTE, "published-ports", "ens6")

FAULTS: dict[
    str,
    tuple[Callable[[Instance], AbstractContextManager[object]], set[tuple[str, str, str]]],
] = {
    "IMDS is silent": (silent_imds, {(ERROR, "imds", "")}),
    "IMDS is disabled": (
        lambda i: i.imds.fault(Status(403)),
        {(ERROR, "imds-disabled", "")},
    ),
    "IMDS is reached past the host's routes": (
        lambda i: imds_only_through(i, 1),
        {(ERROR, "imds", "")},
    ),
    "IMDS is silent through one ENI": (
        lambda i: imds_only_through(i, 0),
        {(WARNING, "imds", "ens6")},
    ),
    "hop limit": (short_hops, {(NOTE, "hop-limit", ""), FORWARDS}),
    "hop limit of IPv6": (short_hops_of_ipv6, {(NOTE, "hop-limit", ""), FORWARDS}),
    "a host that forwards": (
        lambda i: sysctl(i, "net/ipv4/ip_forward", "1"),
        {FORWARDS},
    ),
    "strict rp_filter": (
        lambda i: sysctl(i, "net/ipv4/conf/ens6/rp_filter", "1"),
        {(WARNING, "rp-filter", "ens6")},
    ),
    "forwarding without advertisements": (
        lambda i: sysctl(i, "net/ipv6/conf/ens5/forwarding", "1"),
        {(WARNING, "forwarding", "ens5")},
    ),
    "no default route": (
        lambda i: ip(i, "route del default table 10001", ""),
        {(ERROR, "default-route", "ens6"), (ERROR, "routing", "ens6"), DRIFT},
    ),
    "silent gateway": (silent_gateway, {(ERROR, "gateway", "ens6")}),
    "link down": (
        lambda i: ip(i, "link set ens6 down", ""),
        {(ERROR, "link-down", "ens6"), DRIFT},
    ),
    "address on two ENIs": (
        lambda i: ip(i, "addr add 10.0.2.4/32 dev ens5", "addr del 10.0.2.4/32 dev ens5"),
        {(ERROR, "duplicate-address", "ens5")},
    ),
    "foreign address": (failed_detection, {(ERROR, "duplicate-address", "ens6")}),
    "foreign rule": (
        lambda i: ip(
            i,
            "rule add from 10.0.2.0/24 lookup main priority 10000",
            "rule del from 10.0.2.0/24 lookup main priority 10000",
        ),
        {(ERROR, "routing", "ens6")},
    ),
    "foreign route": (
        lambda i: ip(
            i,
            "route add 203.0.113.0/24 dev ens5 table 10001",
            "route del 203.0.113.0/24 dev ens5 table 10001",
        ),
        {(ERROR, "routing", "ens6")},
    ),
    "foreign default route": (
        lambda i: ip(
            i,
            "route replace default via 10.0.1.1 dev ens5 table 10001",
            "route del default table 10001",
        ),
        {
            (ERROR, "conflict", "ens6"),
            (ERROR, "routing", "ens6"),
        },
    ),
    "MTU": (
        lambda i: ip(i, "link set ens6 mtu 1400", ""),
        {(WARNING, "mtu", "ens6"), DRIFT},
    ),
    "lease that ends": (lease_that_ends, {(WARNING, "lease", "ens5")}),
    "masked unit": (
        lambda _: below_run("systemd/system.control/ec2net.service", target="/dev/null"),
        {(ERROR, "unit-masked", "ec2net.service")},
    ),
    "another active tool": (
        lambda _: below_run("systemd/units/invocation:policy-routes@ens6.service", target="1"),
        {(ERROR, "other-tool", "amazon-ec2-net-utils")},
    ),
    "another tool": (
        lambda _: below_run("systemd/network/10-netplan-ens5.network"),
        {(NOTE, "other-tool", "netplan")},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_reports_each_fault_alone(healthy: Instance, name: str) -> None:
    inject, expected = FAULTS[name]
    with inject(healthy):
        assert findings(healthy) == expected
    assert findings(healthy) == set()


def test_without_privileges_doctor_reports_what_was_not_checked(healthy: Instance) -> None:
    done = healthy.ec2net("doctor", under=("setpriv", "--reuid=65534", "--clear-groups"))
    assert "the gateways were not checked" in done.stdout


def test_status_shows_a_tool_that_conflicts(healthy: Instance) -> None:
    with below_run("systemd/units/invocation:policy-routes@ens6.service", target="1"):
        shown = healthy.ec2net("status").stdout
    assert "! amazon-ec2-net-utils also configures ENIs: policy-routes@ens6.service" in shown
    assert "policy-routes" not in healthy.ec2net("status").stdout
