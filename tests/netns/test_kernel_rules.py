# SPDX-License-Identifier: Apache-2.0
"""Rules of other makers: read with every selector, removed by the command that is suggested."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = pytest.mark.netns

OURS = 236
RULES = {
    "pref 100 from 10.0.2.21 lookup main": "",
    "pref 101 from 10.0.2.0/24 to 10.9.0.0/16 lookup 77": "",
    "pref 102 from 10.0.2.21 blackhole": "",
    "pref 103 from 10.0.2.21 unreachable": "",
    "pref 104 from 10.0.2.21 prohibit": "",
    "pref 105 not from all fwmark 0xca6c lookup 51820": "wg-quick",
    "pref 106 from all lookup main suppress_prefixlength 0": "wg-quick or a VPN like it",
    "pref 220 from all lookup 220": "strongSwan",
    "pref 512 from all to 10.0.2.9 lookup main": "the VPC CNI",
    "pref 5270 from all lookup 52": "tailscale",
    "pref 300 from 10.0.2.21 lookup main proto 18": "keepalived",
    "pref 301 from 10.0.2.21 iif lo lookup 9": "a tool that selects packets by more than addresses",
    "pref 302 from all uidrange 1-9 lookup 9": "a tool that selects packets by more than addresses",
    "pref 303 from all ipproto tcp dport 80-81 lookup 9": (
        "a tool that selects packets by more than addresses"
    ),
    "pref 304 from all tos 0x10 lookup 9": "a tool that selects packets by more than addresses",
    "pref 305 from all fwmark 0x1/0xff lookup 9": (
        "a tool that selects packets by more than addresses"
    ),
}


@pytest.fixture
def host() -> Iterator[Namespace]:
    namespace = Namespace.create("ruled")
    namespace.ip(["link set lo up", "addr add 10.0.2.21/32 dev lo"])
    yield namespace
    namespace.delete()


def ipv6(host: Namespace, words: str) -> None:
    done = host.run(["ip", "-6", *words.split()])
    assert (done.returncode, done.stderr) == (0, "")


def foreign(host: Namespace) -> tuple[PolicyRule, ...]:
    def read() -> tuple[PolicyRule, ...]:
        with Kernel(OURS) as kernel:
            return kernel.snapshot(()).policy

    return host.call(read)


@pytest.mark.parametrize("text", RULES)
def test_a_rule_is_read_whole_and_its_command_removes_it(host: Namespace, text: str) -> None:
    before = foreign(host)
    host.ip([f"rule add {text}"])
    (found,) = set(foreign(host)) - set(before)
    assert found.maker == RULES[text]
    listed = host.run(["ip", "rule"]).stdout
    numeric = found.describe().removeprefix("rule ").replace(": ", ":\t")
    if not found.others and not found.mark:
        lines = [line.partition(" proto ")[0].rstrip() for line in listed.splitlines()]
        assert numeric in lines
    command = found.deletion()
    assert bool(command) is not bool(found.maker)
    if command:
        done = host.run(command.split())
        assert (done.returncode, done.stderr) == (0, "")
        assert foreign(host) == before


def test_a_rule_of_ec2net_is_not_listed_as_foreign(host: Namespace) -> None:
    before = foreign(host)
    host.ip(["rule add pref 10001 from 10.0.2.21 lookup 10001 proto 236"])
    ipv6(host, "rule add pref 10001 from 2001:db8::1 lookup 10001 proto 236")
    assert foreign(host) == before
    assert [rule.priority for rule in before if rule.version == 4] == [0, 32766, 32767]
    assert all(rule.maker == "the kernel" for rule in before)


def test_an_ipv6_rule_matches_as_the_kernel_reports(host: Namespace) -> None:
    ipv6(host, "rule add pref 100 from 2001:db8::/64 prohibit")
    (found,) = (rule for rule in foreign(host) if rule.priority == 100)
    assert found.describe() == "rule 100: from 2001:db8::/64 prohibit"
    assert found.deletion() == "ip -6 rule del priority 100 from 2001:db8::/64 prohibit"
    assert found.takes(ip_address("2001:db8::9"), ip_address("2001:db8:1::1"))
    assert not found.takes(ip_address("2001:db8:1::9"), ip_address("2001:db8:1::1"))
    assert not found.takes(ip_address("10.0.2.21"), ip_address("10.0.2.1"))


@pytest.mark.parametrize(
    ("rule", "takes"),
    [
        ("pref 100 from 10.0.2.21 to 10.9.0.0/16 lookup 7", False),
        ("pref 100 from all lookup 7", True),
        ("pref 100 not from all fwmark 0xca6c lookup 51820", True),
        ("pref 100 from all fwmark 0x1 lookup 7", False),
        ("pref 100 not from 10.0.2.21 lookup 7", False),
        ("pref 100 from 10.0.2.21 oif lo lookup 7", False),
    ],
)
def test_a_rule_matches_a_packet_without_a_mark(host: Namespace, rule: str, takes: bool) -> None:
    host.ip([f"rule add {rule}"])
    (found,) = (one for one in foreign(host) if one.priority == 100)
    assert found.takes(ip_address("10.0.2.21"), ip_address("198.51.100.1")) is takes


def test_a_lookup_returns_the_table(host: Namespace) -> None:
    host.ip(
        [
            "link add eth0 type veth peer name peer0",
            "link set eth0 up",
            "link set peer0 up",
            "route add default dev eth0 table 4711",
            "rule add pref 100 from 10.0.2.21 lookup 4711",
        ]
    )

    def ask() -> int:
        with Kernel(OURS) as kernel:
            return kernel.lookup(ip_address("198.51.100.1"), ip_address("10.0.2.21")).table

    assert host.call(ask) == 4711
