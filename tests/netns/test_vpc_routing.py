# SPDX-License-Identifier: Apache-2.0
"""The simulated VPC distinguishes right routing from wrong: the tests configure it with ``ip``
alone."""

from ipaddress import IPv6Address

import pytest

from ec2net.core.simulation.vpc.checks import PrefixUse
from ec2net.core.simulation.vpc.connections import Address, Answer, Failure, Tick
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
from ec2net.core.simulation.vpc.subnet import GATEWAY_LINK_LOCAL

pytestmark = pytest.mark.netns

SHORT = 0.15
"""Seconds for connections that are meant to fail; those that work take a few ms."""

DUAL = ("10.0.1.0/24", "2001:db8:0:1::/64")
DUAL_2 = ("10.0.2.0/24", "2001:db8:0:2::/64")


def configure(vpc: SimulatedVpc, eni: Eni) -> None:
    """Policy routing for a secondary ENI, as an administrator would type it."""
    table = 10000 + eni.device
    lines = [f"link set {eni.name} up"]
    lines += [f"addr add {a}/{a.max_prefixlen} dev {eni.name}" for a in eni.addresses()]
    if eni.subnet.ipv4 is not None:
        lines.append(f"route add {eni.subnet.ipv4} dev {eni.name} table {table}")
        lines.append(
            f"route add default via {eni.subnet.gateway_ipv4} dev {eni.name} table {table}"
        )
    if eni.subnet.ipv6 is not None:
        lines.append(f"route add {eni.subnet.ipv6} dev {eni.name} table {table}")
        lines.append(f"route add default via {GATEWAY_LINK_LOCAL} dev {eni.name} table {table}")
    vpc.guest.ip(lines)
    for version in (4, 6):
        rules = [f"rule add from {n} lookup {table}" for n in eni.holds() if n.version == version]
        vpc.guest.ip(rules, version=version)


def failed(ticks: list[Tick]) -> list[Tick]:
    return [tick for tick in ticks if not tick.ok]


def test_the_primary_works_with_the_configuration_of_dhcp(vpc: SimulatedVpc) -> None:
    primary = vpc.attach(vpc.add_subnet(*DUAL))
    vpc.configure_primary_base(primary)
    ticks = vpc.check_out(primary) + vpc.check_in(primary)
    assert len(ticks) == 4
    assert not failed(ticks)
    assert vpc.dropped() == 0


def test_a_check_covers_every_address_and_three_of_each_prefix(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2), ipv4=3, ipv6=2, ipv4_prefixes=1, ipv6_prefixes=1)
    configure(vpc, eni)
    ticks = vpc.check_out(eni)
    assert [tick.address for tick in ticks] == list(eni.samples())
    assert len(ticks) == 3 + 2 + 3 + 3
    assert not failed(ticks)
    assert not failed(vpc.check_in(eni))
    assert vpc.dropped() == 0


def test_without_rules_the_source_check_drops_packets_and_names_them(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2))
    vpc.guest.ip(
        [
            f"link set {eni.name} up",
            *(f"addr add {a}/{a.max_prefixlen} dev {eni.name}" for a in eni.addresses()),
        ]
    )
    ticks = vpc.check_out(eni, timeout=SHORT)
    assert not any(tick.ok for tick in ticks)
    assert all("dropped its packets at ens5" in tick.reason for tick in ticks)
    assert vpc.dropped() >= 2
    assert {drop.source for drop in vpc.drops()} == {str(a) for a in eni.addresses()}
    assert {drop.port for drop in vpc.drops()} == {"ens5"}
    assert not any(tick.ok for tick in vpc.check_in(eni, timeout=SHORT))


def test_a_wrong_rule_increments_the_counter(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2), ipv4=2, ipv6=0)
    configure(vpc, eni)
    assert not failed(vpc.check_out(eni))
    assert vpc.dropped() == 0
    vpc.guest.ip([f"rule del from {eni.ipv4s[1]} lookup 10001"])
    assert [tick.address for tick in failed(vpc.check_out(eni, timeout=SHORT))] == [eni.ipv4s[1]]
    assert vpc.dropped() > 0


def test_addresses_can_be_assigned_and_unassigned(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2))
    address, prefix = eni.assign_ipv4(), eni.assign_ipv4_prefix()
    address6, prefix6 = eni.assign_ipv6(), eni.assign_ipv6_prefix()
    configure(vpc, eni)
    assert not failed(vpc.check_out(eni) + vpc.check_in(eni))
    eni.unassign_ipv4(address)
    eni.unassign_ipv6(address6)
    eni.unassign_ipv4_prefix(prefix)
    eni.unassign_ipv6_prefix(prefix6)
    assert not failed(vpc.check_out(eni))
    assert vpc.dropped() == 0
    for lost in (address, address6):
        assert isinstance(
            vpc.connect(vpc.guest, lost, vpc.outside.address(lost.version) or "", timeout=SHORT),
            Failure,
        )
    assert {drop.source for drop in vpc.drops()} == {str(address), str(address6)}


def test_prefixes_as_routes_need_an_owner_of_their_addresses(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2), ipv4_prefixes=1, ipv6_prefixes=1)
    configure(vpc, eni)
    ticks = vpc.check_in(eni, prefixes=PrefixUse.AS_IS, timeout=SHORT)
    assert {tick.address for tick in failed(ticks)} == set(eni.samples()) - set(eni.addresses())
    vpc.guest.ip(f"route add local {prefix} dev lo" for prefix in eni.prefixes())
    assert not failed(vpc.check_in(eni, prefixes=PrefixUse.AS_IS))


def test_a_check_leaves_no_routes_in_the_guest(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2), ipv4_prefixes=1, ipv6_prefixes=1)
    configure(vpc, eni)

    def routes() -> list[str]:
        return [vpc.guest.run(["ip", v, "route", "show", "table", "all"]).stdout for v in "46"]

    before = routes()
    vpc.check_out(eni)
    assert routes() == before


def test_two_enis_in_one_subnet_work(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet(*DUAL)
    vpc.configure_primary_base(vpc.attach(subnet))
    eni = vpc.attach(subnet, ipv4=2, ipv6=2)
    configure(vpc, eni)
    peer = vpc.add_peer(subnet)
    ticks = vpc.check_out(*vpc.enis) + vpc.check_in(*vpc.enis)
    ticks += vpc.check_out(*vpc.enis, to=peer) + vpc.check_in(*vpc.enis, of=peer)
    assert not failed(ticks)
    assert vpc.dropped() == 0


def test_a_reply_through_the_wrong_eni_of_the_subnet_is_dropped(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet(*DUAL)
    vpc.configure_primary_base(vpc.attach(subnet))
    eni = vpc.attach(subnet)
    configure(vpc, eni)
    peer = vpc.add_peer(subnet)
    for version in (4, 6):
        # The rule of NetworkManager and SUSE: main's connected subnet leads to ens5.
        rule = "rule add priority 100 lookup main suppress_prefixlength 0"
        vpc.guest.ip([rule], version=version)
    assert not failed(vpc.check_in(eni))
    assert not any(tick.ok for tick in vpc.check_in(eni, of=peer, timeout=SHORT))
    assert {drop.port for drop in vpc.drops()} == {"ens5"}


def test_only_the_mapping_answers_for_an_address(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet(*DUAL)
    vpc.configure_primary_base(vpc.attach(subnet))
    eni = vpc.attach(subnet)
    configure(vpc, eni)
    # Linux answers ARP for any of its addresses on any of its links; a VPC does not ask it.
    vpc.router.ip([f"neigh del {a} dev {subnet.bridge}" for a in eni.addresses()])
    assert not any(tick.ok for tick in vpc.check_in(eni, timeout=SHORT))


def test_an_ipv6_only_subnet_works(vpc: SimulatedVpc) -> None:
    primary = vpc.attach(vpc.add_subnet(None, "2001:db8:0:1::/64"))
    vpc.configure_primary_base(primary)
    eni = vpc.attach(vpc.add_subnet(None, "2001:db8:0:2::/64"), ipv6=2, ipv6_prefixes=1)
    configure(vpc, eni)
    ticks = vpc.check_out(primary, eni) + vpc.check_in(primary, eni)
    assert {type(tick.address) for tick in ticks} == {IPv6Address}
    assert not failed(ticks)


def test_link_local_services_answer_every_source(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    eni = vpc.attach(vpc.add_subnet(*DUAL_2))
    configure(vpc, eni)
    services: list[tuple[Address, str]] = [
        (eni.ipv4s[0], "169.254.169.253"),
        (eni.ipv6s[0], "fd00:ec2::253"),
    ]
    for source, service in services:
        answer = vpc.connect(vpc.guest, source, service)
        assert isinstance(answer, Answer)
        assert (answer.seen, str(answer.local)) == (source, service)
    # As on-link destinations too, which need answers to ARP and neighbour discovery.
    vpc.guest.ip(f"route add {service} dev ens6 table 10001" for _, service in services)
    for source, service in services:
        assert isinstance(vpc.connect(vpc.guest, source, service), Answer)


def test_three_enis_with_twenty_addresses_are_checked_concurrently(vpc: SimulatedVpc) -> None:
    vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
    for number in (2, 3, 4):
        subnet = vpc.add_subnet(f"10.0.{number}.0/24", f"2001:db8:0:{number}::/64")
        configure(vpc, vpc.attach(subnet, ipv4=10, ipv6=10))
    ticks = vpc.check_out(*vpc.enis) + vpc.check_in(*vpc.enis)
    assert len(ticks) == 2 * 62
    assert not failed(ticks)
