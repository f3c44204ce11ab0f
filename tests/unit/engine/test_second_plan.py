# SPDX-License-Identifier: Apache-2.0
"""For which ENIs a pass makes a second plan."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from eni_facts import eni, host, mac

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.second_plan import followers, uncorrected
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import MAIN_TABLE, LinkRef, Route, Rule
from ec2net.core.model.snapshot import Found, Snapshot

OURS, DHCP = NumberPlan().protocol, 16
ENS6 = LinkRef(3, "ens6")
FACTS = host(eni(0), eni(1))
CORRECTION = Rule(ip_network("10.0.0.4/32"), 32765, 10000)


def view(*, planned: tuple[int, ...] = (1,), corrections: tuple[Rule, ...] = ()) -> View:
    """A pass that plans for these ENIs; the primary is to have these corrections."""
    made = compute(FACTS, Config())
    enis = tuple(
        replace(one, intent=replace(one.intent, corrections=corrections))
        if one.intent is not None and one.intent.primary
        else one
        for one in made.enis
    )
    wanted = {mac(n): () for n in planned}
    return View(FACTS, Snapshot(FACTS.links), replace(made, enis=enis), {}, {}, wanted)


def test_the_primary_is_planned_for_if_a_pass_for_another_eni_finds_what_to_correct() -> None:
    assert uncorrected(view(corrections=(CORRECTION,))) == {mac(0)}


def test_a_correction_that_is_there_or_planned_needs_no_second_plan() -> None:
    assert uncorrected(view()) == frozenset()
    assert uncorrected(view(planned=(0, 1), corrections=(CORRECTION,))) == frozenset()
    there = Snapshot(FACTS.links, rules=(Found(CORRECTION, OURS),))
    assert uncorrected(replace(view(corrections=(CORRECTION,)), snapshot=there)) == frozenset()


@pytest.mark.parametrize(
    ("destination", "table", "protocol", "again"),
    [
        ("10.0.1.0/24", MAIN_TABLE, DHCP, True),
        ("10.0.1.0/24", MAIN_TABLE, OURS, False),
        ("10.0.1.0/24", 10001, DHCP, False),
        ("fe80::/64", MAIN_TABLE, DHCP, False),
        ("0.0.0.0/0", MAIN_TABLE, DHCP, False),
    ],
    ids=["a lease's route", "ours", "another table", "link-local", "a default route"],
)
def test_a_route_that_was_added_during_the_pass_counts(
    destination: str, table: int, protocol: int, *, again: bool
) -> None:
    route = Found(Route(ip_network(destination), table, 1024, ENS6), protocol)
    after = Snapshot(FACTS.links, routes=(route,))
    assert followers(view(), after, OURS) == ({mac(0), mac(1)} if again else frozenset())
