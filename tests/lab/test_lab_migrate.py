# SPDX-License-Identifier: Apache-2.0
"""A running host is handed over from amazon-ec2-net-utils, and given back.

Debian 12 has 2.3 as a package; the tests wire units of their own like those of 2.7.4.
"""

import re
from collections.abc import Iterable
from contextlib import suppress

import pytest
from checkout import TOP
from kernel_state import marked
from lab_boot import Boot
from lab_host import HostError
from lab_instance import LabInstance, Mode, Setting, booted
from lab_root import Release
from lab_watch import monitor
from predecessor import (
    CLOUD_SETUP_WIRING,
    MIGRATE,
    NETCONFIG_WIRING,
    WIRING,
    differs,
    files,
    install_debians,
    make_executable,
    rules_by_static,
    state,
    three,
    unconfigured,
    units,
    until_at_work,
)
from probe import Traffic

pytestmark = pytest.mark.lab

OBSERVE = "/etc/ec2net/ec2net.toml.d/50-observe.toml"

BOOKWORM = Setting(Release.BOOKWORM, "networkd", Mode.RESIDENT)


def its_files(instance: LabInstance) -> bool:
    return "eni.conf" in files(instance)


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
        refuse_while_only_observed(instance, before)
        hand_over(instance)
        give_back(instance, before)


def refuse_while_only_observed(instance: LabInstance, before: dict[str, list[str]]) -> None:
    """Nothing would configure the ENIs after the end of the tool. The daemon counts, too: it reads the
    files only at a reload."""
    host = instance.host
    host.write(OBSERVE, (TOP / "examples/fleet/observe.toml").read_text())
    host.run(["systemctl", "reload", "ec2net.service"])
    wanted = [
        f'{eni.name} would stay without configuration (manage = "observe"'
        for eni in instance.vpc.enis
    ]
    for _ in range(2):
        shown = host.run([*MIGRATE]).stdout
        refused = host.run([*MIGRATE, "--apply"], check=False, timeout=120)
        for text in wanted:
            assert f"! {text}" in shown
            assert text in refused.stderr
        assert differs(before, state(instance)) == []
        host.run(["rm", "-f", OBSERVE])
    host.run(["systemctl", "reload", "ec2net.service"])
    assert "would stay without configuration" not in host.run([*MIGRATE]).stdout


def its_rules_and_routes(instance: LabInstance) -> list[str]:
    """Those that NetworkManager makes for nm-cloud-setup."""
    shown = instance.host.run(["sh", "-c", "ip rule; ip route show table all"]).stdout
    return [line for line in shown.splitlines() if re.search(r"^30[234]\d\d:|table 30[24]", line)]


def leases_lost(instance: LabInstance, lines: Iterable[str], sent: dict[str, int]) -> list[str]:
    """Leased addresses that left a link, and DHCP messages other than those that renew a lease."""
    leased = {str(address) for eni in instance.vpc.enis for address in (eni.ipv4s[0], eni.ipv6s[0])}
    gone = [
        line
        for line in lines
        if line.startswith("Deleted ") and {*re.split("[ /]", line)} & leased and "inet" in line
    ]
    for eni in instance.vpc.enis:
        kinds = [message.kind for message in instance.vpc.dhcp_messages(eni)][sent[eni.name] :]
        gone += [kind for kind in kinds if kind not in ("DHCPREQUEST", "DHCPACK")]
    return gone


def sent(instance: LabInstance) -> dict[str, int]:
    """The DHCP messages of each ENI so far."""
    return {eni.name: len(instance.vpc.dhcp_messages(eni)) for eni in instance.vpc.enis}


def until_cloud_setup_works(instance: LabInstance) -> None:
    """Until it has set up each ENI, and every IPv4 address answers."""
    wanted = {f"3040{number}" for number in range(3)}

    def works() -> bool:
        found = " ".join(its_rules_and_routes(instance))
        return all(f"lookup {table}" in found and f"table {table}" in found for table in wanted)

    instance.host.wait_until(works, 90, "nm-cloud-setup at work")
    ipv4s = {address for eni in instance.vpc.enis for address in eni.ipv4s}
    instance.host.wait_until(
        lambda: not {tick.address for tick in instance.unreachable(limit=1)} & ipv4s, 60
    )


@pytest.mark.backend("networkmanager")
def test_the_units_of_nm_cloud_setup_are_replaced_and_restored(boot: Boot) -> None:
    """NetworkManager's dispatcher starts the service as long as systemd calls it enabled. Until
    NetworkManager has forgotten the tool's rules, it creates them again at each activation."""
    wiring = {"files": CLOUD_SETUP_WIRING, "prepare": make_executable}
    with boot(before=three, complete=False, seed=None, **wiring) as instance:
        host = instance.host
        until_cloud_setup_works(instance)
        told = host.run(["ec2net", "doctor"], check=False).stdout
        assert "run: ec2net migrate --from nm-cloud-setup" in told
        assert marked(instance.kernel()) == []
        before, messages = state(instance), sent(instance)
        unreached = [tick.address for tick in instance.unreachable(limit=1)]
        with (
            monitor(instance.vpc) as events,
            Traffic(instance.vpc, instance.vpc.enis, but=unreached) as traffic,
        ):
            host.run(["ec2net", "migrate", "--from", "nm-cloud-setup", "--apply"], timeout=120)
            instance.complete()
            # An advertisement of the router lets NetworkManager read the metrics of its file again.
            host.wait_until(lambda: instance.refresh() == "", 60, "an empty plan")
        print(f"{traffic.made} connections each way, longest pause {traffic.longest:.3f} s")
        assert traffic.gaps == []
        assert leases_lost(instance, (line for _, line in events.lines), messages) == []
        assert its_rules_and_routes(instance) == []
        ended = host.cursor()
        eni = instance.attach("ens20", ipv4=2)
        instance.complete()
        assert its_rules_and_routes(instance) == []
        assert not [e for e in host.journal(since=ended) if "nm-cloud-setup" in e.message]
        assert units(instance) == []
        instance.vpc.detach(eni)
        instance.until_unit("ens20", "inactive")
        give_back(instance, before)


@pytest.mark.backend("networkmanager")
@pytest.mark.exhaustive
def test_the_units_of_cloud_netconfig_are_replaced_and_restored(boot: Boot) -> None:
    """Its rules and routes stay until the next boot, and lead to the same links as ec2net's."""
    with boot(before=three, files=NETCONFIG_WIRING, complete=False, seed=None) as instance:
        host = instance.host
        numbers = ("30402", "30403", "30404")

        def works() -> bool:
            shown = host.run(["ip", "rule"]).stdout
            return all(number in shown for number in numbers)

        host.wait_until(works, 90, "cloud-netconfig at work")
        refused = host.run(["ec2net", "refresh"], check=False)
        assert "ec2net migrate --from cloud-netconfig" in refused.stderr
        assert marked(instance.kernel()) == []
        instance.until_at_rest()
        before, cursor = state(instance), host.cursor()
        unreached = [tick.address for tick in instance.unreachable(limit=1)]
        migrate = ["ec2net", "migrate", "--from", "cloud-netconfig"]
        with Traffic(instance.vpc, instance.vpc.enis, but=unreached) as traffic:
            host.run([*migrate, "--apply"], timeout=120)
            instance.complete()
        assert traffic.gaps == []
        assert instance.bounces(since=cursor) == []
        text = host.run(["cat", "/etc/default/cloud-netconfig"]).stdout
        assert text == '# for all links\nCLOUD_NETCONFIG_MANAGE="no"\nOTHER="1"\n'
        ended = host.cursor()
        eni = instance.attach("ens20", ipv4=2)
        instance.complete()
        assert units(instance) == []
        assert not [e for e in host.journal(since=ended) if "cloud-netconfig" in e.message]
        assert works()  # the rules
        assert "and off: systemd runs none of its units" in host.run(migrate).stdout
        instance.vpc.detach(eni)
        instance.until_unit("ens20", "inactive")
        give_back(instance, before)


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
