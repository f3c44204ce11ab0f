# SPDX-License-Identifier: Apache-2.0
"""A running host is handed over from amazon-ec2-net-utils, and given back.

Debian 12 has 2.3 as a package; the tests wire units of their own like those of 2.7.4.
"""

from collections.abc import Iterable
from contextlib import suppress

import pytest
from kernel_state import marked
from lab_boot import Boot
from lab_host import HostError
from lab_instance import LabInstance, Mode, Setting, booted
from lab_root import Release
from predecessor import (
    CLOUD_SETUP_WIRING,
    MIGRATE,
    WIRING,
    differs,
    files,
    install_debians,
    make_executable,
    state,
    three,
    units,
)
from probe import Traffic

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.lab

BOOKWORM = Setting(Release.BOOKWORM, "networkd", Mode.RESIDENT)


def rules_by_static(instance: LabInstance) -> list[str]:
    """Rules that systemd-networkd made of its files."""
    shown = "".join(instance.host.run(["ip", version, "rule"]).stdout for version in ("-4", "-6"))
    return [line for line in shown.splitlines() if line.endswith("proto static")]


def its_files(instance: LabInstance) -> bool:
    return "eni.conf" in files(instance)


def until_at_work(instance: LabInstance) -> None:
    """Until it has configured each ENI, a timer of each runs, and the managers are at rest."""

    def works() -> bool:
        running = [unit for unit in units(instance) if unit.split()[2] == "active"]
        return len(rules_by_static(instance)) >= 2 and len(running) == 6

    instance.host.wait_until(works, 90, "the routes of the predecessor")
    unreached = unconfigured(instance)
    instance.host.wait_until(
        lambda: {tick.address for tick in instance.unreachable(limit=1)} <= {*unreached}, 60
    )


def unconfigured(instance: LabInstance) -> list[object]:
    """Addresses that it does not configure: the second IPv6 address of each ENI."""
    return [eni.ipv6s[1] for eni in instance.vpc.enis]


def further(enis: Iterable[Eni]) -> list[object]:
    """The addresses that no lease gives."""
    return [address for eni in enis for address in (*eni.ipv4s[1:], *eni.ipv6s[1:])]


def hand_over(instance: LabInstance) -> None:
    """The commands of docs/migration.md, under traffic on every address; then nothing of it is left,
    no lease was lost and no connection failed."""
    host = instance.host
    before = state(instance)
    host.run([*MIGRATE])
    host.run(["ec2net", "migrate"])
    assert differs(before, state(instance)) == []
    cursor = host.cursor()
    with Traffic(instance.vpc, instance.vpc.enis, but=unconfigured(instance)) as traffic:
        done = host.run([*MIGRATE, "--apply"], timeout=120)
        instance.complete()
    print(f"{traffic.made} connections each way, longest pause {traffic.longest:.3f} s")
    assert traffic.gaps == []
    assert instance.bounces(since=cursor) == []
    assert "has been off since" in done.stdout
    assert units(instance) == []
    assert not its_files(instance)
    assert rules_by_static(instance) == []
    assert instance.unreachable() == []
    # The rule that kept the primary from the tool's routes is removed after them.
    host.wait_until(lambda: instance.refresh() == "", 60, "an empty plan")
    told = host.run([*MIGRATE]).stdout
    assert "and off: systemd runs none of its units" in told
    found = host.run(["ec2net", "doctor"], check=False).stdout
    assert "its package can be removed safely" in found
    assert "warning" not in found


def give_back(instance: LabInstance, before: dict[str, list[str]]) -> None:
    """``--undo``: files byte for byte, units, rules and routes are as before the migration."""
    instance.host.run(["ec2net", "migrate", "--undo", "--apply"], timeout=150)
    assert marked(instance.kernel()) == []
    with suppress(HostError):  # the comparison below shows the differences
        instance.host.wait_until(lambda: differs(before, state(instance)) == [], 90)
    assert differs(before, state(instance)) == []


def test_the_package_of_debian_is_replaced_and_restored() -> None:
    """The real 2.3, with a shorter period, on a boot with both packages."""
    with booted(
        BOOKWORM, before=three, complete=False, prepare=install_debians, seed=None
    ) as instance:
        until_at_work(instance)
        before = state(instance)
        hand_over(instance)
        # A link that is attached starts nothing of it, and its own period has passed meanwhile.
        eni = instance.attach("ens20", ipv4=2)
        instance.complete()
        assert units(instance) == []
        assert not its_files(instance)
        instance.vpc.detach(eni)
        give_back(instance, before)


@pytest.mark.backend("networkd")
def test_the_units_of_2_7_4_are_replaced_and_restored(boot: Boot) -> None:
    """A timer that only Wants= of another unit starts: only systemd knows that it runs."""
    with boot(before=three, files=WIRING, complete=False, seed=None) as instance:
        host = instance.host
        until_at_work(instance)
        refused = host.run(["ec2net", "refresh"], check=False)
        assert "ec2net migrate --from amazon-ec2-net-utils" in refused.stderr
        found = host.run(["ec2net", "doctor"], check=False).stdout
        assert found.count("[other-tool]") == 1
        assert "foreign-object" not in found
        assert " del " not in found
        assert marked(instance.kernel()) == []
        before = state(instance)
        hand_over(instance)
        give_back(instance, before)


@pytest.mark.backend("networkmanager")
def test_the_units_of_nm_cloud_setup_are_replaced_and_restored(boot: Boot) -> None:
    """NetworkManager's dispatcher starts the service as long as systemd calls it enabled."""
    wiring = {"files": CLOUD_SETUP_WIRING, "prepare": make_executable}
    with boot(before=three, complete=False, seed=None, **wiring) as instance:
        host = instance.host
        host.wait_until(lambda: "30400" in host.run(["ip", "rule"]).stdout, 90, "its work")
        told = host.run(["ec2net", "doctor"], check=False).stdout
        assert "run: ec2net migrate --from nm-cloud-setup" in told
        assert marked(instance.kernel()) == []
        links = host.run(["find", "/etc/systemd/system", "-name", "nm-cloud-setup*"]).stdout
        main, *others = instance.vpc.enis
        cursor = host.cursor()
        with Traffic(instance.vpc, [main], but=further([main])) as traffic:
            host.run(["ec2net", "migrate", "--from", "nm-cloud-setup", "--apply"], timeout=120)
            # A secondary's routes move only by an activation (docs/networkmanager.md).
            assert instance.bounces(since=cursor, but=[eni.name for eni in others]) == []
        print(f"{traffic.made} connections each way, longest pause {traffic.longest:.3f} s")
        assert traffic.gaps == []
        # The plan suggests this for leftovers of the tool. Each Reapply starts DHCP again, and
        # the dispatcher runs.
        ended = host.cursor()
        host.run(["nmcli", "device", "reapply", "ens5"])
        instance.complete()
        assert "30400" not in host.run(["ip", "rule"]).stdout
        instance.attach("ens20", ipv4=2)
        instance.complete()
        assert not [e for e in host.journal(since=ended) if "nm-cloud-setup" in e.message]
        active = ["systemctl", "list-units", "--plain", "--no-legend", "nm-cloud-setup*"]
        assert host.run(active).stdout == ""
        host.run(["ec2net", "migrate", "--undo", "--apply"], timeout=120)
        assert host.run(["find", "/etc/systemd/system", "-name", "nm-cloud-setup*"]).stdout == links
        host.wait_until(lambda: "30400" in host.run(["ip", "rule"]).stdout, 60, "its work again")


@pytest.mark.backend("networkd")
def test_scripts_with_the_former_command_still_work(boot: Boot) -> None:
    with boot() as instance:
        host = instance.host
        instance.attach("ens20", ipv4=2)
        instance.complete()
        host.run(["ln", "-s", "/usr/lib/ec2net/setup-policy-routes", "/usr/local/bin/"])
        command = "/usr/local/bin/setup-policy-routes"
        for verb in ("start", "refresh", "stop"):
            host.run([command, "ens20", verb])
        refused = host.run([command, "ens20", "remove"], check=False)
        assert "would configure ens20 again" in refused.stderr
        assert instance.unreachable() == []


@pytest.mark.backend("networkd")
def test_a_start_with_the_other_tool_ends_at_once(boot: Boot) -> None:
    """A refused primary is an answer. network-online waited 30 s for it before."""
    with boot(before=three, files=WIRING, complete=False, seed=None) as instance:
        host = instance.host
        until_at_work(instance)
        cursor = host.cursor()
        host.run(["systemctl", "restart", "ec2net.service"])
        entries = host.journal(since=cursor)
        began, ready = (
            next(entry for entry in entries if entry.message.startswith(word)).seconds
            for word in ("Starting ec2net.service", "Started ec2net.service")
        )
        print(f"ec2net.service started in {ready - began:.2f} s")
        assert ready - began < 15  # half of what it waited; a busy machine needs 2 s
