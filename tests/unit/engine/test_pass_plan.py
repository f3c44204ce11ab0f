# SPDX-License-Identifier: Apache-2.0
"""The changes that a pass makes and holds back, if rules of ENIs are in a tree."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

from eni_facts import eni, host, mac

from ec2net.core.config.settings import Config
from ec2net.core.decide.compare import make_plan
from ec2net.core.decide.compute import compute
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.objects import Rule, RuleAction
from ec2net.core.model.plan import InPlace
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.choose import Choice
from ec2net.core.state.pause import Pause

FACTS = host(eni(0), eni(1))
EVERYTHING = ip_network("0.0.0.0/0")
END = Rule(EVERYTHING, 29999, 0, action=RuleAction.NOP)
OF_NODE = Rule(EVERYTHING, 22801, 0, action=RuleAction.GOTO, target=29999)


def leaf(n: int, priority: int) -> Rule:
    source = ip_network(f"10.0.{n}.10/32")
    return Rule(source, priority, 10000 + n, action=RuleAction.GOTO, target=26926 + 3 * n)


def with_tree(made: Sequence[Sequence[Rule]]) -> View:
    """``made``: the rules of each ENI in the tree."""
    found = compute(FACTS, Config())
    enis = tuple(
        replace(one, intent=replace(one.intent, made_rules=tuple(rules)))
        for one, rules in zip(found.enis, made, strict=True)
        if one.intent is not None
    )
    planned = replace(found, enis=enis)
    wanted = {intent.mac: intent.every_rule for intent in planned.ready}
    plans = {"netlink": make_plan(wanted, InPlace())}
    choices = {one.mac: Choice("netlink", ()) for one in planned.enis}
    return View(FACTS, Snapshot(FACTS.links), planned, choices, plans, wanted)


def test_the_fingerprint_does_not_depend_on_the_place_in_the_tree() -> None:
    """The place depends on other ENIs too, and the changes of an ENI stay on hold."""
    plain = with_tree([(), ()])
    assert plain.wanted[mac(1)]
    expected = plain.fingerprint(mac(1))
    for priority in (22800, 22960):
        assert with_tree([(), (leaf(1, priority), END)]).fingerprint(mac(1)) == expected
    assert plain.fingerprint(mac(0)) != expected
    unplanned = replace(with_tree([(), (leaf(1, 22800), END)]), wanted={})
    assert unplanned.fingerprint(mac(1)) is None


def test_a_pause_at_boot_lets_the_primary_have_what_leads_packets_past_its_rules() -> None:
    view = with_tree([(leaf(0, 22800), END), (leaf(1, 22960), OF_NODE, END)])
    pause = Pause("2026-11-29T12:00:00Z", "2026-11-29T14:00:00Z", "", "an earlier boot")
    made = view.paused(pause, waits=True).applicable(())["netlink"].changes
    assert {change.item for change in made} == {leaf(0, 22800), END}
    without = with_tree([(), (leaf(1, 22960), OF_NODE, END)])
    made = without.paused(pause, waits=True).applicable(())["netlink"].changes
    assert {END, OF_NODE}.isdisjoint(change.item for change in made)
