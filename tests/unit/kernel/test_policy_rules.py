# SPDX-License-Identifier: Apache-2.0
"""Messages of the kernel to rules, as Linux 6.18 sends them."""

import struct
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import vrf_dump

from ec2net.core.kernel import policy_rules, pyroute
from ec2net.core.model.objects import Rule, RuleAction
from ec2net.core.model.snapshot import Found

pytestmark = pytest.mark.library


def rule_message(*attrs: Any, **fields: Any) -> bytes:
    """As pyroute2 writes it."""
    message = pyroute.message_class("fibmsg")()
    message.update({"family": 2, "table": 254, "action": 1, **fields, "attrs": list(attrs)})
    message.encode()
    return bytes(message.data)


NO_SUPPRESSION = ("FRA_SUPPRESS_PREFIXLEN", 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("message", "rule", "protocol"),
    [
        pytest.param(
            rule_message(("FRA_TABLE", 254), ("FRA_SUPPRESS_PREFIXLEN", 0), ("FRA_PROTOCOL", 236),
                         ("FRA_PRIORITY", 9999), ("FRA_SUPPRESS_IFGROUP", 236),
                         ("FRA_SRC", "10.0.1.4"), src_len=32),
            Rule(ip_network("10.0.1.4/32"), 9999, 254, 0, 236),
            236,
            id="main-first",
        ),
        pytest.param(
            rule_message(("FRA_TABLE", 10001), NO_SUPPRESSION, ("FRA_PROTOCOL", 236),
                         ("FRA_PRIORITY", 10001), ("FRA_SRC", "10.0.1.4"), src_len=32, table=252),
            Rule(ip_network("10.0.1.4/32"), 10001, 10001),
            236,
            id="to a table above 255",
        ),
        pytest.param(
            rule_message(("FRA_TABLE", 255), NO_SUPPRESSION, ("FRA_PROTOCOL", 2), table=255),
            Rule(ip_network("0.0.0.0/0"), 0, 255),
            2,
            id="the kernel's own for local: no priority means 0",
        ),
        pytest.param(
            rule_message(("FRA_TABLE", 254), NO_SUPPRESSION, ("FRA_PRIORITY", 32766), family=10),
            Rule(ip_network("::/0"), 32766, 254),
            0,
            id="IPv6, maker not told",
        ),
    ],
)  # fmt: skip
def test_a_rule_is_decoded(message: bytes, rule: Rule, protocol: int) -> None:
    assert policy_rules.modelled(message) == Found(rule, protocol)


SOURCE = ("FRA_SRC", "10.0.1.4")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            rule_message(SOURCE, ("FRA_FWMARK", 7), ("FRA_FWMASK", 0xFFFFFFFF), src_len=32),
            id="fwmark",
        ),
        pytest.param(rule_message(SOURCE, src_len=8, flags=2), id="not"),
        pytest.param(rule_message(SOURCE, action=7, src_len=16), id="unreachable"),
        pytest.param(rule_message(SOURCE, ("FRA_IP_PROTO", 6), src_len=16), id="ipproto"),
        pytest.param(rule_message(SOURCE, dst_len=24, src_len=16), id="to"),
        pytest.param(
            rule_message(("FRA_DST", "10.0.1.4"), action=7, dst_len=16), id="unreachable, to"
        ),
        pytest.param(
            rule_message(("FRA_FWMARK", 7), ("FRA_FWMASK", 7), ("FRA_DST", "10.0.1.4"), dst_len=16),
            id="fwmark, to",
        ),
        pytest.param(rule_message(action=6), id="blackhole"),
        pytest.param(rule_message(SOURCE, tos=16, src_len=16), id="tos"),
        pytest.param(rule_message(SOURCE, ("FRA_IIFNAME", "docker0"), src_len=16), id="iif"),
        pytest.param(rule_message(family=128), id="multicast"),
        pytest.param(
            rule_message(SOURCE, src_len=32)[:4].replace(b"\x24", b"\x2c")
            + rule_message(SOURCE, src_len=32)[4:]
            + struct.pack("=HHI", 8, 60, 1),
            id="of a newer kernel",
        ),
    ],
)
def test_a_rule_with_unknown_selectors_never_counts_as_owned(message: bytes) -> None:
    """R4: with its extra selector lost it could be removed as ec2net's."""
    assert policy_rules.modelled(message) is None


def test_the_rule_of_vrfs_takes_no_packet_that_is_bound_to_none_in_a_written_dump() -> None:
    found = policy_rules.read(vrf_dump.l3mdev_rule(), 236)
    assert isinstance(found, policy_rules.ForeignRule)
    assert found.modelled is None
    assert (found.rule.priority, found.rule.others) == (1000, ("l3mdev",))
    assert not found.rule.takes(ip_address("10.0.1.4"), ip_address("198.51.100.1"))


@pytest.mark.parametrize(("action", "name"), [(2, RuleAction.GOTO), (3, RuleAction.NOP)])
def test_a_goto_or_nop_rule_is_modelled_only_as_an_own_one(action: int, name: RuleAction) -> None:
    goto = [("FRA_GOTO", 29999)] if name is RuleAction.GOTO else []
    of = {protocol: rule_message(SOURCE, *goto, ("FRA_PRIORITY", 22800), ("FRA_PROTOCOL", protocol),
                                 src_len=32, action=action, table=0) for protocol in (4, 236)}  # fmt: skip
    own, foreign = policy_rules.read(of[236], 236), policy_rules.read(of[4], 236)
    assert isinstance(own, Found)
    assert own.item.action is name
    assert own.item.target == (29999 if goto else 0)
    assert isinstance(foreign, policy_rules.ForeignRule)
    assert foreign.modelled is None
