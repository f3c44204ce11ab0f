# SPDX-License-Identifier: Apache-2.0
"""Which rule, table and route the kernel's answer to a lookup came from. Pure.

The kernel tells the table and not the rule: the first rule for the packet that leads to this table,
or that fails packets, is the one.
"""

from dataclasses import dataclass, replace

from ec2net.core.engine.surroundings import Surroundings
from ec2net.core.kernel.session import RouteAnswer
from ec2net.core.model.objects import AnyAddress, Route, RouteKind, Rule, RuleAction
from ec2net.core.model.policy_rule import FAILING, KERNEL, LOOKUP, PolicyRule, table_name


@dataclass(frozen=True, slots=True)
class Cause:
    """Where an answer came from. ``table`` is None if the kernel refused to answer."""

    rule: PolicyRule | Rule | None
    table: int | None
    route: Route | None = None
    divert: Route | None = None
    """The route, if another maker than ec2net and the kernel put it into an ENI's table."""

    @property
    def culprit(self) -> PolicyRule | Route | None:
        """The object of another maker that is the cause."""
        return self.foreign or self.divert

    @property
    def foreign(self) -> PolicyRule | None:
        """The rule, if another maker than ec2net and the kernel made it."""
        if isinstance(self.rule, PolicyRule) and self.rule.protocol != KERNEL:
            return self.rule
        return None

    def describe(self) -> str:
        """``rule 100: from 10.0.2.21 lookup main``; with the route where that is known."""
        parts = [self.rule.describe()] if self.rule is not None else []
        if self.route is not None:
            parts.append(self.route.describe())
        elif not parts and self.table:
            parts.append(f"table {table_name(self.table)}")
        return ", ".join(parts)

    def remedy(self) -> str:
        """The remedy for a foreign rule or route; empty for every other cause."""
        rule = self.foreign
        if rule is None:
            command = deletion(self.divert) if self.divert is not None else ""
            return f"if nothing needs the route, run: {command}" if command else ""
        if command := rule.deletion():
            return f"if nothing needs the rule, run: {command}"
        return f"the rule looks like one of {rule.maker}: change it there"


def cause(
    around: Surroundings,
    source: AnyAddress,
    destination: AnyAddress,
    answer: RouteAnswer | None,
    through: str = "",
    matched: Route | None = None,
) -> Cause:
    """``answer`` is None if the kernel refused to answer. ``through``: the name of the link that
    the packet is bound to; ``matched``: the route that the packet takes, where the kernel told it."""
    found = _cause(around, source, destination, answer, through, matched)
    foreign = found.foreign is None and found.route in around.foreign_routes
    return replace(found, divert=found.route if foreign else None)


def _cause(
    around: Surroundings,
    source: AnyAddress,
    destination: AnyAddress,
    answer: RouteAnswer | None,
    through: str,
    matched: Route | None,
) -> Cause:
    table = answer.table if answer is not None else None
    rules: list[PolicyRule | Rule] = [
        rule
        for rule in around.of_others.matching(source)
        if rule.takes(source, destination, through)
    ]
    rules += [
        rule
        for rule in around.ours.matching(source)
        if rule.mark is None and (rule.destination is None or destination in rule.destination)
    ]
    rules.sort(key=lambda rule: rule.priority)
    if table is None:
        failing = (r for r in rules if isinstance(r, PolicyRule) and r.action in FAILING)
        if found := next(failing, None):
            return Cause(found, None)
    for rule in rules:
        if table is not None and rule.table == table and _looks_up(rule):
            route = matched or around.route(table, destination)
            if isinstance(rule, Rule) and route is not None and _suppresses(rule, route):
                continue
            known = route is not None and answer is not None and route.link.index == answer.link
            return Cause(rule, table, route if known else None)
        if table is None and (route := _unreachable(around, rule, destination)):
            return Cause(rule, None, route)
    return Cause(None, table)


def _suppresses(rule: Rule, route: Route) -> bool:
    limit = rule.suppress_prefixlength
    return limit is not None and route.destination.prefixlen <= limit


def deletion(item: Rule | Route) -> str:
    """The command of ip(8) that deletes it; empty where a description does not identify it."""
    kind, _, rest = item.describe().partition(" ")
    if isinstance(item, Rule):
        if item.action is not RuleAction.LOOKUP:
            return ""
        priority, _, selectors = rest.partition(": ")
        words = f"{selectors} priority {priority}"
    elif item.kind is RouteKind.UNICAST and item.link.name:
        words = rest.removeprefix("-6 ")
    else:
        return ""
    return f"ip {'-6 ' if item.version == 6 else ''}{kind} del {words}"


def _looks_up(rule: PolicyRule | Rule) -> bool:
    return rule.action == LOOKUP if isinstance(rule, PolicyRule) else bool(rule.table)


def _unreachable(
    around: Surroundings, rule: PolicyRule | Rule, destination: AnyAddress
) -> Route | None:
    """A route without a link, such as a blackhole, in the table of this rule."""
    route = around.route(rule.table, destination) if _looks_up(rule) else None
    return route if route is not None and not route.link.index else None
