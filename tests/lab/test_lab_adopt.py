# SPDX-License-Identifier: Apache-2.0
"""A running host is handed to systemd-networkd and systemd-resolved, and given back unchanged."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import json_schema
import pytest
from kernel_state import differences
from lab_boot import Boot
from lab_host import HostError, LabHost
from lab_instance import MANY, LabInstance, Mode, Setting, booted
from lab_manager import use_ifupdown
from lab_package import Installed
from lab_root import Release
from lab_unpackaged import files
from probe import Traffic

from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkmanager")]

ADOPT = ("ec2net", "adopt", "networkd")
PREFIX = '"dst": "fe80::/64"'
"""The kernel makes a route of it with each link-local address; NetworkManager has another one."""

DHCLIENT = "dhclient -"

RESOLV_CONF = "# by hand\nnameserver 169.254.169.253\n"
UNITS = (
    *("NetworkManager.service", "NetworkManager-dispatcher.service"),
    *("NetworkManager-wait-online.service", "systemd-networkd.service", "systemd-networkd.socket"),
    *("systemd-networkd-wait-online.service", "systemd-resolved.service"),
    *("networking.service", "ifup@ens5.service"),
)


def two(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, **MANY)


def disk(instance: LabInstance) -> dict[str, str]:
    """All files, but what NetworkManager notes of each of its runs."""
    found = files(instance.host)
    return {p: t for p, t in found.items() if not p.startswith("/var/lib/NetworkManager")}


def unit_states(instance: LabInstance) -> str:
    """Enablement and masks of all units, and the active units except one that ends by itself."""
    enabled = ["systemctl", "show", "--property=Id,UnitFileState", *UNITS]
    active = ["systemctl", "is-active", *(unit for unit in UNITS if "dispatcher" not in unit)]
    run = instance.host.run
    return run(enabled).stdout + run(active, check=False).stdout


def test_a_host_changes_from_networkmanager_and_back(boot: Boot) -> None:
    """G-b: upstream's installation had no way back. Neither direction has a gap, and no file is
    left."""
    with boot(before=two) as instance:
        host = instance.host
        instance.until_at_rest()
        host.run(["systemctl", "disable", "--now", "systemd-resolved.service"])
        host.run(["rm", "/etc/resolv.conf"])
        host.write("/etc/resolv.conf", RESOLV_CONF)
        host.run(["chmod", "604", "/etc/resolv.conf"])
        kernel, units, was = instance.kernel(), unit_states(instance), disk(instance)
        # The unit ends by itself after 10 s without work.
        host.run(["systemctl", "restart", "NetworkManager-dispatcher.service"])
        planned = host.run([*ADOPT]).stdout
        assert "run systemctl stop NetworkManager-dispatcher" in planned
        assert "nothing was changed" in planned
        document = json.loads(host.run([*ADOPT, "--json"]).stdout)
        assert json_schema.wrong_in(document, "adopt") == []
        assert planned.splitlines()[: len(document["steps"])] == document["steps"]
        assert (instance.kernel(), disk(instance)) == (kernel, was)

        with Traffic(instance.vpc, instance.vpc.enis) as traffic:
            host.run([*ADOPT, "--apply"])
            adopted(instance)
            host.run([*ADOPT, "--undo", "--apply"])
        assert traffic.gaps == []
        assert instance.unreachable() == []
        assert (unit_states(instance), disk(instance)) == (units, was)

        def changed() -> list[str]:
            found = differences(kernel, instance.kernel())
            return [line for line in found if PREFIX not in line]

        # the IPv6 lease may be late; the comparison below shows the differences
        with suppress(HostError):
            host.wait_until(lambda: changed() == [], 60)
        assert changed() == []
        assert host.run([*ADOPT, "--undo"]).stdout == "Nothing to undo.\n"


KILLED = """
import os, signal
from ec2net.core.migration import steps
from ec2net.core.cli.main import main

def do(self, deadline):
    if self.words[1:] == ("start", "systemd-networkd.service"):
        os.kill(os.getpid(), signal.SIGKILL)
    run(self, deadline)

run, steps.Command.do = steps.Command.do, do
main(["adopt", "networkd", "--apply"])
"""
"""A unit that ends when NetworkManager is stopped and no other manager replaces it."""


def test_a_reboot_between_steps_still_has_a_network_manager() -> None:
    """The same command continues from there. When the host is given back, NetworkManager takes
    links that another program configured in this boot. The host also works after the package is
    removed."""
    with booted(Setting(Release.BOOKWORM, "networkmanager", Mode.RESIDENT), before=two) as instance:
        host = instance.host
        units, was = unit_states(instance), disk(instance)
        killed = host.run(["python3", "-c", KILLED], check=False)
        assert killed.returncode != 0
        active = host.run(["systemctl", "is-active", *UNITS[0:1], *UNITS[3:4]], check=False)
        assert active.stdout == "inactive\ninactive\n"
        host.reboot()
        instance.complete()
        host.run([*ADOPT, "--apply"])
        adopted(instance)
        host.run([*ADOPT, "--undo", "--apply"])
        instance.complete()
        assert (unit_states(instance), disk(instance)) == (units, was)
        assert "networkmanager suits: NetworkManager manages ens6" in host.ec2net("backends").stdout

        host.run([*ADOPT, "--apply"])
        purged = host.run(["dpkg", "--purge", "ec2net"])
        assert "/var/lib/ec2net/adopted.json has the former state of the host" in purged.stderr
        host.reboot()
        host.wait_until(
            lambda: host.networkctl("ens5")["State"] == "routable (configured)", 60, "ens5"
        )
        assert str(instance.primary.ipv4s[0]) in host.run(["ip", "addr"]).stdout


def adopted(instance: LabInstance) -> None:
    """systemd-networkd has the links, systemd-resolved answers."""
    host = instance.host
    assert host.run([*ADOPT, "--apply"]).stdout == "Nothing to do.\n"
    for link in ("ens5", "ens6"):
        assert f"systemd-networkd manages {link}" in host.ec2net("backends").stdout
    assert host.run(["readlink", "/etc/resolv.conf"]).stdout.endswith("stub-resolv.conf\n")
    servers = ["resolvectl", "dns", "ens5"]
    host.wait_until(lambda: "169.254.169.253" in host.run(servers).stdout, 60, "servers of ens5")
    assert instance.unreachable() == []


@contextmanager
def by_ifupdown(release: Release) -> Iterator[LabInstance]:
    """A host whose primary gets its addresses from ifupdown and dhclient."""
    with VpcWithDhcp(prefix="i-") as vpc:
        instance = LabInstance(setting := Setting(release, "networkd", Mode.RESIDENT), vpc)
        two(instance)
        rollback = {"/etc/ec2net/ec2net.toml.d/30-rollback.toml": "[rollback]\nafter = 3\n"}
        with LabHost(
            vpc,
            release,
            installed=Installed.PACKAGE,
            files=setting.files(timer=False) | rollback,
            before_boot=use_ifupdown,
        ) as host:
            instance.host = host
            host.wait_until(lambda: all_there(instance), 60, "all addresses")
            yield instance


def all_there(instance: LabInstance) -> bool:
    """The state after a pass: dhclient removes single addresses at its start, and such an address
    waits for an answer of IMDS, which no poll of this host requests."""
    instance.host.ec2net("refresh", check=False)
    return instance.unreachable() == []


def dhclients(instance: LabInstance) -> list[str]:
    processes = instance.host.processes()
    return sorted(p.command.removeprefix("/usr/sbin/") for p in processes if DHCLIENT in p.command)


def test_a_host_changes_from_ifupdown_and_back() -> None:
    """ifdown would remove the addresses. Without a lease for the new manager the host is given back
    at once, with a message."""
    with by_ifupdown(Release.TRIXIE) as instance:
        host, server = instance.host, instance.vpc.servers[instance.one].pid
        units, was, ran = unit_states(instance), disk(instance), dhclients(instance)
        assert len(ran) == 2
        with Traffic(instance.vpc, instance.vpc.enis) as traffic:
            os.kill(server, signal.SIGSTOP)
            failed = host.run([*ADOPT, "--apply"], check=False)
            os.kill(server, signal.SIGCONT)
            assert failed.returncode == 1
            assert "ens5 as configuring after 3 s; the former state was restored" in failed.stderr
            as_before(instance, units, was, ran)
            host.run([*ADOPT, "--apply"])
            adopted(instance)
        assert traffic.gaps == []
        host.run([*ADOPT, "--undo", "--apply"])
        as_before(instance, units, was, ran)


def as_before(instance: LabInstance, units: str, was: dict[str, str], ran: list[str]) -> None:
    """dhclient runs again and has its lease. At its start it removes IPv6 addresses that it has not
    leased (dhclient-script, PREINIT6), and a pass restores them."""
    host = instance.host
    host.wait_until(lambda: dhclients(instance) == ran, 60, "dhclient in the background")
    host.wait_until(lambda: all_there(instance), 60, "all addresses")
    host.wait_until(lambda: unit_states(instance) == units, 60, f"units as before:\n{units}")
    now = disk(instance)
    changed = {path for path in was.keys() | now.keys() if was.get(path) != now.get(path)}
    assert {path for path in changed if not path.startswith("/var/lib/dhcp/")} <= {
        "/etc/resolv.conf"
    }
    assert now["/etc/resolv.conf"].split()[:2] == was["/etc/resolv.conf"].split()[:2]
