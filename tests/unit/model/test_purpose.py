# SPDX-License-Identifier: Apache-2.0
"""Each item has its purpose, and a key that identifies its ENI."""

from ipaddress import ip_interface, ip_network

import pytest
from eni_facts import IPV6_ONLY, eni, host

from ec2net.core.config.settings import Config, EniSettings, PrefixMode
from ec2net.core.decide.compute import compute
from ec2net.core.decide.fast_failure import fast_failure
from ec2net.core.live.render import Base, render
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import (
    MAIN_TABLE,
    Address,
    LinkRef,
    Mark,
    ReplyMarks,
    Route,
    RouteKind,
    Rule,
    RuleAction,
)
from ec2net.core.model.plan import Item, clues_of, purpose_of
from ec2net.core.model.purpose import OF_PRIMARY, Purpose, of_link, of_source, of_table
from ec2net.core.model.snapshot import Snapshot

LINK, NO_LINK = LinkRef(3, "ens6"), LinkRef(0, "none")
SOURCE, EVERYTHING = ip_network("10.0.1.4/32"), ip_network("0.0.0.0/0")
MARK = Mark(1 << 20, 0xFFF << 20)


@pytest.mark.parametrize(
    ("item", "purpose", "outlives"),
    [
        (Address(LINK, ip_interface("10.0.1.4/24")), Purpose.LINK, False),
        (Route(EVERYTHING, 10001, 0, LINK), Purpose.LINK, False),
        (Route(SOURCE, 255, 0, LINK, kind=RouteKind.LOCAL), Purpose.LINK, False),
        (Route(EVERYTHING, 10001, 9, NO_LINK, kind=RouteKind.UNREACHABLE), Purpose.GUARD, True),
        (Route(EVERYTHING, 10001, 9, NO_LINK, kind=RouteKind.OTHER), Purpose.FOREIGN, False),
        (Rule(SOURCE, 10001, 10001), Purpose.SOURCES, True),
        (Rule(SOURCE, 9999, MAIN_TABLE, 0, 236), Purpose.SOURCES, True),
        (Rule(SOURCE, 22800, 0, action=RuleAction.GOTO, target=29999), Purpose.TREE, True),
        (Rule(EVERYTHING, 29999, 0, action=RuleAction.NOP), Purpose.TREE, True),
        (Rule(EVERYTHING, 10001, 10001, mark=MARK), Purpose.ANSWERS, True),
        *((rule, Purpose.NO_IPV4, True) for rule in fast_failure(NumberPlan())),
        (ReplyMarks(LINK, 10001, MARK), Purpose.LINK, False),
    ],
    ids=str,
)
def test_an_item_says_its_purpose_and_whether_it_outlives_its_link(
    item: Item, purpose: Purpose, outlives: bool
) -> None:
    assert purpose_of(item) is purpose
    assert purpose_of(item).outlives_link is outlives


def test_a_table_and_then_a_source_or_a_role_identify_a_rule() -> None:
    leaf = Rule(SOURCE, 22800, 10001, action=RuleAction.GOTO, target=26926)
    assert clues_of(leaf) == (of_table(10001),)
    assert clues_of(Rule(SOURCE, 9999, MAIN_TABLE)) == (of_table(MAIN_TABLE), of_source(SOURCE))
    for rule in fast_failure(NumberPlan()):
        assert clues_of(rule) == (of_table(rule.table), OF_PRIMARY)


def test_a_table_identifies_a_guard_and_a_link_before_the_table_other_routes() -> None:
    guard = Route(EVERYTHING, 10001, 9, NO_LINK, kind=RouteKind.UNREACHABLE)
    assert clues_of(guard) == (of_table(10001),)
    route = Route(EVERYTHING, 10001, 0, LINK)
    assert clues_of(route) == (of_link(LINK.index), of_table(10001))


def test_only_a_rule_by_mark_reveals_the_reply_marks_of_its_table() -> None:
    marks = ReplyMarks(LINK, 10001, MARK)
    assert Rule(EVERYTHING, 10001, 10001, mark=MARK).reveals == marks.identity
    assert Rule(SOURCE, 10001, 10001).reveals is None


def test_no_item_of_an_intent_has_a_foreign_purpose() -> None:
    config = Config(eni=EniSettings(published_ports=True, ipv6_prefix_mode=PrefixMode.LOCAL))
    for facts in (host(eni(0), eni(1)), host(eni(0, **IPV6_ONLY), eni(1, **IPV6_ONLY))):
        intents = compute(facts, config)
        for intent in intents.ready:
            items = render(intent, intents, Snapshot(links=facts.links), 236, Base.OURS)
            purposes = {purpose_of(item) for item in items}
            assert {Purpose.LINK} <= purposes <= {*Purpose} - {Purpose.FOREIGN, Purpose.GUARD}
