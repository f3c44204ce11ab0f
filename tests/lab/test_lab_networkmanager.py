# SPDX-License-Identifier: Apache-2.0
"""Features that only NetworkManager has: profiles, a user's edits, unmanaged devices."""

import json
import time
from collections.abc import Iterator

import pytest
from kernel_state import assert_same, marked
from lab_boot import Boot, assert_ends_as
from lab_instance import CHECK_LIMIT, COMPLETE_LIMIT, MANY, LabInstance, idle_pass, late
from lab_nmcli import connection, nmcli, no_hook

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkmanager")]

CONF = "/run/NetworkManager/conf.d/80-ec2net.conf"


def profiles(instance: LabInstance) -> str:
    """All profiles with their whole text, on disk and in memory."""
    script = (
        "cd /; for f in etc/NetworkManager/system-connections/*"
        " run/NetworkManager/system-connections/*;"
        ' do [ -e "$f" ] && sed "s|^|$f: |; /timestamp/d" "$f"; done; true'
    )
    return instance.host.run(["sh", "-c", script]).stdout


def reason(instance: LabInstance, link: str) -> str:
    """The reasons in the status for ENIs that are not configured."""
    status = json.loads(instance.host.ec2net("status", "--json", check=False).stdout)
    return str(next(eni for eni in status["enis"] if eni.get("link") == link).get("reason"))


def until_state(instance: LabInstance, link: str, number: int) -> None:
    """NetworkManager's of a device (NMDeviceState); nmcli may return before it is reached."""
    told = ("-g", "GENERAL.STATE", "device", "show", link)
    instance.host.wait_until(
        lambda: nmcli(instance, *told).startswith(f"{number} "), 60, f"{link} in state {number}"
    )


def test_a_booted_host_is_correct_from_the_first_activation(boot: Boot) -> None:
    """Each link is activated once, since its defaults existed before; a reboot has the same result.
    DNS comes only from the primary (R12)."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        instance.vpc.attach(instance.two, **MANY)

    with boot(before=enis) as instance:
        for link in ("ens5", "ens6"):
            assert len(instance.configured(link)) == 1
        assert instance.bounces() == []
        instance.until_at_rest()
        # The daemon puts the first address in front again when NetworkManager has added it again.
        instance.host.wait_until(
            lambda: instance.host.ec2net("verify", check=False).returncode == 0, 60, "verified"
        )
        assert instance.host.ip("link", "show", "ens6")[0]["mtu"] == 9001
        both = "(ens5): 169.254.169.253 fd00:ec2::253\n"
        servers = ["resolvectl", "dns"]
        instance.host.wait_until(lambda: both in instance.host.run(servers).stdout, 60, both)
        assert "(ens6):\n" in instance.host.run(servers).stdout
        before = instance.kernel()
        instance.host.reboot()
        instance.host.run(["systemctl", "stop", "ec2net-refresh.timer"])
        instance.complete()
        assert_ends_as(instance, before)
        assert len(instance.configured("ens6")) == 1
        assert instance.bounces() == []
        assert instance.refresh() == ""


def test_a_wrong_guess_of_the_primary_is_corrected(boot: Boot) -> None:
    """The kernel found the secondary first: at boot ec2net takes it for the primary, whose leased
    routes are then not in main. IMDS corrects the guess, and both are activated again, once."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.two, "ens6", device=1, ipv4=2, ipv6=2)
        instance.vpc.attach(instance.one, "ens5", device=0, ipv4=2, ipv6=2)

    with boot(before=enis) as instance:
        assert instance.unreachable() == []
        main = instance.host.ip("route", "show", "default")
        assert min(main, key=lambda route: route.get("metric", 0))["dev"] == "ens5"
        for link in ("ens5", "ens6"):
            assert len(instance.configured(link)) == 2
        assert instance.refresh() == ""


SHARE = 0.25
"""Seconds from complete facts in IMDS and NetworkManager's leases, in addition to those of an idle
pass."""


@pytest.mark.serial
def test_the_share_of_ec2net_in_a_hotplug_is_short(pair: LabInstance) -> None:
    """NetworkManager's own activation takes up to 2 s (random delays before a router solicitation and
    a DHCPv6 one); the best of a few, since the machine has other work too."""
    shares, passes = [], []
    for number in range(4):
        eni = pair.attach(f"ens{40 + number}", propagation=late(1.0), **MANY)
        began = time.monotonic()
        leases = {str(eni.ipv4s[0]), str(eni.ipv6s[0])}

        def leased(name: str = eni.name, leases: set[str] = leases) -> bool:
            shown = pair.host.ip("addr", "show", "dev", name)
            return leases <= {a.get("local") for entry in shown for a in entry.get("addr_info", ())}

        pair.host.wait_until(leased, 60, "leases")
        ready = max(time.monotonic(), began + 1.0)
        while pair.unreachable(eni, limit=CHECK_LIMIT):
            assert time.monotonic() - began < COMPLETE_LIMIT, pair.story()
        shares.append(time.monotonic() - ready)
        print(f"{pair.setting}: leased {ready - began:.2f} s, usable {shares[-1]:.2f} s later")
        pair.complete(eni)
        passes.append(idle_pass(pair))
        pair.vpc.detach(eni)
        pair.until_unit(eni.name, "inactive")
    assert min(shares) <= SHARE + min(passes), (shares, passes)


def test_no_profile_is_ever_written(pair: LabInstance) -> None:
    before = profiles(pair)
    address = pair.secondary.assign_ipv4()
    pair.refresh()
    pair.secondary.unassign_ipv4(address)
    pair.refresh()
    assert profiles(pair) == before


def test_edits_of_a_user_survive_and_their_damage_is_repaired(pair: LabInstance) -> None:
    """``nmcli device modify`` removes foreign objects from the link (and IPv6 for an instant); the
    dispatcher's hook restores them at once, and the edit stays."""
    before = pair.kernel()
    edits = ["ipv4.dns-search", "example.net", "+ipv4.addresses", "10.0.47.99/32"]
    nmcli(pair, "device", "modify", "ens6", *edits)
    nmcli(pair, "connection", "modify", connection(pair, "ens6"), "ipv4.dns-options", "rotate")
    pair.complete()
    for _ in range(2):
        pair.refresh()
        shown = nmcli(pair, "device", "show", "ens6")
        assert "10.0.47.99/32" in shown
        assert "rotate" in nmcli(pair, "connection", "show", connection(pair, "ens6"))
    assert pair.refresh() == ""
    nmcli(pair, "connection", "modify", connection(pair, "ens6"), "ipv4.dns-options", "")
    nmcli(pair, "device", "reapply", "ens6")
    pair.complete()
    pair.refresh()
    assert_ends_as(pair, before)


@pytest.mark.mode("on-demand")
def test_a_connection_that_is_activated_again_is_complete_before_it_is_up(
    pair: LabInstance,
) -> None:
    """The hook of pre-up: nothing is left to do for a pass when nmcli returns."""
    before, cursor = pair.kernel(), pair.host.cursor()
    profile = connection(pair, "ens6")
    nmcli(pair, "connection", "up", profile)
    pair.complete()
    assert pair.refresh() == ""
    pair.host.wait_until(lambda: pair.own_processes() == [], 60, "the hook's passes at their end")
    assert len(pair.configured("ens6", cursor)) == 1  # the hook's actions cause no activation
    assert_ends_as(pair, before)
    nmcli(pair, "connection", "down", profile)
    until_state(pair, "ens6", 30)
    pair.refresh()  # its rules lead nowhere now
    assert pair.refresh() == ""
    assert "a user disconnected it" in reason(pair, "ens6")
    nmcli(pair, "connection", "up", profile)
    pair.refresh()
    pair.complete()
    assert pair.unreachable() == []
    assert pair.refresh() == ""


@pytest.mark.mode("resident")
def test_networkmanager_works_without_the_hook(pair: LabInstance) -> None:
    """ec2net notices items that an activation removes from the link; a device that a user
    deactivated stays so."""
    before, cursor = pair.kernel(), pair.host.cursor()
    profile = connection(pair, "ens6")
    nmcli(pair, "connection", "up", profile)
    pair.complete()
    assert_ends_as(pair, before)
    assert len(pair.configured("ens6", cursor)) == 1
    nmcli(pair, "connection", "down", profile)
    pair.host.wait_until(
        lambda: "a user disconnected it" in reason(pair, "ens6"), 60, "ens6 is ignored"
    )
    nmcli(pair, "connection", "up", profile)
    pair.complete()
    assert pair.refresh() == ""
    assert_ends_as(pair, before)


def test_without_the_hook_one_pass_is_enough(pair: LabInstance) -> None:
    cursor = pair.host.cursor()
    with no_hook(pair):
        nmcli(pair, "connection", "up", connection(pair, "ens6"))
        assert pair.repaired(cursor) != ""
        assert pair.unreachable() == []
    pair.complete()


def test_an_unmanaged_device_stays_unchanged(pair: LabInstance) -> None:
    """ec2net neither changes the device nor calls that a failure. When the device is managed again,
    NetworkManager calls it external (1.42) until a user activates a profile."""
    profile = connection(pair, "ens6")
    nmcli(pair, "device", "set", "ens6", "managed", "no")
    try:
        until_state(pair, "ens6", 10)
        address = pair.secondary.assign_ipv4()
        before = pair.kernel()
        assert pair.refresh() == ""
        assert_same(before, pair.kernel())
        assert "does not manage it" in reason(pair, "ens6")
        assert pair.unreachable(pair.primary) == []
    finally:
        pair.secondary.unassign_ipv4(address)
        nmcli(pair, "device", "set", "ens6", "managed", "yes")
        nmcli(pair, "connection", "up", profile)
    pair.refresh()
    pair.complete()


def test_a_device_with_a_foreign_configuration_is_not_taken_over(pair: LabInstance) -> None:
    """NetworkManager shows it as external; a Reapply or an activation would make it its own."""
    pair.host.run(["systemctl", "stop", "NetworkManager.service"])
    eni = pair.attach("ens70")
    for line in ("link set ens70 up", f"addr add {eni.ipv4s[0]}/20 dev ens70"):
        pair.host.run(["ip", *line.split()])
    pair.host.run(["systemctl", "start", "NetworkManager.service"])
    pair.host.wait_until(
        lambda: "externally" in nmcli(pair, "-g", "GENERAL.STATE", "device", "show", "ens70"),
        60,
        "ens70 external",
    )
    pair.host.ec2net("refresh", check=False)
    assert "externally" in nmcli(pair, "-g", "GENERAL.STATE", "device", "show", "ens70")
    assert "another program" in reason(pair, "ens70")
    pair.vpc.detach(eni)
    pair.until_unit("ens70", "inactive")
    pair.refresh()
    pair.complete()


def test_a_stopped_networkmanager_causes_a_message_and_affects_no_eni(pair: LabInstance) -> None:
    """SIGSTOP: each call ends at its deadline, the live part of every ENI is done all the same."""
    stop = ["systemctl", "kill", "--signal=STOP", "NetworkManager.service"]
    # A hook's pass would find the address first, and wait for NetworkManager first.
    pair.host.wait_until(lambda: pair.at_work() == [], 60, "no pass is running")
    pair.host.run(stop)
    try:
        address = pair.secondary.assign_ipv4()
        done = pair.host.ec2net("refresh", check=False)
    finally:
        pair.host.run([*stop[:2], "--signal=CONT", stop[3]])
    assert done.returncode == 1
    assert "NetworkManager: does not answer" in done.stderr
    assert f"+ address {address}/32 dev ens6" in done.stderr
    assert "did not end within" not in done.stderr  # a call's own bound, not that of the pass
    assert pair.unreachable() == []
    pair.secondary.unassign_ipv4(address)
    pair.refresh()


@pytest.mark.mode("on-demand")
def test_without_capabilities_networkmanager_is_still_configured(pair: LabInstance) -> None:
    """ec2net calls NetworkManager as root, which needs no capability; each netlink change names the
    missing one."""
    address = pair.secondary.assign_ipv4()
    pair.host.run(["rm", CONF])
    command = ["systemd-run", "--wait", "--pipe", "--quiet", "-pCapabilityBoundingSet="]
    done = pair.host.run([*command, "ec2net", "refresh"], check=False)
    assert done.returncode == 1
    assert f"+ file {CONF}" in done.stderr
    assert CONF in pair.files()
    assert "ens6: add rule 9999: from" in done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
    assert f"+ address {address}/32" in pair.refresh()
    pair.secondary.unassign_ipv4(address)
    pair.refresh()


@pytest.fixture(scope="module")
def server(boot: Boot) -> Iterator[LabInstance]:
    """As with NetworkManager-config-server: NetworkManager creates no profile for an ENI by
    itself."""
    primary = "[connection]\nid=primary\ntype=ethernet\ninterface-name=ens5\n"
    files = {
        "/etc/NetworkManager/conf.d/00-server.conf": "[main]\nno-auto-default=*\n",
        "/etc/NetworkManager/system-connections/primary.nmconnection": primary,
    }
    with boot(files=files, complete=False) as instance:
        name = "/etc/NetworkManager/system-connections/primary.nmconnection"
        instance.host.run(["chmod", "600", name])
        nmcli(instance, "connection", "reload")
        nmcli(instance, "connection", "up", "primary")
        instance.complete()
        yield instance


def test_an_eni_without_a_profile_gets_one_in_memory(server: LabInstance) -> None:
    """The profile is removed with the ENI, and survives a restart of NetworkManager."""
    before = profiles(server)
    eni = server.attach_many("ens60")
    assert connection(server, "ens60") == "ec2net ens60"
    found = server.host.run(["ls", "/etc/NetworkManager/system-connections"]).stdout.split()
    assert found == ["primary.nmconnection"]
    cursor = server.host.cursor()
    server.setting.restart(server.host)
    server.host.wait_until(
        lambda: server.setting.has_configured(server.host, "ens60"), 60, "ens60 connected"
    )
    server.refresh()
    assert server.unreachable() == []
    assert server.refresh() == ""
    assert len(server.configured("ens60", cursor)) == 1
    server.vpc.detach(eni)
    server.host.wait_until(lambda: profiles(server) == before, 60, "the profile gone")


def test_an_eni_that_was_active_before_ec2net_is_activated_again_once(pair: LabInstance) -> None:
    """As on a host where ec2net is installed later: the leased routes are in main."""
    before = pair.kernel()
    if pair.setting.resident:
        pair.host.run(["systemctl", "stop", "ec2net.service"])
    pair.host.run(["rm", CONF])
    nmcli(pair, "general", "reload", "conf")
    cursor = pair.host.cursor()
    with no_hook(pair):
        nmcli(pair, "connection", "up", connection(pair, "ens6"))
        told = ["-g", "IP4.ROUTE", "device", "show", "ens6"]
        pair.host.wait_until(  # 1.52 reports its routes at most three times a second
            lambda: "dst = 0.0.0.0/0" in (said := nmcli(pair, *told)) and "9999" not in said,
            60,
            "routes told by NetworkManager",
        )
        if pair.setting.resident:
            pair.host.run(["systemctl", "start", "ec2net.service"])
        said = pair.repaired(cursor)
    assert "connection of ens6 with its leased routes in a table of their own" in said
    assert len(pair.configured("ens6", cursor)) == 2  # by the user, and by ec2net
    assert pair.configured("ens5", cursor) == []
    pair.complete()
    assert pair.refresh() == ""
    # NetworkManager gives its own routes another metric at each activation.
    assert marked(before) == marked(pair.kernel())


def test_with_nm_cloud_setup_ec2net_changes_nothing_unless_accepted(pair: LabInstance) -> None:
    wants = "/etc/systemd/system/timers.target.wants"
    pair.host.run(["mkdir", "-p", wants])
    timer = "/run/systemd/system/nm-cloud-setup.timer"
    pair.host.write(timer, "[Timer]\nOnBootSec=1d\n")
    pair.host.run(["ln", "-s", timer, f"{wants}/nm-cloud-setup.timer"])
    try:
        before = pair.kernel()
        done = pair.host.ec2net("refresh", check=False)
        assert done.returncode == 1
        assert "nm-cloud-setup.timer is active or enabled" in done.stderr
        assert_same(before, pair.kernel())
        pair.host.write("/etc/ec2net/ec2net.toml", 'coexist_with = ["nm-cloud-setup"]\n')
        if pair.setting.resident:
            pair.host.run(["systemctl", "reload", "ec2net.service"])
        pair.host.ec2net("refresh")
    finally:
        pair.host.run(
            ["rm", "-f", timer, f"{wants}/nm-cloud-setup.timer", "/etc/ec2net/ec2net.toml"]
        )
    assert pair.refresh() == ""
