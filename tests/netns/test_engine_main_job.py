# SPDX-License-Identifier: Apache-2.0
"""The main job: every address of every ENI works, in and out, and the source check drops nothing."""

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from containers import docker0
from instance import CHECK_SECONDS, FAILING, HANGS, MANY, PROGRAM_LIMIT, Instance, primary, subnets

from ec2net.core.simulation.vpc.checks import PrefixUse
from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]


def assert_settled(instance: Instance) -> None:
    """The next pass has nothing to do, and the kernel's answers are as intended."""
    assert instance.plan()["changes"] == []
    instance.ec2net("verify")


@pytest.mark.parametrize("shared", [False, True], ids=["own-subnets", "one-subnet"])
def test_three_enis_with_many_addresses_and_prefixes(instance: Instance, shared: bool) -> None:
    """Every address and prefix, in and out; ENU#174 when all ENIs are in one subnet."""
    vpc = instance.vpc
    where = subnets(vpc, 1) * 3 if shared else subnets(vpc, 3)
    primary(vpc, where[0], **MANY)
    for subnet in where[1:]:
        vpc.attach(subnet, **MANY)
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    assert_settled(instance)


def test_a_peer_in_any_subnet_reaches_every_address_and_is_reached(instance: Instance) -> None:
    """A host in another ENI's subnet is answered through the own ENI, the primary included.

    main has no route of a secondary's subnet: with one, the primary's replies to hosts there
    would leave through the secondary and be dropped (ENU#174).
    """
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    vpc.attach(second, **MANY)
    vpc.attach(second, **MANY)
    peers = [vpc.add_peer(first), vpc.add_peer(second)]
    instance.ec2net("refresh")
    for peer in peers:
        assert instance.unreachable(*vpc.enis, host=peer) == []


@pytest.mark.parametrize("shared", [False, True], ids=["own-subnets", "one-subnet"])
def test_prefix_mode_local_puts_every_address_of_a_prefix_on_the_host(
    instance: Instance, shared: bool
) -> None:
    """Without any application's doing (R10, ENU#109)."""
    vpc = instance.vpc
    where = subnets(vpc, 1) * 2 if shared else subnets(vpc, 2)
    primary(vpc, where[0], **MANY)
    vpc.attach(where[1], **MANY)
    instance.configure('ipv4_prefix_mode = "local"\nipv6_prefix_mode = "local"\n')
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis, prefixes=PrefixUse.AS_IS) == []
    assert_settled(instance)
    instance.configure()
    instance.ec2net("refresh")
    ticks = vpc.check_in(*vpc.enis, prefixes=PrefixUse.AS_IS, timeout=FAILING)
    singles = {address for eni in vpc.enis for address in eni.addresses()}
    assert {tick.address for tick in ticks if tick.ok} <= singles
    assert instance.unreachable(*vpc.enis) == []


def test_a_prefix_works_without_an_address_of_its_family(instance: Instance) -> None:
    """EC2 delegates a /80 to an ENI that has no IPv6 address as well."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, ipv4=2, ipv6=0, ipv6_prefixes=1)
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    assert_settled(instance)
    eni.unassign_ipv6_prefix(eni.ipv6_prefixes[0])
    instance.ec2net("refresh")
    assert '"table": "10001"' not in str(instance.kernel()["routes 6"])


def test_a_prefix_without_a_mode_stays_unchanged(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    instance.configure('ipv4_prefix_mode = "none"\nipv6_prefix_mode = "none"\n')
    instance.ec2net("refresh")
    for prefix in eni.prefixes():
        assert instance.way(vpc.outside.address(prefix.version), prefix[0]) != eni.name
    for address in eni.addresses():
        assert instance.way(vpc.outside.address(address.version), address) == eni.name


def test_enis_on_two_network_cards_work(install: Callable[[SimulatedVpc], Instance]) -> None:
    """Tables by card and device number (ENU#104, ENU#153); 0 is a number like any other on card 1.

    2.7.4 took a failed read for 0 and led traffic into a black hole (item 47 of its analysis).
    """
    with SimulatedVpc(cards=2) as vpc:
        instance = install(vpc)
        first, second, third = subnets(vpc, 3)
        primary(vpc, first, **MANY)
        vpc.attach(second, **MANY)
        vpc.attach(second, card=1, device=0, **MANY)
        vpc.attach(third, card=1, device=1, **MANY)
        instance.ec2net("refresh")
        assert instance.unreachable(*vpc.enis) == []
        assert_settled(instance)
        tables = {eni["intent"]["table"] for eni in instance.status().values()}
        assert tables == {10000, 10001, 10100, 10101}
        altnames = [link for link in instance.kernel()["links"] if "device-number-1.1" in link]
        assert len(altnames) == 1


@pytest.mark.parametrize(
    ("ipv4", "ipv6"),
    [("10.0.9.0/24", None), (None, "2001:db8:0:9::/64")],
    ids=["ipv4-only", "ipv6-only"],
)
@pytest.mark.parametrize("primary_too", [False, True], ids=["secondary", "both"])
def test_a_subnet_of_one_family_works(
    instance: Instance, ipv4: str | None, ipv6: str | None, primary_too: bool
) -> None:
    """No probing for, and nothing configured of, the family that is not there (ENU#40, AL#569)."""
    vpc = instance.vpc
    one_family = vpc.add_subnet(ipv4, ipv6)
    primary(vpc, one_family if primary_too else subnets(vpc, 1)[0])
    held: dict[str, Any] = (
        {"ipv4": 3, "ipv4_prefixes": 1} if ipv4 else {"ipv6": 3, "ipv6_prefixes": 1}
    )
    eni = vpc.attach(one_family, **held)
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    assert_settled(instance)
    absent = "6" if ipv4 else "4"
    state = instance.kernel()
    ours = [line for line in state[f"rules {absent}"] if f'"{eni.device + 10000}"' in line]
    ours += [line for line in state[f"routes {absent}"] if '"table": "10001"' in line]
    assert ours == []


def test_an_eni_without_addresses_is_reported_and_stays_unchanged(instance: Instance) -> None:
    """EFA-only (EKS#2031, R38): neither an error nor a reason to wait."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    vpc.attach(second, **MANY)
    efa = vpc.attach(second, ipv4=0, ipv6=0)
    before = [line for line in instance.kernel()["links"] if efa.name in line]
    instance.ec2net("refresh")
    assert instance.status()[str(efa.mac)]["standing"] == "no-address"
    assert [line for line in instance.kernel()["links"] if efa.name in line] == before
    assert instance.unreachable(*vpc.enis[:2]) == []
    assert_settled(instance)


def test_start_waits_for_the_final_device_number(instance: Instance) -> None:
    """ENU#90: with the number read too early, two ENIs shared a table."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    instance.ec2net("refresh")
    with instance.running("start", "ens6", "--timeout", "60") as process:
        eni = vpc.attach(second, "ens6", propagation=Propagation(settled=None), **MANY)
        assert vpc.imds.wait_for(f"{eni.mac}/device-number", times=2, timeout=HANGS)
        assert '"table": "10001"' not in str(instance.kernel())
        assert process.poll() is None
        vpc.settle(eni)
        _, said = process.communicate(timeout=PROGRAM_LIMIT)
    assert process.returncode == 0, said
    assert instance.unreachable(*vpc.enis) == []
    assert_settled(instance)


def test_start_gives_up_a_pending_eni_at_its_deadline_and_the_next_refresh_continues(
    instance: Instance,
) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, propagation=Propagation(settled=None), **MANY)
    done = instance.ec2net("start", eni.name, "--timeout", "2", status=1, timeout=HANGS)
    assert "device-number" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    # Pending is not a failure of a pass over all: the others are as they should be.
    instance.ec2net("refresh")
    assert instance.status()[str(eni.mac)]["standing"] == "pending"
    vpc.settle(eni)
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []


def reaches(instance: Instance, source: object, destination: str, link: str) -> bool:
    """By a real connection, and by the kernel's answer."""
    there = instance.way(destination, source) == link
    seconds = CHECK_SECONDS if there else FAILING
    answer = instance.vpc.connect(
        instance.guest, str(source), destination, timeout=seconds, patient=True
    )
    assert isinstance(answer, Answer) is there, answer
    if isinstance(answer, Answer):
        assert str(answer.seen) == str(source)
    return there


@pytest.mark.parametrize("routing", ["main-first", "strict"])
def test_a_container_is_reached_from_an_address_of_a_secondary(
    instance: Instance, routing: str
) -> None:
    """Rules that bypass main cut containers and VPNs off (moby#35251, R5); strict does so."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main = primary(vpc, first, **MANY)
    eni = vpc.attach(second, **MANY)
    peers = [vpc.add_peer(first), vpc.add_peer(second)]
    instance.configure(f'routing = "{routing}"\n')
    instance.ec2net("refresh")
    with docker0(vpc) as container:
        for address in eni.ipv4s:
            assert reaches(instance, address, container, "docker0") is (routing == "main-first")
        assert reaches(instance, main.ipv4s[0], container, "docker0")
    for peer in peers:
        assert instance.unreachable(*vpc.enis, host=peer) == []
    assert_settled(instance)


def test_main_first_follows_a_single_route_to_a_tunnel(instance: Instance) -> None:
    """wg0, tun0: any route in main to a link that is no ENI, IPv6 too; but no default route."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    vpc.guest.ip(
        [
            "link add tun9 type bridge",
            "link set tun9 up",
            "route add 192.0.2.0/24 dev tun9",
            "route add 2001:db8:2::/48 dev tun9",
            "route add default dev tun9 metric 5",
        ]
    )
    for destination, source, link in (
        ("192.0.2.9", eni.ipv4s[1], "tun9"),
        ("2001:db8:2::9", eni.ipv6s[1], "tun9"),
        ("203.0.113.9", eni.ipv4s[1], eni.name),
        ("2001:db8:3::9", eni.ipv6s[1], eni.name),
    ):
        assert instance.way(destination, source) == link


_HALVES = ("0.0.0.0/1", "128.0.0.0/1", "::/3", "2000::/4", "3000::/4", "fc00::/7")
"""``redirect-gateway def1 ipv6`` of OpenVPN (openvpn(8) of 2.6): more specific than a default."""


@pytest.mark.parametrize("routing", ["main-first", "strict"])
def test_only_strict_routing_keeps_the_enis_out_of_a_vpn_without_a_default_route(
    instance: Instance, routing: str
) -> None:
    """docs/vpn.md: OpenVPN's halves are no default routes, so main-first obeys them."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, eni = primary(vpc, first), vpc.attach(second, **MANY)
    instance.configure(f'routing = "{routing}"\nprimary_rules = true\n')
    instance.ec2net("refresh")
    vpc.guest.ip(["link add tun9 type bridge", "link set tun9 up"])
    vpc.guest.ip([f"route add {half} dev tun9" for half in _HALVES])
    for one in (main, eni):
        for destination, source in (
            ("203.0.113.9", one.ipv4s[-1]),
            ("2600:db8:3::9", one.ipv6s[-1]),
        ):
            through = one.name if routing == "strict" else "tun9"
            assert instance.way(destination, source) == through
    if routing == "strict":
        instance.ec2net("refresh")  # main need not show the subnet: it leads into the VPN
        assert instance.unreachable(*vpc.enis) == []
        assert_settled(instance)


def test_routing_off_leaves_rules_and_tables_unchanged(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    before = instance.kernel()
    instance.configure('routing = "off"\n')
    instance.ec2net("refresh")
    state = instance.kernel()
    assert state["rules 4"] + state["rules 6"] == before["rules 4"] + before["rules 6"]
    assert '"table": "10001"' not in str(state)
    assert str(eni.ipv4s[3]) in str(state["addresses"])


@pytest.mark.parametrize("shared", [False, True], ids=["own-subnets", "one-subnet"])
def test_primary_rules_treat_the_primary_like_the_others(instance: Instance, shared: bool) -> None:
    """R6: replies of the primary are symmetric too, and a bridge still works."""
    vpc = instance.vpc
    where = subnets(vpc, 1) * 2 if shared else subnets(vpc, 2)
    main = primary(vpc, where[0], **MANY)
    eni = vpc.attach(where[1], **MANY)
    peer = vpc.add_peer(where[1])
    # A secondary's default route with the better metric: with rules that does not matter.
    instance.configure("primary_rules = true\n")
    instance.ec2net("refresh")
    vpc.guest.ip(
        [
            f"route add default via {eni.subnet.gateway_ipv4} dev {eni.name} onlink metric 1",
            f"route add default via fe80:ec2::1 dev {eni.name} metric 1",
        ]
    )
    assert instance.unreachable(*vpc.enis) == []
    assert instance.unreachable(*vpc.enis, host=peer) == []
    with docker0(vpc) as container:
        assert reaches(instance, main.ipv4s[0], container, "docker0")
        assert reaches(instance, main.ipv4s[3], container, "docker0")
    assert_settled(instance)


def test_the_primary_has_no_rules_by_default(instance: Instance) -> None:
    vpc = instance.vpc
    main = primary(vpc, *subnets(vpc, 1), **MANY)
    before = instance.kernel()
    instance.ec2net("refresh")
    after = instance.kernel()
    assert (after["rules 4"], after["rules 6"]) == (before["rules 4"], before["rules 6"])
    assert instance.unreachable(main) == []


@pytest.mark.parametrize("version", [4, 6])
def test_link_local_services_answer_every_address(instance: Instance, version: int) -> None:
    """From each owned source; packets were lost where a table had only its subnet (R32, K-g)."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    services = {4: ("169.254.169.254", "169.254.169.253", "169.254.169.123")}
    services[6] = ("fd00:ec2::254", "fd00:ec2::253", "fd00:ec2::123")
    attempts = [
        Attempt(source, ip_address(service))
        for eni in vpc.enis
        for source in eni.addresses()
        for service in services[version]
        if source.version == version
    ]
    answers = connect_all(instance.guest, attempts, CHECK_SECONDS, patient=True)
    assert [a.seen if isinstance(a, Answer) else a for a in answers] == [
        attempt.source for attempt in attempts
    ]
    assert vpc.dropped() == 0


def metrics(instance: Instance, version: int) -> list[tuple[str, int]]:
    """Link and metric of main's default routes, the best first."""
    command = ["ip", "-j", f"-{version}", "route", "show", "default"]
    found = json.loads(instance.guest.run(command).stdout)
    return sorted(((r["dev"], r.get("metric", 0)) for r in found), key=lambda pair: pair[1])


@pytest.mark.parametrize(("primarys", "ours"), [(512, True), (100, True), (600, False)])
def test_the_default_route_of_a_secondary_in_main_is_behind_that_of_the_primary(
    instance: Instance, primarys: int, ours: bool
) -> None:
    """Otherwise the host's own traffic would move: with a higher metric ec2net's route is
    omitted."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    eni = vpc.attach(first, device=0)
    vpc.configure_primary_base(eni, metric=primarys)
    vpc.attach(second)
    instance.ec2net("refresh")
    for version in (4, 6):
        expected = [("ens5", primarys)] + ([("ens6", 513)] if ours else [])
        assert metrics(instance, version) == expected
    assert_settled(instance)
    assert instance.unreachable(*vpc.enis) == []
