# SPDX-License-Identifier: Apache-2.0
"""A tree of rules leads each source as plain rules do, while it changes as well."""

import errno
import random
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from endurance import rounds
from eni_facts import eni, host

from ec2net.core.config.settings import Config, Manage, Routing
from ec2net.core.decide import rule_tree
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.decide.ownership import plan_for
from ec2net.core.decide.routing import covers, rules
from ec2net.core.decide.rule_tree import LEAST_IN_TREE, MOST_PLAIN
from ec2net.core.live.apply import apply
from ec2net.core.model.errors import KernelError
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import MAIN_TABLE, AnyNetwork, Mark, Rule, RuleAction
from ec2net.core.model.plan import Action, Change, InPlace, Plan
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import Journals
from ec2net.core.state.run_dir import RunDir

NUMBERS, OURS = NumberPlan(), 236
NO_JOURNALS = Journals(RunDir(Path("/nonexistent")))
FIRST = {4: int(ip_network("10.0.0.0/8")[0]), 6: int(ip_network("2001:db8::/32")[0])}
IPV6 = [IPv6Network((FIRST[6] + number * 977, 128)) for number in range(200)]


class Rules:
    """Rules as the kernel keeps them and goes by them (net/core/fib_rules.c)."""

    def __init__(self, given: Iterable[Rule] = ()) -> None:
        self.all: list[Rule] = []
        for rule in given:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        same = [
            one
            for one in self.all
            if (one.priority, one.action, one.table) == (rule.priority, rule.action, rule.table)
            and one.version == rule.version
            and (not rule.source.prefixlen or one.source == rule.source)
            and one.suppress_group == rule.suppress_group
        ]
        assert not same, f"EEXIST: {rule.describe()}, {same[0].describe()}"
        assert not rule.target or rule.target > rule.priority
        place = bisect_left(self.all, rule.priority + 1, key=lambda one: one.priority)
        self.all.insert(place, rule)

    def make(self, change: Change) -> None:
        assert isinstance(change.item, Rule)
        assert change.action is not Action.REPLACE
        self.add(change.item) if change.action is Action.ADD else self.all.remove(change.item)

    def nodes(self) -> dict[int, list[Rule]]:
        return {number: [*same] for number, same in groupby(self.all, lambda one: one.priority)}

    def met(self, sources: Iterable[AnyNetwork]) -> list[list[tuple[object, ...]]]:
        """For each source the lookups in order, if no lookup finds a route."""
        nodes = self.nodes()
        return [self._met(source, nodes, sorted(nodes)) for source in sources]

    def _met(
        self, source: AnyNetwork, nodes: dict[int, list[Rule]], order: Sequence[int]
    ) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        place = 0
        while place < len(order):
            place += 1
            for rule in nodes[order[place - 1]]:
                if rule.version != source.version or source[0] not in rule.source:
                    continue
                if rule.action is RuleAction.GOTO and rule.target in nodes:
                    place = bisect_left(order, rule.target)
                    break
                if rule.action is RuleAction.LOOKUP:
                    found.append((rule.table, rule.suppress_prefixlength, rule.suppress_group))
        return found


@cache
def base(count: int) -> HostIntent:
    """A host without sources."""
    found = compute(host(*(eni(n) for n in range(count))), Config())
    return replace(
        found,
        enis=tuple(
            replace(one, intent=replace(one.intent, rules=()))
            for one in found.enis
            if one.intent is not None
        ),
    )


def with_sources(
    sources: Sequence[Sequence[AnyNetwork]], routing: Routing = Routing.MAIN_FIRST
) -> HostIntent:
    """Those of the primary are the first."""

    def one(outcome: EniOutcome, own: Sequence[AnyNetwork]) -> EniOutcome:
        assert outcome.intent is not None
        made = rules(covers((), own), routing, outcome.intent.number, NUMBERS)
        return replace(outcome, intent=replace(outcome.intent, rules=made))

    whole = base(len(sources))
    return replace(whole, enis=tuple(map(one, whole.enis, sources)))


def planted(
    intents: HostIntent, present: Iterable[Rule] = (), foreign: Iterable[Rule] = ()
) -> HostIntent:
    found = [Found(rule, OURS) for rule in present] + [Found(rule, 4) for rule in foreign]
    return rule_tree.planted(intents, Snapshot(rules=tuple(found)), NUMBERS)


def plain(intents: HostIntent) -> list[Rule]:
    return [rule for intent in intents.ready for rule in intent.rules]


def made(intents: HostIntent) -> list[Rule]:
    """Each rule once."""
    return list(dict.fromkeys(rule for intent in intents.ready for rule in intent.every_rule))


def a_source(rnd: random.Random, version: int, *, one_subnet: bool) -> AnyNetwork:
    """A random address, now and then a delegated prefix, or one of neighbouring addresses."""
    subnet = 0 if one_subnet else rnd.randrange(8)
    kind = rnd.random()
    if version == 4:
        length = 28 if kind < 0.1 else 32
        number = FIRST[4] + (subnet << 12) + (rnd.randrange(1 << 12) >> 32 - length << 32 - length)
        return IPv4Network((number, length))
    length = 80 if kind < 0.1 else 128
    below = rnd.randrange(1 << 10) if kind > 0.8 else rnd.getrandbits(64)
    return IPv6Network(
        (FIRST[6] + (subnet << 64) + (below >> 128 - length << 128 - length), length)
    )


def random_sources(
    rnd: random.Random, enis: int, each: int, *, one_subnet: bool = False
) -> list[list[AnyNetwork]]:
    """No two ENIs have a source in common."""
    taken: list[AnyNetwork] = []
    found: list[list[AnyNetwork]] = [[]]
    for _ in range(enis):
        own: list[AnyNetwork] = []
        while len(own) < each:
            source = a_source(rnd, rnd.choice((4, 6)), one_subnet=one_subnet)
            if not any(source.version == one.version and source.overlaps(one) for one in taken):
                taken.append(source)
                own.append(source)
        found.append(own)
    return found


def every_second(first: str, count: int) -> list[AnyNetwork]:
    """No two are adjacent."""
    return [IPv4Network((int(IPv4Network(first)[0]) + 2 * n, 32)) for n in range(count)]


@pytest.mark.parametrize("one_subnet", [False, True], ids=["in many subnets", "in one subnet"])
@pytest.mark.parametrize("routing", [Routing.MAIN_FIRST, Routing.STRICT])
@pytest.mark.parametrize("seed", range(2))
def test_a_tree_leads_every_packet_as_plain_rules_do(
    seed: int, routing: Routing, one_subnet: bool
) -> None:
    rnd = random.Random(seed)
    sources = random_sources(rnd, 5, rnd.choice((40, 120)), one_subnet=one_subnet)
    intents = planted(with_sources(sources, routing))
    tree = Rules(made(intents))
    assert any(rule.target for rule in tree.all if rule.version == 4)
    assert any(rule.target for rule in tree.all if rule.version == 6)
    assert {rule.priority for rule in tree.all} <= {*NUMBERS.tree}
    asked = [source for own in sources for source in own]
    asked += [
        a_source(rnd, version, one_subnet=one_subnet) for version in (4, 6) for _ in range(99)
    ]
    assert tree.met(asked) == Rules(plain(intents)).met(asked)


def test_a_packet_is_compared_with_few_rules() -> None:
    sources = random_sources(random.Random(1), 20, 80)
    tree = Rules(made(planted(with_sources(sources))))
    of_priority = {number: len(same) for number, same in tree.nodes().items()}
    assert len(tree.all) < len(plain(with_sources(sources)))
    assert max(of_priority.values()) <= 48


class Kernel:
    """Passes over a host; some changes fail."""

    marks_addresses = True

    def __init__(self, rnd: random.Random) -> None:
        self.rules = Rules()
        self.rnd = rnd
        self._fails = 0.0
        self._checks = 0.02
        self._asked: tuple[Sequence[AnyNetwork], Sequence[object]] = ((), ())

    def plan(
        self, intents: HostIntent, without: bool = False, only: Collection[Mac] | None = None
    ) -> Plan:
        after = planted(intents, self.rules.all)
        macs = {one.mac for one in after.enis}
        planned = set() if without else macs if only is None else only
        wanted = {one.mac: one.every_rule for one in after.ready if one.mac in planned}
        found = InPlace(tuple(self.rules.all))
        return plan_for(after, macs, wanted, found, frozenset(macs) if without else frozenset())

    def run(
        self,
        intents: HostIntent,
        asked: Sequence[AnyNetwork],
        answers: Sequence[object],
        fails: float = 0,
        *,
        checks: float = 0.02,
        without: bool = False,
        only: Collection[Mac] | None = None,
    ) -> None:
        """Each source of ``asked`` has its first answers at each moment."""
        self._fails, self._checks, self._asked = fails, checks, (asked, answers)
        kernel: Any = self
        apply(self.plan(intents, without, only), kernel, NO_JOURNALS, Deadline(60))
        self._check(asked, answers)

    def add(self, item: Rule) -> None:
        self._change(self.rules.add, item)

    def remove(self, item: Rule) -> None:
        self._change(self.rules.all.remove, item)

    def _change(self, change: Callable[[Rule], None], item: Rule) -> None:
        if self.rnd.random() < self._fails:
            raise KernelError("refused", errno=errno.ENOMEM)
        change(item)
        if self.rnd.random() < self._checks:
            self._check(*self._asked)

    def _check(self, asked: Sequence[AnyNetwork], answers: Sequence[object]) -> None:
        for source, met, right in zip(asked, self.rules.met(asked), answers, strict=True):
            # a source that moves may have its first rule twice
            assert [*dict.fromkeys(met)][:2] == right, source


@pytest.mark.parametrize("fails", [0, 0.02], ids=["", "while changes fail"])
@pytest.mark.parametrize("seed", range(rounds(10)))
def test_no_packet_misses_while_sources_are_added_and_removed(seed: int, fails: float) -> None:
    rnd = random.Random(seed)
    pool = random_sources(rnd, 4, 60, one_subnet=seed % 2 == 0)
    kernel = Kernel(rnd)
    sources = pool
    for _ in range(4):
        intents = with_sources(sources)
        for _ in range(4):
            kernel.run(intents, (), ())
        assert kernel.plan(intents) == Plan()
        share = rnd.choice((0.05, 0.3, 0.5, 0.9, 1))
        after = [[one for one in own if rnd.random() < share] for own in pool]
        staying = [
            one for own, new in zip(sources, after, strict=True) for one in own if one in new
        ]
        # adjacent sources are one CIDR, which is another source than its parts
        staying = [one for one in staying if one in {rule.source for rule in plain(intents)}]
        staying = [one for one in staying if one in {r.source for r in plain(with_sources(after))}]
        answers = Rules(plain(intents)).met(staying)
        sources = after
        for failing in (fails, fails, 0):
            kernel.run(with_sources(sources), staying, answers, failing)


STRANGERS = [
    ip_network(one) for one in ("0.0.0.0", "10.0.0.10", "10.0.1.1", "172.17.0.2", "2001:db8::7")
]


@pytest.mark.parametrize("fails", [0, 0.02], ids=["", "while changes fail"])
@pytest.mark.parametrize("routing", [Routing.MAIN_FIRST, Routing.STRICT])
@pytest.mark.parametrize("seed", range(rounds(5)))
def test_no_packet_of_another_source_reaches_the_rules_of_an_eni(
    seed: int, routing: Routing, fails: float
) -> None:
    kernel = Kernel(random.Random(seed))
    sources = [every_second(f"10.0.{n}.20", 40) for n in range(4)]
    sources = [[*own, *IPV6[n::4]] for n, own in enumerate(sources)]
    nothing: list[list[object]] = [[] for _ in STRANGERS]
    few = with_sources([own[:15] for own in sources], routing)
    whole = with_sources(sources, routing)
    pass_ = partial(kernel.run, asked=STRANGERS, answers=nothing, checks=1)
    pass_(whole, only={whole.enis[2].mac}, fails=fails)
    for intents in (whole, few, whole):
        for failing in (fails, fails, 0, 0, 0):
            pass_(intents, fails=failing)
        assert kernel.plan(intents) == Plan()
    for failing in (fails, fails, 0):
        pass_(whole, without=True, fails=failing)
    assert kernel.rules.all == []


def test_a_removal_leaves_no_rule() -> None:
    kernel = Kernel(random.Random(1))
    intents = with_sources(random_sources(kernel.rnd, 3, 100))
    kernel.run(intents, (), ())
    assert kernel.rules.all
    for change in kernel.plan(intents, without=True).changes:
        kernel.rules.make(change)
    assert kernel.rules.all == []


def test_a_removal_of_one_eni_after_the_other_leaves_no_rule() -> None:
    kernel = Kernel(random.Random(1))
    intents = with_sources(random_sources(kernel.rnd, 3, 100))
    kernel.run(intents, (), ())
    for one in intents.ready:
        after = planted(intents, kernel.rules.all)
        found, macs = InPlace(tuple(kernel.rules.all)), {i.mac for i in after.ready}
        for change in plan_for(after, macs, {}, found, frozenset({one.mac})).changes:
            kernel.rules.make(change)
    assert kernel.rules.all == []


def test_a_pass_for_one_eni_leaves_the_ways_of_the_others() -> None:
    kernel = Kernel(random.Random(1))
    intents = with_sources(random_sources(kernel.rnd, 3, 100))
    kernel.run(intents, (), ())
    after = planted(intents, kernel.rules.all)
    one = after.ready[1]
    found = InPlace(tuple(kernel.rules.all))
    plan = plan_for(
        after, {i.mac for i in after.ready}, {one.mac: one.every_rule}, found, frozenset()
    )
    assert plan == Plan()


def test_the_rules_of_an_eni_without_facts_stay_in_the_tree() -> None:
    kernel = Kernel(random.Random(1))
    sources = random_sources(kernel.rnd, 3, 100)
    intents = with_sources(sources)
    kernel.run(intents, (), ())
    of_one = [rule for rule in intents.ready[1].rules if rule.table != MAIN_TABLE]
    asked = [rule.source for rule in of_one]
    before = kernel.rules.met(asked)
    waiting = intents.without({intents.ready[1].mac: "no answer"}, Standing.PENDING)
    for _ in range(3):
        kernel.run(waiting, asked, before)


def uses_tree(intents: HostIntent) -> bool:
    return any(rule.target for rule in made(intents))


def test_few_sources_have_plain_rules_and_a_tree_stays_for_a_while() -> None:
    few, some = with_sources([[], IPV6[:MOST_PLAIN]]), with_sources([[], IPV6[: MOST_PLAIN + 1]])
    assert not uses_tree(planted(few))
    assert uses_tree(planted(some))
    tree = made(planted(some))
    assert uses_tree(planted(few, tree))
    assert not uses_tree(planted(with_sources([[], IPV6[: LEAST_IN_TREE - 1]]), tree))


def test_a_rule_of_another_maker_among_the_priorities_keeps_plain_rules() -> None:
    intents = with_sources([[], IPV6])
    everything = ip_network("::/0")
    for priority, tree in ((9998, True), (9999, False), (15000, False), (30000, True)):
        assert uses_tree(planted(intents, foreign=[Rule(everything, priority, 7)])) is tree
        further = Snapshot(further_rules=frozenset({(6, priority), (4, 15000)}))
        assert uses_tree(rule_tree.planted(intents, further, NUMBERS)) is tree
    assert uses_tree(planted(intents, foreign=[Rule(ip_network("0.0.0.0/0"), 15000, 7)]))


def test_rules_for_more_than_sources_keep_plain_rules() -> None:
    intents = with_sources([[], IPV6])
    marked = Rule(ip_network("::/0"), 10001, 10001, mark=Mark(1, 1))
    enis = tuple(
        replace(one, intent=replace(one.intent, rules=(*one.intent.rules, marked)))
        for one in intents.enis
        if one.intent is not None
    )
    assert not uses_tree(planted(replace(intents, enis=enis)))
    assert not uses_tree(planted(with_sources([[], IPV6, IPV6[5:6]])))
    observed = tuple(
        replace(one, intent=replace(one.intent, manage=Manage.OBSERVE))
        for one in intents.enis
        if one.intent is not None
    )
    assert not uses_tree(planted(replace(intents, enis=observed)))


def test_a_high_base_leaves_no_room_for_a_tree() -> None:
    for base_priority, tree in ((12761, True), (12763, False)):
        numbers = NumberPlan(priority_base=base_priority)
        found = rule_tree.planted(with_sources([[], IPV6]), Snapshot(), numbers)
        assert uses_tree(found) is tree


def test_one_change_of_an_address_changes_few_rules() -> None:
    kernel = Kernel(random.Random(1))
    sources = random_sources(kernel.rnd, 4, 200)
    kernel.run(with_sources(sources), (), ())
    before = len(kernel.rules.all)
    sources[1] = sources[1][:-1]
    plan = kernel.plan(with_sources(sources))
    assert 0 < len(plan.changes) < 40 < before


def test_a_pass_leaves_the_shared_rules_that_an_eni_of_another_backend_needs_now() -> None:
    intents = with_sources([[], every_second("10.0.1.0", 50), every_second("10.0.2.0", 50)])
    primary, first, second = (one.mac for one in intents.enis)
    kernel = Kernel(random.Random(1))
    # the additions of the first ENI fail, but not those that are shared
    for change in kernel.plan(intents).changes:
        if change.mac != first:
            kernel.rules.make(change)
    after = planted(intents, kernel.rules.all)
    found = InPlace(tuple(kernel.rules.all))
    by_mac = {one.mac: one.every_rule for one in after.ready}
    plan = plan_for(after, {second}, {second: by_mac[second]}, found, frozenset())
    assert plan == Plan()
    of_first = {mac: by_mac[mac] for mac in (primary, first)}
    plan = plan_for(after, {primary, first}, of_first, found, frozenset())
    assert {change.action for change in plan.changes} == {Action.ADD}


@pytest.mark.parametrize("holder", [1, 2])
@pytest.mark.parametrize("state", ["held", "pending", "observed"])
def test_a_new_source_has_plain_rules_while_another_eni_has_a_rule_for_its_cidr(
    holder: int, state: str
) -> None:
    sources = [[], every_second("10.0.1.0", 50), every_second("10.0.2.0", 50)]
    moving = [ip_network("10.0.3.20/32"), ip_network("10.0.3.21/32")]
    kernel = Kernel(random.Random(1))
    before = [[*own, *(moving if n == holder else ())] for n, own in enumerate(sources)]
    for _ in range(4):
        kernel.run(with_sources(before), (), ())
    share = {holder: moving[:1], 3 - holder: moving[1:]}
    after = with_sources([[*own, *share.get(n, ())] for n, own in enumerate(sources)])
    mac = after.enis[holder].mac
    if state == "pending":
        after = after.without({mac: "no answer"}, Standing.PENDING)
    if state == "observed":
        after = replace(after, enis=tuple(map(partial(_observed, mac), after.enis)))
    for _ in range(4):
        for change in kernel.plan(after).changes:
            if change.mac != mac:
                kernel.rules.make(change)
    tables = [table for table, *_ in kernel.rules.met(moving[1:])[0] if table != MAIN_TABLE]
    assert tables[0] == 10000 + 3 - holder


def _observed(mac: Mac, eni: EniOutcome) -> EniOutcome:
    if eni.mac != mac or eni.intent is None:
        return eni
    return replace(eni, intent=replace(eni.intent, manage=Manage.OBSERVE))
