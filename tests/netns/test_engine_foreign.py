# SPDX-License-Identifier: Apache-2.0
"""Foreign objects are the same before and after every pass (R4; ENU#96, ENU#167,
keepalived#836)."""

import json
from typing import Any

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import State, assert_same, in_order, lacking, marked
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.netns

SELECTORS = (
    "from all fwmark 0x7/0xff",
    "from all uidrange 1000-1999",
    "from all iif docker0",
    "from all oif docker0",
    "to 192.0.2.0/24",
    "from all ipproto tcp dport 443",
    "not from 192.0.2.7",
    "from 198.51.100.0/25 suppress_prefixlength 0",
)
BANDS = (1, 500, 9998, 9999, 10000, 10001, 10002, 20000, 32765, 32766, 40000)


def foreign_rules(version: int, eni: Eni) -> list[str]:
    """Rules in every band, also in ec2net's, and rules that equal ec2net's except for the mark."""
    address = next(a for a in eni.addresses() if a.version == version)
    own_network = "192.0.2.0/24", "192.0.2.7", "198.51.100.0/25"
    lines = []
    for number, band in enumerate(BANDS):
        for selector in (SELECTORS[number % len(SELECTORS)], SELECTORS[(number + 3) % 8]):
            words = selector
            if version == 6:
                for ipv4, ipv6 in zip(
                    own_network,
                    ("2001:db8:9::/64", "2001:db8:9::7", "2001:db8:8::/64"),
                    strict=True,
                ):
                    words = words.replace(ipv4, ipv6)
            lines.append(f"rule add priority {band} {words} lookup 77")
    lines += [
        "rule add priority 600 from all fwmark 9 goto 20000",
        "rule add priority 601 from all fwmark 10 unreachable",
        f"rule add priority 10001 from {address} fwmark 3 lookup 10001",
        f"rule add priority 10001 from {address} lookup 10001",
        f"rule add priority 9000 from {address} lookup 10001 protocol static",
        f"rule add priority 9999 from {address} lookup main suppress_prefixlength 0",
        f"rule add priority 10001 from {address} lookup 77",
    ]
    return lines


def disturb(instance: Instance, first: Eni, second: Eni) -> None:
    """Every kind of object of an administrator, a CNI, a VPN or keepalived."""
    instance.guest.ip(
        [
            "link add docker0 mtu 1400 group 7 type bridge",
            "link property add dev docker0 altname uplink",
            "addr add 172.17.0.1/16 dev docker0",
            "link set docker0 up",
            f"link set {second.name} up alias mine txqueuelen 500",
            f"link property add dev {second.name} altname customer-a",
            f"link property add dev {first.name} altname customer-b",
            # Virtual addresses, labelled and not, and assigned addresses that another tool added
            # first.
            f"addr add 10.0.1.200/32 dev {first.name} label {first.name}:vip",
            f"addr add 10.0.2.200/32 dev {second.name}",
            f"addr add 2001:db8:0:2::200/128 dev {second.name} nodad",
            f"addr add {second.ipv4s[1]}/32 dev {second.name}",
            f"addr add {second.ipv6s[1]}/64 dev {second.name} nodad noprefixroute",
            f"addr add {first.ipv4s[1]}/32 dev {first.name} preferred_lft 0",
            f"addr add {second.ipv4s[2]}/32 dev lo",
            # Routes in main, in foreign tables, and in ec2net's tables.
            "route add 192.0.2.0/24 dev docker0 metric 77",
            "route add blackhole 192.0.2.128/25",
            f"route add 203.0.113.0/24 dev {second.name} table 77 mtu 1400",
            "route add unreachable default table 10001 metric 4000",
            f"route add 203.0.113.0/24 dev {second.name} table 10001 proto static",
            f"route add 203.0.113.0/24 dev {first.name} table 10002 proto bird",
            f"route add 203.0.113.64/26 nexthop dev {first.name} nexthop dev {second.name}",
            f"route add default via 10.0.1.1 dev {first.name} table 10000",
            f"route add 2001:db8:9::/64 dev {second.name} table 10001 proto static",
            f"route add 2001:db8:9::/64 dev {second.name} metric 3 proto static",
            "route add unreachable 2001:db8:a::/48",
        ]
    )
    for version in (4, 6):
        instance.guest.ip(foreign_rules(version, second), version=version)


def links(state: State, drop: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found = {}
    for line in state["links"]:
        link = json.loads(line)
        found[link["ifname"]] = {k: v for k, v in link.items() if k not in drop}
    return found


def assert_foreign_is_the_same(before: State, after: State, enis: list[Eni]) -> None:
    """Every earlier object exists, rules in the same order; of the ENIs' links only ec2net's
    settings differ."""
    for subject in ("addresses", "routes 4", "routes 6"):
        assert lacking(before[subject], after[subject]) == [], subject
    for subject in ("rules 4", "rules 6"):
        assert in_order(before[subject], after[subject]), subject
    names = {eni.name for eni in enis}
    old, new = links(before, ()), links(after, ())
    for name, link in old.items():
        if name not in names:
            assert new[name] == link
        assert set(link.get("altnames", ())) <= set(new[name].get("altnames", ()))
    ours = ("group", "altnames")
    assert links(before, ours) == links(after, ours)
    changed = lacking(after["sysctls"], before["sysctls"])
    assert all(line.split(":")[0].endswith("/accept_ra") for line in changed)
    assert {line.split("/")[-2] for line in changed} <= names


@pytest.fixture
def disturbed(instance: Instance) -> Instance:
    vpc = instance.vpc
    where = subnets(vpc, 2)
    first = primary(vpc, where[0], **MANY)
    second = vpc.attach(where[1], **MANY)
    disturb(instance, first, second)
    return instance


def test_no_pass_changes_anything_foreign(disturbed: Instance) -> None:
    """After every pass: first, second, of one link, after changes in IMDS, removal.

    Some of the foreign rules redirect traffic, which a pass reports: its exit status does not
    matter here.
    """
    vpc, (first, second) = disturbed.vpc, disturbed.vpc.enis
    before = disturbed.kernel()

    def check() -> None:
        assert_foreign_is_the_same(before, disturbed.kernel(), [first, second])

    disturbed.ec2net("refresh", status=None)
    check()
    assert disturbed.refresh(status=None) == []
    check()
    disturbed.ec2net("start", second.name, status=None)
    check()
    extra, prefix = second.assign_ipv4(), second.assign_ipv6_prefix()
    assert disturbed.refresh(status=None) != []
    check()
    second.unassign_ipv4(extra)
    second.unassign_ipv6_prefix(prefix)
    gone = second.ipv4s[1]  # a foreign change: it stays, although IMDS does not list it
    second.unassign_ipv4(gone)
    assert disturbed.refresh(status=None) != []
    check()
    disturbed.configure("primary_rules = true\n")
    disturbed.ec2net("refresh", status=None)
    check()
    disturbed.configure()
    disturbed.ec2net("refresh", status=None)
    check()
    with disturbed.imds.fault(vpc.imds_only_through(first)):
        disturbed.ec2net("refresh", status=None)
    check()
    disturbed.ec2net("remove", second.name)
    check()
    disturbed.ec2net("remove", first.name, "--force")
    assert_same(before, disturbed.kernel())


def test_every_address_works_among_foreign_objects(instance: Instance) -> None:
    """The objects above that do not redirect ec2net's traffic leave every address working."""
    vpc = instance.vpc
    where = subnets(vpc, 2)
    first, second = primary(vpc, where[0], **MANY), vpc.attach(where[1], **MANY)
    vpc.guest.ip([f"link set {second.name} up", f"addr add 10.0.2.200/32 dev {second.name}"])
    vpc.guest.ip([f"addr add {a}/32 dev {second.name}" for a in second.ipv4s[1:]])
    for version in (4, 6):
        rules = [line for line in foreign_rules(version, second) if "fwmark" in line]
        vpc.guest.ip(rules, version=version)
    instance.ec2net("refresh")
    assert instance.unreachable(first, second) == []
    assert instance.plan()["changes"] == []


def test_a_foreign_rule_counts_as_in_place_until_its_owner_removes_it(
    instance: Instance,
) -> None:
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1])
    source = eni.ipv4s[0]
    rule = f"priority 10001 from {source} lookup 10001"
    vpc.guest.ip([f"rule add {rule}"])
    assert not any(f"10001: from {source}" in change for change in instance.refresh())
    assert instance.refresh() == []
    vpc.guest.ip([f"rule del {rule}"])
    assert instance.refresh() == [f"add rule 10001: from {source}/32 lookup 10001"]


def test_a_foreign_rule_does_not_remove_its_main_first_rule_in_another_pass(
    instance: Instance,
) -> None:
    """Without its table rule the main-first rule seemed to have no owner: each pass for another ENI
    removed it, the next pass restored it, and the daemon, which sees both, never stopped."""
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1])
    vpc.guest.ip([f"rule add priority 10001 from {eni.ipv4s[0]} lookup 10001 protocol static"])
    instance.ec2net("refresh")
    before = instance.kernel()
    instance.ec2net("start", "ens5")
    assert_same(before, instance.kernel())
    with managed(instance) as manager:
        manager.until_configured(2)
        for _ in range(3):
            manager.poke()
        assert "rule 9999" not in manager.log()
    instance.ec2net("remove", eni.name)
    assert marked(instance.kernel()) == []


CONFLICTS = {
    "ipv4": "route add default via 10.0.2.9 dev {link} onlink table 10001 proto static",
    "ipv6": "route add default via fe80::9 dev {link} table 10001 proto static metric 1024",
    "on-link": "route add 10.0.2.0/24 via 10.0.1.1 dev ens5 table 10001 proto static",
    "blackhole": "route add blackhole default table 10001",
    "group": "link set {link} group 9",
}


@pytest.mark.parametrize("kind", CONFLICTS)
def test_a_conflicting_foreign_object_is_reported_and_stays(instance: Instance, kind: str) -> None:
    """ec2net never overwrites it; everything else is configured, and each pass reports the
    conflict."""
    vpc = instance.vpc
    where = subnets(vpc, 3)
    primary(vpc, where[0])
    eni, other = vpc.attach(where[1], **MANY), vpc.attach(where[2], **MANY)
    vpc.guest.ip([f"link set {eni.name} up", f"link set {other.name} up"])
    vpc.guest.ip([CONFLICTS[kind].format(link=eni.name)])
    before = instance.kernel()
    done = instance.ec2net("refresh", status=1)
    assert_foreign_is_the_same(before, instance.kernel(), [eni, other, vpc.enis[0]])
    said = [line for line in done.stderr.splitlines() if "a foreign object is in its place" in line]
    assert len(said) == 1
    assert eni.name in said[0]
    assert instance.unreachable(other) == []
    assert instance.status()[str(eni.mac)]["trouble"]
    assert instance.status()[str(other.mac)]["trouble"] == []
    again = instance.ec2net("refresh", "--json", status=1)
    assert json.loads(again.stdout)["changes"] == []
    assert len(instance.plan()["conflicts"]) == 1
    instance.ec2net("verify", status=4)


def test_an_alternative_name_on_another_link_affects_only_itself(
    instance: Instance,
) -> None:
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1], **MANY)
    vpc.guest.ip(["link add br9 type bridge", f"link property add dev br9 altname {eni.eni_id}"])
    done = instance.ec2net("refresh", status=1)
    assert str(eni.eni_id) in done.stderr
    assert instance.unreachable(*vpc.enis) == []
    link = links(instance.kernel(), ())["br9"]
    assert link["altnames"] == [str(eni.eni_id)]


def test_a_default_route_of_dhcp_counts_as_in_place(instance: Instance) -> None:
    """ec2net does not fight a DHCP client that runs on a secondary's link."""
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1])
    vpc.guest.ip(
        [
            f"link set {eni.name} up",
            f"addr add {eni.ipv4s[0]}/24 brd + dev {eni.name} noprefixroute",
            f"route add default via 10.0.2.1 dev {eni.name} onlink metric 513 proto dhcp",
        ]
    )
    before = instance.kernel()
    made = instance.refresh()
    assert not any(str(eni.ipv4s[0]) in change for change in made if "address" in change)
    assert_foreign_is_the_same(before, instance.kernel(), vpc.enis)
    assert instance.unreachable(*vpc.enis) == []
    instance.ec2net("remove", eni.name)
    instance.ec2net("remove", vpc.enis[0].name, "--force")
    assert_same(before, instance.kernel())


@pytest.mark.parametrize(
    "route",
    [
        "default via 10.0.2.1 dev ens6 onlink tos 0x10",
        "default via 10.0.2.9 dev ens6 onlink tos 0x10",
        "default via fe80:ec2::1 dev ens6 metric 1024 from 2001:db8:9::/64",
    ],
    ids=["tos", "tos-elsewhere", "source"],
)
def test_a_route_for_a_part_of_the_traffic_does_not_replace_the_default_route(
    instance: Instance, route: str
) -> None:
    """The route counted as ec2net's default route, so the ENI's other traffic left through the
    primary."""
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1])
    # With a link's last IPv4 address the kernel removes its routes, so one address stays.
    stays = f"addr add 192.0.2.1/32 dev {eni.name}"
    vpc.guest.ip([f"link set {eni.name} up", stays, f"route add {route} table 10001"])
    before = instance.kernel()
    instance.ec2net("refresh")
    assert instance.unreachable(eni) == []
    instance.ec2net("remove", eni.name)
    assert_foreign_is_the_same(before, instance.kernel(), vpc.enis)


@pytest.mark.parametrize("promoted", ["0", "1"])
def test_foreign_addresses_in_the_subnet_of_an_owned_one_outlive_it(
    instance: Instance, promoted: str
) -> None:
    """The kernel, which has them as secondaries of ec2net's address, removed them together."""
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1])
    vpc.guest.sysctl({f"net/ipv4/conf/{eni.name}/promote_secondaries": promoted})
    sysctls = instance.kernel()["sysctls"]
    instance.ec2net("refresh")
    for last in (200, 201):
        vpc.guest.ip([f"addr add 10.0.2.{last}/24 dev {eni.name}"])
    instance.ec2net("remove", eni.name)
    here = vpc.guest.run(["ip", "-4", "-o", "addr", "show", "dev", eni.name]).stdout
    assert [line.split()[3] for line in here.splitlines()] == ["10.0.2.200/24", "10.0.2.201/24"]
    assert instance.kernel()["sysctls"] == sysctls


def test_behind_a_foreign_address_the_first_of_ec2nets_moves_no_other(
    instance: Instance,
) -> None:
    """The kernel keeps it last, as a secondary: each pass took all others away and back again.

    It brings the kernel's route to the subnet in main. Without a correction the primary's replies
    would take it, and the VPC would drop them.
    """
    vpc = instance.vpc
    where = subnets(vpc, 2)
    primary(vpc, where[0])
    eni = vpc.attach(where[1], **MANY)
    vpc.guest.ip([f"link set {eni.name} up", f"addr add 10.0.2.200/24 dev {eni.name}"])
    instance.ec2net("refresh")
    before = instance.kernel()
    assert instance.refresh() == []
    assert_same(before, instance.kernel())
    assert instance.unreachable(*vpc.enis) == []
