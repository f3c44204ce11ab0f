# SPDX-License-Identifier: Apache-2.0
"""A tree of ``goto`` rules in place of two rules for each source, on hosts with many sources. Pure.

The kernel compares a packet with the rules one by one, at 11 ns each. A tree leads a packet past
most of them:

    22800: from 10.0.0.0/16 goto P      the root; the parts of a node are exact CIDRs
    P:     from 10.0.1.16/28 goto Q
    P+1:   from all goto 29999          of the end of a node
    Q:     from 10.0.1.20 goto B        a source; the table is that of its ENI
    B:     from all lookup main ...     the rules of one ENI, once for all its sources
    B+1:   from all lookup 10001
    B+2:   from all goto 29999
    29999: from all nop                 the end of the tree

The priority of a node follows from its CIDR alone, so one change of an address changes few rules.
Two nodes may share a priority: their sources differ. A rule leads only to higher priorities. The
tree comes after the plain rules of all sources, so a source has its plain rules again while its
place in the tree changes: no packet misses, in whatever order changes are made, or fail.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import TypeAlias

from ec2net.core.config.settings import Manage
from ec2net.core.decide.intent import HostIntent
from ec2net.core.decide.routing import EVERYTHING
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import LAST_PRIORITIES, AnyNetwork, Rule, RuleAction
from ec2net.core.model.purpose import Purpose
from ec2net.core.model.snapshot import Found, Snapshot

MOST_PLAIN = 64
"""Sources of one IP version with plain rules: 128 rules are 1.4 us for each packet."""
LEAST_IN_TREE = 48
"""A host that has a tree keeps it down to this number: one address may come and go."""
_LEAF = 16
"""Sources of a node that has no further nodes."""
_BLOCKS = 1024
"""The number of blocks. ENIs of 40 cards with 24 devices each have different blocks."""

_NODES = {
    4: {0: 1, 8: 7, 12: 13, 16: 61, 20: 251, 24: 701, 28: 1021},
    6: {0: 1, 44: 7, 48: 13, 52: 31, 56: 61, 60: 127, 64: 251, 68: 509, 72: 509, 76: 127}
    | {112: 61, 116: 127, 120: 127, 124: 83},
}
"""By IP version and prefix length, the number of places for nodes. EC2's subnets, delegated prefixes
and random addresses make the most nodes at 24 and 28, and at 68 and 72."""
_PLACES = 2063
_BITS = {4: 32, 6: 128}

Source: TypeAlias = tuple[int, int]
"""Number and prefix length of a CIDR."""


@dataclass(slots=True, eq=False)
class _Node:
    priority: int
    end: Rule
    """Past the last rule of the node."""
    parent: "_Node | None" = None
    row: Rule | None = None
    """The rule that leads to it."""


@dataclass(slots=True, eq=False)
class Tree:
    """The tree of one IP version, for all ENIs."""

    version: int
    numbers: range
    nodes: dict[Source, _Node] = field(default_factory=dict)
    """The node of each source."""
    rows: set[Rule] = field(default_factory=set)
    """The rules that lead from node to node."""
    _ends: dict[int, Rule] = field(default_factory=dict)
    """Nodes that share a priority share its end."""

    @property
    def end(self) -> int:
        return self.numbers[-1]

    def block(self, n: int) -> int:
        """The priority of the first rule of the ENI with this number."""
        return self.numbers.start + 2 * _PLACES + 3 * (n % _BLOCKS)

    def leaf(self, network: AnyNetwork, n: int, table: int) -> Rule:
        """The rule of one source."""
        priority = self.nodes[_source(network)].priority
        return Rule(network, priority, table, action=RuleAction.GOTO, target=self.block(n))

    def way_to(self, networks: Iterable[AnyNetwork]) -> Iterator[Rule]:
        """The rules that lead to these sources, and those from there to the end."""
        known: set[_Node] = set()
        for network in networks:
            node: _Node | None = self.nodes[_source(network)]
            while node is not None and node not in known:
                known.add(node)
                yield node.end
                if node.row is not None:
                    yield node.row
                node = node.parent

    def rules_of_eni(self, n: int, actions: Sequence[Rule]) -> Iterator[Rule]:
        """``actions``: the plain rules of one source, in their order."""
        block, table = self.block(n), actions[-1].table
        everything = EVERYTHING[self.version]
        for place, action in enumerate(actions, start=2 - len(actions)):
            yield replace(action, source=everything, priority=block + place)
        if len(actions) == 1:  # the place of main-first
            yield self._goto((0, 0), block, block + 1, table)
        yield self._goto((0, 0), block + 2, self.end, table)

    def grow(self, sources: Sequence[Source]) -> None:
        """``sources`` are disjoint and sorted."""
        self._grow(self._node(self.numbers.start), sources, 0)

    def _grow(self, node: _Node, sources: Sequence[Source], length: int) -> None:
        deeper = _deeper(self.version, length)
        if len(sources) <= _LEAF or deeper is None:
            self.nodes.update(dict.fromkeys(sources, node))
            return
        rest = _BITS[self.version] - deeper
        for _, part in groupby(sources, lambda one: (one[0] >> rest, one[1] < deeper and one)):
            same = tuple(part)
            if len(same) == 1:
                self.nodes[same[0]] = node
                continue
            common = self._common(same, deeper)
            cidr = same[0][0] >> _BITS[self.version] - common << _BITS[self.version] - common
            priority = self._priority(cidr, common)
            row = self._goto((cidr, common), node.priority, priority)
            self.rows.add(row)
            self._grow(self._node(priority, node, row), same, common)

    def _node(self, priority: int, parent: _Node | None = None, row: Rule | None = None) -> _Node:
        end = self._ends.get(priority)
        if end is None:
            end = self._ends[priority] = self._goto((0, 0), priority + 1, self.end)
        return _Node(priority, end, parent, row)

    def _common(self, sources: Sequence[Source], length: int) -> int:
        """The longest prefix length of a node that has them all."""
        while len(sources) > _LEAF and (deeper := _deeper(self.version, length)) is not None:
            rest = _BITS[self.version] - deeper
            first, last = sources[0][0] >> rest, sources[-1][0] >> rest
            if first != last or any(one[1] < deeper for one in sources):
                break
            length = deeper
        return length

    def _priority(self, cidr: int, length: int) -> int:
        places = _NODES[self.version]
        before = sum(number for other, number in places.items() if other < length)
        key = cidr >> _BITS[self.version] - length
        return self.numbers.start + 2 * (before + key % places[length])

    def _goto(self, source: Source, priority: int, target: int, table: int = 0) -> Rule:
        network = type(EVERYTHING[self.version])(source) if source[1] else EVERYTHING[self.version]
        return Rule(network, priority, table, action=RuleAction.GOTO, target=target)


def _deeper(version: int, length: int) -> int | None:
    return next((other for other in _NODES[version] if other > length), None)


def _source(network: AnyNetwork) -> Source:
    return int(network.network_address), network.prefixlen


@dataclass(frozen=True, slots=True)
class _Plain:
    """The plain rules of one ENI and IP version."""

    sources: tuple[AnyNetwork, ...]
    actions: tuple[Rule, ...]
    """The rules of the first source."""


def _plain(rules: Iterable[Rule]) -> _Plain | None:
    """None if a rule is no plain one, or the sources have different ones."""
    by_source: dict[AnyNetwork, list[Rule]] = defaultdict(list)
    for rule in rules:
        if rule.mark or rule.destination or rule.action is not RuleAction.LOOKUP:
            return None
        by_source[rule.source].append(rule)
    first, *others = by_source.values()
    kinds = [_kind(rule) for rule in first]
    if len(kinds) > 2 or any([_kind(rule) for rule in other] != kinds for other in others):
        return None
    return _Plain(tuple(by_source), tuple(first))


def _kind(rule: Rule) -> tuple[object, ...]:
    return (rule.priority, rule.table, rule.suppress_prefixlength, rule.suppress_group)


_Enis: TypeAlias = tuple[tuple[int, tuple[Rule, ...]], ...]
"""The number n and the rules of each ENI."""


def tree_rules(
    enis: _Enis, found: Iterable[Found[Rule]], numbers: NumberPlan, free: Collection[int]
) -> tuple[tuple[Rule, ...], ...]:
    """For each ENI, the rules that stand for its plain ones; none if those do so themselves.

    They are in the order in which they are added, after the shared ones: what a rule leads to precedes it.
    """
    present = {
        rule: rule
        for rule in (one.item for one in found if one.protocol == numbers.protocol)
        if rule.purpose is Purpose.TREE
    }
    in_tree: dict[int, list[Rule]] = {n: [] for n, _ in enis}
    planted: set[AnyNetwork] = set()
    for version in free:
        plain = _plain_rules(enis, version)
        sources = sorted(_source(network) for one in plain.values() for network in one.sources)
        if not _is_worth(len(sources), any(rule.version == version for rule in present)):
            continue
        if _overlap(sources, version):
            continue
        tree = Tree(version, numbers.tree)
        tree.grow(sources)
        for n, of_tree, staying in _of_enis(tree, plain, _Moving(tree, present)):
            in_tree[n] += (present.get(rule, rule) for rule in of_tree)
            planted.update(staying)
    return tuple(
        (
            *(rule for rule in rules if rule.source not in planted),
            *sorted(in_tree[n], key=lambda rule: -rule.priority),
        )
        if in_tree[n]
        else ()
        for n, rules in enis
    )


def planted(
    host: HostIntent,
    snapshot: Snapshot,
    numbers: NumberPlan,
    made: Callable[..., tuple[tuple[Rule, ...], ...]] = tree_rules,
) -> HostIntent:
    """``host`` with the rules of the tree, where it is worth one and nothing is against it.

    ``made``: ``tree_rules``, which takes 100 ms for the largest host, or what remembers its result.
    """
    mine = [i for i in host.ready if i.rules and i.manage is not Manage.OBSERVE]
    if sum(len(intent.rules) for intent in mine) < LEAST_IN_TREE:
        return host
    free = tuple(version for version in (4, 6) if _is_free(version, snapshot, numbers))
    enis = tuple((intent.number.n, intent.rules) for intent in mine)
    rules = made(enis, snapshot.rules, numbers, free)
    by_mac = {intent.mac: of_eni for intent, of_eni in zip(mine, rules, strict=True) if of_eni}
    enis_after = tuple(
        replace(eni, intent=replace(eni.intent, made_rules=by_mac[eni.mac]))
        if eni.intent is not None and eni.mac in by_mac
        else eni
        for eni in host.enis
    )
    return replace(host, enis=enis_after)


def _of_enis(
    tree: Tree, plain: Mapping[int, _Plain], moving: "_Moving"
) -> Iterator[tuple[int, list[Rule], list[AnyNetwork]]]:
    """For each ENI its rules in the tree, and the sources that these are for."""
    last = Rule(EVERYTHING[tree.version], tree.end, 0, action=RuleAction.NOP)
    for n, own in plain.items():
        table = own.actions[-1].table
        leaves = [tree.leaf(network, n, table) for network in own.sources]
        staying = [leaf for leaf in leaves if not moving(leaf)]
        sources = [leaf.source for leaf in staying]
        if sources:
            of_eni = tree.rules_of_eni(n, own.actions)
            yield n, [*staying, *tree.way_to(sources), *of_eni, last], sources


def _plain_rules(enis: _Enis, version: int) -> dict[int, _Plain]:
    """By the number of an ENI; none at all if those of one ENI do not fit into a tree."""
    ruled = {n: [rule for rule in rules if rule.version == version] for n, rules in enis}
    plain = {n: _plain(rules) for n, rules in ruled.items() if rules}
    known = {n: one for n, one in plain.items() if one is not None}
    blocks = {n % _BLOCKS for n in known}
    return known if len(blocks) == len(known) == len(plain) else {}


def _is_worth(sources: int, there_is_one: bool) -> bool:
    return sources > MOST_PLAIN or (there_is_one and sources >= LEAST_IN_TREE)


def _overlap(sources: Sequence[Source], version: int) -> bool:
    bits = _BITS[version]
    return any(b[0] < a[0] + (1 << bits - a[1]) for a, b in pairwise(sources))


def _is_free(version: int, snapshot: Snapshot, numbers: NumberPlan) -> bool:
    """Not where another maker's rule would come after the plain rules, and before the tree."""
    passed = range(numbers.main_first_priority, numbers.tree.stop)
    others = {
        (rule.version, rule.priority)
        for rule in snapshot.by_maker(numbers.protocol)[1]
        if isinstance(rule, Rule)
    }
    foreign = others | snapshot.further_rules
    taken = any(of == version and priority in passed for of, priority in foreign)
    return not taken and passed.stop <= LAST_PRIORITIES.start


class _Moving:
    """Which sources have another place in the tree that is there than in the wanted one.

    The rule of the source has another place, or a rule leads to a node that is no more. Or another
    ENI has a rule for a CIDR that overlaps the source, and keeps it while it is on hold.
    """

    def __init__(self, tree: Tree, present: Iterable[Rule]) -> None:
        self._bits = _BITS[tree.version]
        self._overlapping: dict[Source, list[Rule]] = defaultdict(list)
        self._former: dict[int, set[int]] = defaultdict(set)
        wanted = sorted(tree.nodes)
        for rule in present:
            if rule.version != tree.version or not rule.source.prefixlen:
                continue
            number, length = _source(rule.source)
            if rule.table:
                for source in self._that_overlap(number, length, wanted):
                    self._overlapping[source].append(rule)
            elif rule not in tree.rows:
                self._former[length].add(number >> self._bits - length)

    def _that_overlap(self, number: int, length: int, wanted: Sequence[Source]) -> Iterator[Source]:
        """``wanted`` are disjoint and sorted."""
        place = max(bisect_left(wanted, (number, 0)) - 1, 0)
        while place < len(wanted) and wanted[place][0] < number + (1 << self._bits - length):
            if wanted[place][0] + (1 << self._bits - wanted[place][1]) > number:
                yield wanted[place]
            place += 1

    def __call__(self, leaf: Rule) -> bool:
        """``leaf``: the wanted rule of a source."""
        source = _source(leaf.source)
        for rule in self._overlapping.get(source, ()):
            if rule != leaf and (rule.table != leaf.table or rule.source == leaf.source):
                return True
        return any(
            source[0] >> self._bits - length in former for length, former in self._former.items()
        )


def still_used(items: Iterable[object], staying: Collection[object] | None) -> frozenset[Rule]:
    """The rules of no single ENI that lead to the rule of a source, or from there to the end.

    ``staying``: the rules of sources and ENIs that count; None: all that are among ``items``. One that
    goes needs its way: its removal may fail, or be undone. The next pass removes the way.
    """
    rules = [item for item in items if isinstance(item, Rule)]
    leaves = [r for r in rules if r.target and r.table and r.source.prefixlen]
    of_enis = [r for r in rules if r.table and not r.source.prefixlen and r.in_tree]
    if staying is not None:
        leaves = [rule for rule in leaves if rule in staying]
        of_enis = [rule for rule in of_enis if rule in staying]
    if not leaves and not of_enis:
        return frozenset()
    numbers: dict[int, list[int]] = {4: [], 6: []}
    for leaf in leaves:
        numbers[leaf.version].append(int(leaf.source.network_address))
    for found in numbers.values():
        found.sort()
    rows = [r for r in rules if r.shared and r.source.prefixlen and _has_any(r, numbers)]
    starts = {(rule.version, rule.target) for rule in leaves}
    starts |= {(rule.version, rule.priority + 1) for rule in (*leaves, *rows)}
    for version in {rule.version for rule in of_enis}:  # past the rules of ENIs
        of_nodes = (r for r in rules if r.shared and not r.source.prefixlen)
        first = min((r.priority for r in of_nodes if r.version == version), default=0)
        starts.add((version, first))
    last = {rule.version for rule in (*leaves, *of_enis)}
    ends = (
        rule
        for rule in rules
        if not rule.source.prefixlen
        and (
            (rule.version, rule.priority) in starts
            or (rule.action is RuleAction.NOP and rule.version in last)
        )
    )
    return frozenset((*rows, *ends))


def _has_any(rule: Rule, numbers: dict[int, list[int]]) -> bool:
    """Whether one of the numbers lies in the rule's CIDR."""
    first, last = int(rule.source.network_address), int(rule.source.broadcast_address)
    known = numbers[rule.version]
    place = bisect_left(known, first)
    return place < len(known) and known[place] <= last
