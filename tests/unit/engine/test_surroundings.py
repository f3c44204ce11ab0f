# SPDX-License-Identifier: Apache-2.0
"""The rules that a packet meets, also by way of a tree."""

from ipaddress import ip_address, ip_network

from ec2net.core.engine.surroundings import OwnRules
from ec2net.core.model.objects import Rule, RuleAction

EVERYTHING, SOURCE = ip_network("0.0.0.0/0"), ip_network("10.0.1.4/32")


def goto(source: str, priority: int, target: int, table: int = 0) -> Rule:
    return Rule(ip_network(source), priority, table, action=RuleAction.GOTO, target=target)


ROOT = goto("10.0.1.0/24", 22800, 22900)
LEAF = goto("10.0.1.4/32", 22900, 26926, 10001)
ENDS = goto("0.0.0.0/0", 22801, 29999), goto("0.0.0.0/0", 22901, 29999)
BLOCK = Rule(EVERYTHING, 26926, 254, 0, 236), Rule(EVERYTHING, 26927, 10001)
OTHER = Rule(EVERYTHING, 26930, 10002)
LAST = Rule(EVERYTHING, 29999, 0, action=RuleAction.NOP)
PLAIN = Rule(SOURCE, 10001, 10001)
TREE = (ROOT, LEAF, *ENDS, *BLOCK, goto("0.0.0.0/0", 26928, 29999), OTHER, LAST)


def test_a_packet_meets_the_rules_of_its_own_eni() -> None:
    rules = OwnRules(TREE)
    assert rules.matching(ip_address("10.0.1.4")) == [*BLOCK]
    assert rules.matching(ip_address("10.0.1.5")) == []
    assert rules.matching(ip_address("10.0.2.4")) == []
    assert [*rules.in_tree(ip_address("10.0.1.4"))][:2] == [ROOT, LEAF]


def test_plain_rules_precede_the_tree() -> None:
    rules = OwnRules((*TREE, PLAIN))
    assert rules.matching(ip_address("10.0.1.4")) == [PLAIN, *BLOCK]


def test_a_missing_rule_of_the_tree_is_missed() -> None:
    """As the kernel does, a packet goes on with the next rule where there is no target."""
    without_root = OwnRules(rule for rule in TREE if rule is not ROOT)
    assert without_root.matching(ip_address("10.0.1.4")) == []
    without_target = OwnRules(rule for rule in TREE if rule not in (LEAF, ENDS[1]))
    assert without_target.matching(ip_address("10.0.1.4")) == []
