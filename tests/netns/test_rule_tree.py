# SPDX-License-Identifier: Apache-2.0
"""The kernel's answers with a tree of rules are those of plain rules, also while one replaces the other."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeAlias

import pytest
from instance import Instance, primary, subnets

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import AnyAddress
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SEED, SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

EACH: dict[str, Any] = {"ipv4": 34, "ipv6": 24, "ipv4_prefixes": 1, "ipv6_prefixes": 1}
TO = {
    4: ("198.51.100.7", "10.0.1.9", "10.0.2.9", "172.17.0.9"),
    6: ("2001:db8:ffff::7", "2001:db8:0:2::9"),
}

Ways: TypeAlias = dict[tuple[AnyAddress | None, str], int]


@pytest.fixture(scope="module")
def host(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """Two of three secondary ENIs have one subnet; their addresses are random."""
    with SimulatedVpc(prefix="tree-", seed=SEED) as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, ipv4=2, ipv6=2)
        for subnet in (second, second, first):
            vpc.attach(subnet, **EACH)
        vpc.guest.ip(["link add docker0 type bridge", "link set docker0 up"])
        vpc.guest.ip(["addr add 172.17.0.1/16 dev docker0"])
        instance.refresh_twice()
        yield instance


def rules(instance: Instance) -> list[dict[str, Any]]:
    found = []
    for family in ("-4", "-6"):
        listed = instance.guest.run(["ip", "-j", family, "rule"]).stdout
        found += [rule for rule in json.loads(listed) if str(rule.get("protocol")) == "236"]
    return found


def has_tree(instance: Instance) -> bool:
    return any(int(rule["priority"]) >= 22800 for rule in rules(instance))


def is_whole_tree(instance: Instance) -> bool:
    return all(int(rule["priority"]) >= 22800 for rule in rules(instance))


def strangers(enis: Iterable[Eni]) -> Iterator[AnyAddress | None]:
    """Sources that no ENI has: the neighbours of those that one has, and none at all."""
    taken = {address for eni in enis for address in eni.addresses()}
    for address in sorted(taken, key=int):
        kind = IPv4Address if address.version == 4 else IPv6Address
        if (other := kind(int(address) ^ 1)) not in taken:
            yield other
    yield None


def sources(instance: Instance) -> list[AnyAddress | None]:
    enis = instance.vpc.enis
    owned = [address for eni in enis for address in eni.addresses()]
    forwarded = [prefix[5] for eni in enis for prefix in eni.prefixes()]
    return [*owned, *forwarded, *strangers(enis)]


def asked(instance: Instance, of: Iterable[AnyAddress | None]) -> Callable[[], Ways]:
    listed = json.loads(instance.guest.run(["ip", "-j", "link"]).stdout)
    bridge = next(int(one["ifindex"]) for one in listed if one["ifname"] == "docker0")
    own = {address for eni in instance.vpc.enis for address in eni.addresses()}
    wanted = list(of)

    def ask() -> Ways:
        found: Ways = {}
        with Kernel(236) as kernel:
            for source in wanted:
                for to in TO[source.version] if source else (*TO[4], *TO[6]):
                    into = bridge if source is not None and source not in own else 0
                    answer = 0
                    with suppress(KernelError):
                        answer = kernel.lookup(ip_address(to), source, into=into).link
                    found[source, to] = answer
        return found

    return ask


def ways(instance: Instance) -> Ways:
    return instance.guest.call(asked(instance, sources(instance)))


def make_plain(instance: Instance, verb: str = "add") -> None:
    """By a rule of another maker between the numbers of ec2net."""
    for version in (4, 6):
        instance.guest.ip([f"rule {verb} priority 20000 fwmark 7 lookup 77"], version=version)


def during_refresh(instance: Instance, ask: Callable[[], Ways], right: Ways) -> None:
    """Run one pass; the answers must be ``right`` at each moment."""
    rounds = 0
    with ThreadPoolExecutor(1) as other:
        done = other.submit(instance.refresh)
        while not done.done():
            assert instance.guest.call(ask) == right
            rounds += 1
        assert done.result()
    assert rounds > 2


def until_quiet(instance: Instance) -> None:
    for _ in range(4):
        if not instance.refresh():
            return
    assert instance.refresh() == []


def test_a_tree_and_plain_rules_give_the_same_ways_and_no_way_is_lost_in_between(
    host: Instance,
) -> None:
    assert is_whole_tree(host)
    by_tree = ways(host)
    enis = {address: eni for eni in host.vpc.enis for address in eni.addresses()}
    owned = asked(host, [*enis])
    right = host.guest.call(owned)
    for verb, plain in (("add", True), ("del", False)):
        make_plain(host, verb)
        during_refresh(host, owned, right)
        until_quiet(host)
        assert has_tree(host) is not plain
        assert ways(host) == by_tree


def test_addresses_that_change_keep_the_ways_of_the_others(host: Instance) -> None:
    eni = host.vpc.enis[1]
    for address in eni.addresses()[25:45]:
        (eni.unassign_ipv4 if isinstance(address, IPv4Address) else eni.unassign_ipv6)(address)  # type: ignore[arg-type]
    staying = asked(host, [address for one in host.vpc.enis for address in one.addresses()])
    right = host.guest.call(staying)
    during_refresh(host, staying, right)
    until_quiet(host)
    assert is_whole_tree(host)
    assert host.guest.call(staying) == right
    host.ec2net("verify")
    for _ in range(20):
        eni.assign_ipv6()
    until_quiet(host)
    assert host.guest.call(staying) == right
    host.ec2net("verify")


def test_a_removed_rule_of_the_tree_is_added_again(host: Instance) -> None:
    before, right = sorted(map(str, rules(host))), ways(host)
    for priority in ("22800", "29999"):
        host.guest.ip([f"rule del priority {priority}"], version=6)
    assert host.ec2net("verify", status=None).returncode != 0
    host.ec2net("refresh")
    assert sorted(map(str, rules(host))) == before
    assert ways(host) == right


def test_explain_shows_the_rules_that_a_source_meets(host: Instance) -> None:
    eni = host.vpc.enis[2]
    address = eni.addresses()[-1]
    shown = json.loads(host.ec2net("explain", "--json", str(address)).stdout)["rules"]
    assert shown[0].startswith("rule 22800: from ")
    assert any(f"from {address}/128 goto " in rule for rule in shown)
    assert sum(" lookup 10002" in rule for rule in shown) == 1
    assert len(shown) < 12
    dot = host.ec2net("explain", "--dot", eni.name).stdout
    assert "goto" not in dot
    assert str(address) in dot


def test_a_removal_leaves_no_rule(host: Instance) -> None:
    for eni in host.vpc.enis[1:]:
        host.ec2net("remove", eni.name)
    assert rules(host) == []
    until_quiet(host)
    assert is_whole_tree(host)
