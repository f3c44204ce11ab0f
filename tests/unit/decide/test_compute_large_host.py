# SPDX-License-Identifier: Apache-2.0
"""EC2's largest hosts: the work of a pass grows with what they hold, not with its square.

Work is counted in instructions, which no load of the machine changes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from types import FrameType
from typing import Any

import pytest
from eni_facts import any_facts
from hypothesis import given
from hypothesis import strategies as st
from large_host import Each, large_host

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.decide.conflicts import by_number, refuse_shared_sources
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing, host_interface
from ec2net.core.decide.ownership import marked, plan_for, unmarked
from ec2net.core.decide.routing import covers
from ec2net.core.live.render import Base, render
from ec2net.core.model.facts import Absent, EniFacts, Facts, Value
from ec2net.core.model.objects import Address, AnyNetwork, Route, Rule
from ec2net.core.model.plan import InPlace, Plan
from ec2net.core.model.snapshot import Found, Snapshot

PROTOCOL = 236
MIXES = (Each(8, 8), Each(20), Each(6, 1, 2, 2))
ENIS = 8
GROWTH = 4
"""How much larger the second host is; work that grows by no more than 1.25 times that is linear
but for a logarithm, quadratic work would grow by 16."""


def steps(work: Callable[[], object]) -> int:
    """How many instructions of Python's virtual machine ``work`` executes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def planned(host: HostIntent, snapshot: Snapshot) -> Plan:
    """A plan of the netlink backend that manages all links."""
    wanted = {eni.mac: render(eni, host, snapshot, PROTOCOL, Base.OURS) for eni in host.ready}
    found = InPlace(tuple(marked(snapshot, PROTOCOL)), tuple(unmarked(snapshot, PROTOCOL)))
    return plan_for(host, set(wanted), wanted, found, frozenset())


def settled(facts: Facts, plan: Plan) -> Snapshot:
    """The kernel after ``plan``."""
    items = [change.item for change in plan.changes]
    return Snapshot(
        links=facts.links,
        addresses=tuple(Found(item, PROTOCOL) for item in items if isinstance(item, Address)),
        routes=tuple(Found(item, PROTOCOL) for item in items if isinstance(item, Route)),
        rules=tuple(Found(item, PROTOCOL) for item in items if isinstance(item, Rule)),
    )


@pytest.mark.parametrize("each", MIXES, ids=str)
def test_the_work_of_compute_grows_with_the_number_of_enis(each: Each) -> None:
    few, many = (large_host(enis, each) for enis in (ENIS, ENIS * GROWTH))
    work = [steps(lambda facts=facts: compute(facts, Config())) for facts in (few, many)]  # type: ignore[misc]
    assert work[1] <= 1.25 * GROWTH * work[0]


class Passes(tuple[EniFacts, ...]):
    """Counts how often it is gone through, also in part."""

    __slots__ = ()
    made = 0

    def __iter__(self) -> Iterator[EniFacts]:
        Passes.made += 1
        return super().__iter__()


def without_cards(enis: int) -> Facts:
    """A host on which IMDS gives no network card: only the whole list of ENIs shows that."""
    facts = large_host(enis, Each(1))
    on_card_0 = (
        replace(eni, network_card=Absent(), device_number=Value(n))
        for n, eni in enumerate(facts.imds.enis)
    )
    return replace(facts, imds=replace(facts.imds, enis=Passes(on_card_0)))


def test_compute_iterates_over_enis_as_often_on_a_host_with_twice_as_many() -> None:
    counts = []
    for enis in (64, 128):
        facts = without_cards(enis)
        Passes.made = 0
        compute(facts, Config())
        counts.append(Passes.made)
    assert counts[0] == counts[1] > 0


def test_the_work_of_compute_grows_with_the_number_of_enis_without_network_cards() -> None:
    few, many = (without_cards(enis) for enis in (3 * ENIS, 3 * ENIS * GROWTH))
    work = [steps(lambda facts=facts: compute(facts, Config())) for facts in (few, many)]  # type: ignore[misc]
    assert work[1] <= 1.25 * GROWTH * work[0]


@pytest.mark.parametrize("each", MIXES, ids=str)
def test_the_work_of_a_plan_grows_with_the_number_of_enis(each: Each) -> None:
    first, steady = [], []
    for enis in (ENIS, ENIS * GROWTH):
        facts = large_host(enis, each)
        host, empty = compute(facts, Config()), Snapshot(links=facts.links)
        after = settled(facts, planned(host, empty))
        first.append(steps(lambda: planned(host, empty)))  # noqa: B023
        steady.append(steps(lambda: planned(host, after)))  # noqa: B023
    assert first[1] <= 1.25 * GROWTH * first[0]
    assert steady[1] <= 1.25 * GROWTH * steady[0]


def test_every_eni_of_the_largest_hosts_has_an_intent() -> None:
    for enis, each in ((64, Each(50, 50)), (80, Each(64)), (15, Each(50, 50))):
        host = compute(large_host(enis, each), Config())
        assert [eni.reason for eni in host.enis if eni.standing is not Standing.READY] == []


@given(
    st.lists(st.integers(0, 300) | st.integers(0, 2**32 - 1)),
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))),
    st.lists(st.integers(2**128 - 300, 2**128 - 1) | st.integers(0, 2**128 - 1)),
    st.lists(st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128))),
)
def test_sources_collapse_as_in_the_standard_library(
    ipv4s: list[int],
    ipv4_prefixes: list[tuple[int, int]],
    ipv6s: list[int],
    ipv6_prefixes: list[tuple[int, int]],
) -> None:
    networks4 = [IPv4Network(pair, strict=False) for pair in ipv4_prefixes]
    networks6 = [IPv6Network(pair, strict=False) for pair in ipv6_prefixes]
    single4 = [IPv4Network((number, 32)) for number in ipv4s]
    single6 = [IPv6Network((number, 128)) for number in ipv6s]
    held = [host_interface(one.network_address) for one in single4]
    held += [host_interface(one.network_address) for one in single6]
    assert covers(tuple(held), (*networks4, *networks6)) == (
        *collapse_addresses([*single4, *networks4]),
        *collapse_addresses([*single6, *networks6]),
    )


def _overlap(one: AnyNetwork, other: AnyNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _sources(outcome: EniOutcome) -> Iterable[AnyNetwork]:
    intent = outcome.intent
    return () if intent is None else covers(intent.base + intent.further, intent.prefixes)


@given(any_facts())
def test_the_lowest_number_keeps_a_source_that_enis_share(facts: Facts) -> None:
    """Compared with each source against each other one, of the intents before any was refused."""
    alone = []
    for eni in facts.imds.enis:
        imds = facts.imds.__class__(facts.imds.primary, facts.imds.listed, (eni,))
        links = tuple(link for link in facts.links if link.mac == eni.mac)
        alone += [o for o in compute(Facts(imds, links), Config()).enis if o.mac == eni.mac]
    kept: list[EniOutcome] = []
    for outcome in sorted(alone, key=by_number):
        others = [network for other in kept for network in _sources(other)]
        if not any(_overlap(mine, other) for mine in _sources(outcome) for other in others):
            kept.append(outcome)
    result = refuse_shared_sources(alone)
    assert [o for o in result if o in kept] == kept
    for outcome in result:
        if outcome not in kept:
            assert outcome.standing is Standing.REFUSED
            assert any(outcome.reason.startswith(f"{o.name} has ") for o in kept)
