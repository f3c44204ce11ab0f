# SPDX-License-Identifier: Apache-2.0
"""The state of a booted host, in subnets of every kind, and after a reboot."""

import re
from typing import Any

import pytest
from lab_boot import Boot, assert_ends_as, mtus
from lab_instance import MANY, LabInstance

pytestmark = pytest.mark.lab

ADMIN = """\
[Match]
Name=ens6
[Network]
DHCP=ipv4
LLMNR=no
[DHCPv4]
UseRoutes=no
"""

NETPLAN = """\
[Match]
Name=ens5
[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6
[DHCP]
RouteMetric=100
UseMTU=true
"""

EKS = """\
[Match]
MACAddress=06:ec:02:00:00:01
[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
LLMNR=no
DNSDefaultRoute=yes
[DHCPv4]
UseHostname=no
RouteMetric=512
[IPv6AcceptRA]
RouteMetric=512
"""

USERS = """\
[Match]
Driver=veth
Name=ens5
[Network]
DHCP=yes
"""

OTHERS = {
    "10-netplan-ens5.network": NETPLAN,
    "70-eks-ens5.network": EKS,  # by the MAC, as EKS's nodeadm writes its files
    "50-mine.network": USERS,
}


@pytest.mark.backend("networkd")
def test_a_booted_host_matches_its_readme(boot: Boot) -> None:
    """The seed's 'Installation verification'; and with networkd's own journal: each link was
    configured once, no lease was lost (upstream: 'DHCP lease lost' at each boot)."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        instance.vpc.attach(instance.two, **MANY)

    with boot(before=enis) as instance:
        instance.until_at_rest()
        until_configured(instance, "ens5", "ens6")
        status = instance.host.networkctl("ens5")
        assert status["Network File"] == "/run/systemd/network/70-ens5.network"
        assert status["State"] == "routable (configured)"
        assert status["MTU"].startswith("9001 ")
        primary = instance.primary
        leased = rf"{primary.ipv4s[0]} \(DHCP(v)?4 via {instance.one.gateway_ipv4}\)"
        assert re.search(leased, status["Address"])
        assert "169.254.169.253" in status["DNS"]
        assert status["Search Domains"] == "ec2.internal"
        names = status["Alternative Names"].split("\n")
        assert {"device-number-0.0", str(primary.eni_id)} <= set(names)
        assert "10.0.1.1" in status["Gateway"]
        second = instance.host.networkctl("ens6")
        assert second["Network File"] == "/run/systemd/network/70-ens6.network"
        assert second["State"] == "routable (configured)"
        assert "DNS" not in second  # R12: from the primary only
        assert instance.bounces() == []
        assert len(instance.configured("ens5")) == 1
        assert len(instance.configured("ens6")) == 1
        assert instance.host.run(["ec2net", "verify"]).returncode == 0
        state = instance.host.run(["systemctl", "is-system-running"], check=False)
        assert state.stdout.strip() == "running"

        before, held = instance.kernel(), ipv4s(instance)
        assert {link: addresses[0]["local"] for link, addresses in held.items()} == {
            eni.name: str(eni.ipv4s[0]) for eni in instance.vpc.enis
        }
        assert not [a for addresses in held.values() for a in addresses if a.get("secondary")]
        instance.host.reboot()
        instance.host.run(["systemctl", "stop", "ec2net-refresh.timer"])
        instance.complete()
        assert [name for name in instance.files() if "ens" in name]
        assert_ends_as(instance, before)
        assert ipv4s(instance) == held  # R14: the same order and flags
        assert instance.bounces() == []
        assert len(instance.configured("ens6")) == 1
        assert instance.refresh() == ""


def until_configured(instance: LabInstance, *links: str) -> None:
    """The network manager reports this some time after the addresses work."""
    instance.host.wait_until(
        lambda: all(instance.setting.has_configured(instance.host, link) for link in links),
        60,
        f"{', '.join(links)} configured",
    )


def ipv4s(instance: LabInstance) -> dict[str, list[dict[str, Any]]]:
    """By link, in the kernel's order."""
    found = instance.host.ip("-4", "addr", "show")
    return {entry["ifname"]: entry["addr_info"] for entry in found if entry["ifname"] != "lo"}


KINDS = {
    "IPv4 only": ("10.0.7.0/24", None),
    "IPv6 only": (None, "2001:db8:0:7::/64"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_secondary_in_a_subnet_of_one_family_works(boot: Boot, kind: str) -> None:
    with boot() as instance:
        cursor = instance.host.cursor()
        subnet = instance.vpc.add_subnet(*KINDS[kind])
        several: dict[str, Any] = {"ipv4": 2} if "4" in kind else {"ipv6": 2}
        eni = instance.vpc.attach(subnet, **several)
        took = instance.complete(eni)
        print(f"{instance.setting}: {kind}: complete after {took:.2f} s")
        assert instance.unreachable() == []
        assert instance.bounces(cursor) == []
        assert instance.refresh() == ""
        until_configured(instance, eni.name)


def test_a_primary_in_an_ipv6_only_subnet_works(boot: Boot) -> None:
    def alone(instance: LabInstance) -> None:
        subnet = instance.vpc.add_subnet(None, "2001:db8:0:7::/64")
        instance.vpc.attach(subnet, device=0, ipv6=2)

    fast = {"/etc/ec2net/ec2net.toml.d/20-fast.toml": "ipv4_fast_failure = true\n"}
    with boot(before=alone, files=fast) as instance:
        until_configured(instance, "ens5")
        last = [r for r in instance.host.ip("rule", "show") if r["priority"] == 32765]
        assert [rule["action"] for rule in last] == ["unreachable"]
        assert instance.bounces() == []
        assert instance.refresh() == ""


def test_two_enis_in_one_subnet_and_a_second_network_card_work(boot: Boot) -> None:
    """Replies leave through the ENI that got the request (ENU#55, ENU#174); numbers derive from
    card and device."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.cards = 2
        instance.vpc.attach(instance.one, device=0)
        instance.vpc.attach(instance.one, device=1, ipv4=2)
        instance.vpc.attach(instance.one, card=1, device=1, ipv6=2)

    with boot(before=enis) as instance:
        peer = instance.vpc.add_peer(instance.one)
        assert instance.vpc.check_in(*instance.vpc.enis, of=peer) != []
        bad = [t for t in instance.vpc.check_in(*instance.vpc.enis, of=peer) if not t.ok]
        assert bad == []
        priorities = {rule["priority"] for rule in instance.host.ip("rule", "show")}
        assert {10001, 10101} <= priorities
        assert instance.bounces() == []


@pytest.mark.backend("networkd")
def test_a_file_of_the_administrator_takes_precedence(boot: Boot) -> None:
    """R7: with a file of the same name in /etc, ec2net writes none and reports no problem."""
    files = {"/etc/systemd/network/70-ens6.network": ADMIN}
    with boot(files=files) as instance:
        eni = instance.attach("ens6", ipv4=2, ipv6=0)
        instance.complete(eni)
        status = instance.host.networkctl("ens6")
        assert status["Network File"] == "/etc/systemd/network/70-ens6.network"
        assert "/run/systemd/network/70-ens6.network" not in instance.files()
        # networkd adds the router's routes to main later; the rules keep the primary from them.
        instance.host.wait_until(lambda: instance.refresh() == "", 60, "an empty plan")
        primary = instance.host.networkctl("ens5")
        assert primary["State"] == "routable (configured)"


@pytest.mark.backend("networkd")
@pytest.mark.parametrize("name", list(OTHERS))
def test_a_foreign_file_in_run_gets_a_drop_in(boot: Boot, name: str) -> None:
    """R7, ENU#101, ENU#146: the foreign file sorts before ec2net's, so networkd uses it, and it
    stays. The drop-in exists before networkd reads any file, so no lease is lost."""
    files = {
        "/etc/systemd/system/others.service": OTHERS_UNIT.format(name=name),
        "/etc/systemd/system-preset/10-others.preset": "enable others.service\n",
        "/etc/others.network": OTHERS[name],
    }
    with boot(files=files) as instance:
        status = instance.host.networkctl("ens5")
        assert status["Network File"].split("\n")[0] == f"/run/systemd/network/{name}"
        drop_in = f"/run/systemd/network/{name}.d/50-ec2net.conf"
        assert drop_in in instance.files()
        assert instance.refresh() == ""
        assert len(instance.configured("ens5")) == 1
        assert instance.bounces() == []
        cursor = instance.host.cursor()
        instance.host.run(["networkctl", "reload"])
        instance.refresh()
        assert instance.bounces(cursor) == []
        assert instance.unreachable() == []
        assert "file /run" not in instance.host.ec2net("plan").stdout


MTU_FILES = {
    "/etc/ec2net/ec2net.toml.d/20-mtu.toml": (
        '[[eni]]\nmatch = { name = "ens21" }\nmtu = 1400\n'
        '[[eni]]\nmatch = { name = "ens22" }\nmtu = "keep"\n'
    )
}


def test_the_mtu_is_leased_or_fixed_or_unchanged(boot: Boot) -> None:
    """R11, ENU#170: links start with 9001, and the DHCP server sends 1500. NetworkManager uses
    DHCP's MTU when the profile sets none, and has no setting against it."""
    with boot(files=MTU_FILES) as instance:
        instance.vpc.mtu = 1500
        untouched = 9001 if instance.setting.backend == "networkd" else 1500
        subnet = instance.vpc.add_subnet("10.0.7.0/24", "2001:db8:0:7::/64")
        wanted = {"ens20": 1500, "ens21": 1400, "ens22": untouched}
        enis = [instance.vpc.attach(subnet, name, ipv4=2, ipv6=1) for name in wanted]
        instance.complete(*enis)
        instance.host.wait_until(lambda: mtus(instance, wanted) == wanted, 60, f"{wanted}")
        if instance.setting.resident:
            instance.refresh()  # or it is some milliseconds from doing so by itself
        assert instance.refresh() == ""
        instance.setting.reload(instance.host)
        assert mtus(instance, wanted) == wanted
        servers_are_asked_as_configured(instance)


def servers_are_asked_as_configured(instance: LabInstance) -> None:
    """``dns_default_route``, which networkd has; without it the rest is done and the fault named."""

    def resolvectl(verb: str, link: str) -> str:
        return str(instance.host.run(["resolvectl", verb, link]).stdout).partition(": ")[2].strip()

    instance.host.write(
        "/etc/ec2net/ec2net.toml.d/30-dns.toml",
        '[[eni]]\nmatch = { name = "ens21" }\ndns_default_route = "yes"\n',
    )
    if instance.setting.resident:
        instance.host.run(["systemctl", "reload", "ec2net.service"])
    done = instance.host.ec2net("refresh", check=False)
    if instance.setting.backend != "networkd":
        assert done.returncode == 1
        assert "ens21: backend networkmanager: dns_default_route: " in done.stderr
        return
    instance.host.wait_until(
        lambda: "169.254.169.253" in resolvectl("dns", "ens21"), 60, "servers of ens21"
    )
    told = [resolvectl("default-route", link) for link in ("ens5", "ens20", "ens21")]
    assert told == ["yes", "no", "yes"]
    assert resolvectl("dns", "ens20") == ""
    # networkd 252 takes the lease again for its new file, which ec2net intends.
    said = [entry.message for entry in instance.host.journal()]
    assert not [text for text in said if "drift: " in text]


OTHERS_UNIT = """\
[Unit]
DefaultDependencies=no
Before=systemd-networkd.service ec2net-early.service
After=systemd-tmpfiles-setup.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mkdir -p /run/systemd/network
ExecStart=/bin/cp /etc/others.network /run/systemd/network/{name}
[Install]
WantedBy=systemd-networkd.service
"""
