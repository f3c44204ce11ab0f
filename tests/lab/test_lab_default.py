# SPDX-License-Identifier: Apache-2.0
"""ENIs without a file of ec2net: ignored ENIs, or all of them where ec2net does not run."""

import json
import re
import time
from pathlib import Path

import pytest
from checkout import TOP
from kernel_state import assert_same
from lab_boot import Boot
from lab_instance import MANY, LabInstance

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd")]

IGNORE = '[[eni]]\nmatch = { role = "secondary" }\nmanage = "ignore"\n'

OTHERS = """\
[Match]
Driver=veth
[Network]
DHCP=ipv4
LLMNR=no
[DHCPv4]
UseRoutes=no
RouteMetric=900
"""


def two(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, **MANY)


def example() -> str:
    """The example from docs/configuration.md, word for word."""
    text = (TOP / "docs/configuration.md").read_text()
    found = re.search(r"## With a CNI plugin.*?```toml\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def admin_state(instance: LabInstance, link: str) -> str:
    state = instance.host.networkctl(link)["State"]
    return state[state.index("(") + 1 : -1]


def shake(instance: LabInstance) -> None:
    """The commands of a package's upgrade."""
    instance.host.run(["udevadm", "trigger", "--settle", "--subsystem-match=net"])
    instance.host.run(["networkctl", "reload"])
    instance.refresh()


def until_primary(instance: LabInstance) -> None:
    """Its first addresses answer: those that are leased."""
    first = instance.primary.ipv4s[0]
    end = time.monotonic() + 60
    while not any(
        tick.ok and tick.address == first for tick in instance.vpc.check_in(instance.primary)
    ):
        assert time.monotonic() < end, instance.story()


def test_the_example_for_a_cni_works_word_for_word(boot: Boot) -> None:
    """R29, R30: the ENIs of the boot have their first addresses and no other, every later one is
    unmanaged: at boot, at an upgrade, at a hotplug."""
    files = {"/etc/ec2net/ec2net.toml": example()}
    with boot(before=two, files=files, complete=False) as instance:
        until_primary(instance)
        for link in ("ens5", "ens6"):
            instance.until_unit(link, "active")
        # Earlier ENIs still belong to the boot: a driver probes one device after the other.
        until = json.loads(instance.host.read("/run/ec2net/at-boot.json"))["until"]
        instance.host.wait_until(lambda: time.monotonic() > until, 60, "the end of the boot")
        eni = instance.attach("ens20", ipv4=2)
        instance.until_unit("ens20", "active")
        instance.refresh()
        before = instance.kernel()
        shake(instance)
        assert admin_state(instance, "ens20") == "unmanaged"
        assert instance.host.ip("addr", "show", "dev", "ens20")[0]["addr_info"] == []
        assert_same(before, instance.kernel())
        assert instance.bounces() == []
        for one in (instance.primary, instance.secondary):
            held = instance.host.ip("-4", "addr", "show", "dev", one.name)[0]["addr_info"]
            assert [info["local"] for info in held] == [str(one.ipv4s[0])]
        assert instance.vpc.dropped() == 0
        first = instance.secondary.ipv4s[0]
        assert first not in [tick.address for tick in instance.unreachable(instance.secondary)]
        instance.vpc.detach(eni)


def test_an_ignored_eni_keeps_the_foreign_configuration(boot: Boot) -> None:
    """The same at boot, at an upgrade and at a hotplug: a file of the distribution is in force."""
    files = {
        "/etc/ec2net/ec2net.toml.d/20-ignore.toml": IGNORE,
        "/usr/lib/systemd/network/85-others.network": OTHERS,
    }
    with boot(before=two, files=files, complete=False) as instance:
        instance.complete(instance.primary)
        eni = instance.attach("ens20", ipv4=2)
        instance.until_unit("ens20", "active")
        for _ in range(2):
            for one in (instance.secondary, eni):
                status = instance.host.networkctl(one.name)
                assert status["Network File"] == "/usr/lib/systemd/network/85-others.network"
                instance.host.wait_until(
                    lambda one=one: has_leases(instance, one),  # type: ignore[misc]
                    60,
                    "their leases",
                )
            instance.host.wait_until(
                lambda: instance.host.ec2net("plan", "--exit-code", check=False).returncode == 0,
                60,
                "the answer to the routes that came with the leases",
            )
            before = instance.kernel()
            shake(instance)
            assert_same(before, instance.kernel())
        assert instance.bounces() == []
        assert instance.unreachable(instance.primary) == []


def has_leases(instance: LabInstance, eni: Eni) -> bool:
    """Its first addresses, and the router's advertisement."""
    held = str(instance.host.ip("addr", "show", "dev", eni.name))
    routes = str(instance.host.ip("-6", "route", "show", "default"))
    return all(str(a) in held for a in (eni.ipv4s[0], eni.ipv6s[0])) and eni.name in routes


def test_after_a_boot_with_a_broken_configuration_ssh_still_works(boot: Boot) -> None:
    """Without a last good configuration the first ENI is brought up, with an error and a failed
    unit; ec2net guesses for no other ENI. After the file is corrected, all ENIs are configured."""
    files = {"/etc/ec2net/ec2net.toml": 'ruoting = "strict"\n'}
    with boot(before=two, files=files, complete=False) as instance:
        until_primary(instance)
        host = instance.host
        failed = host.run(["systemctl", "is-failed", "ec2net-early.service"], check=False)
        assert failed.stdout.strip() == "failed"
        said = [e.message for e in host.journal("ec2net-early.service")]
        assert any('ruoting = "strict": no such setting' in line for line in said)
        assert any("ec2net configures only the first network interface" in line for line in said)
        assert any("status=2" in line for line in said)
        assert admin_state(instance, "ens6") == "unmanaged"
        host.run(["rm", *files])
        instance.until_well()
        assert instance.unreachable() == []
        assert len(instance.configured("ens5")) == 1


def test_the_default_configuration_alone_keeps_ssh_working(boot: Boot) -> None:
    """If the program does not run at all, every ENI has DHCP, and the first ENI's routes have the
    best metric."""
    broken = "[Service]\nExecStart=\nExecStart=/bin/false\nExecStopPost=\n"
    units = ("ec2net", "ec2net-early", "ec2net-primary", "ec2net@", "ec2net-refresh")
    files = {f"/etc/systemd/system/{unit}.service.d/broken.conf": broken for unit in units}
    with boot(before=two, files=files, complete=False) as instance:
        until_primary(instance)
        host = instance.host
        instance.until_at_rest()
        host.wait_until(
            lambda: len(host.ip("-4", "route", "show", "default")) == 2, 60, "both IPv4 leases"
        )
        for version in ("-4", "-6"):
            found = host.ip(version, "route", "show", "default")
            metrics = {route["dev"]: route["metric"] for route in found}
            assert metrics["ens5"] < metrics["ens6"], found
        leased = {str(instance.primary.ipv4s[0]), str(instance.primary.ipv6s[0])}
        ticks = instance.vpc.check_in(instance.primary)
        assert [t for t in ticks if str(t.address) in leased and not t.ok] == []
        assert "/run/systemd/network" in host.run(["ls", "-d", "/run/systemd/network"]).stdout
        assert not [name for name in instance.files() if Path(name).suffix == ".network"]
