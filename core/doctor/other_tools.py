# SPDX-License-Identifier: Apache-2.0
"""Findings about other tools that configure ENIs: one for each tool, with what it holds. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ec2net.core.decide.intent import EniOutcome
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import Danger, recognise
from ec2net.core.model.errors import DoubleManagement
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LOCAL_TABLE, MAIN_TABLE, Route, Rule
from ec2net.core.model.policy_rule import KERNEL
from ec2net.core.model.snapshot import Snapshot

_HARM = {
    Danger.DOUBLE: "; it configures the same ENIs, together with ec2net where coexist_with allows it",
    Danger.POSSIBLE: "; it may configure the same ENIs",
    Danger.NONE: "",
}


@dataclass(frozen=True, slots=True)
class Holdings:
    """The rules and routes of ENIs that ec2net refused because of another tool."""

    of: Mapping[Rule | Route, EniOutcome]
    """By item, the ENI whose addresses, link or table it concerns."""

    def text(self, macs: frozenset[Mac]) -> str:
        """The tool's objects on each of these ENIs; empty if there are none."""
        counts: dict[str, Counter[str]] = {}
        for item, eni in self.of.items():
            if eni.mac in macs:
                kind = "rule" if isinstance(item, Rule) else "route"
                counts.setdefault(eni.name, Counter())[kind] += 1
        return "; ".join(
            f"{name}: {' and '.join(_counted(number, kind) for kind, number in kinds.items())}"
            for name, kinds in sorted(counts.items())
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def holdings(view: View, own: int) -> Holdings:
    """``own``: the protocol that marks what ec2net made."""
    refused = refused_macs(view)
    enis = [eni for eni in view.host.enis if eni.mac in refused]
    found: dict[Rule | Route, EniOutcome] = {}
    if enis:
        sources = _sources(enis, view.snapshot)
        tables = {eni.table: eni for eni in enis if eni.table is not None}
        links = {link.index: eni for eni in enis for link in eni.links}
        for rule in (r.item for r in view.snapshot.rules if r.protocol != own):
            if eni := tables.get(rule.table) or sources.get(str(rule.source.network_address)):
                found[rule] = eni
        for made in view.snapshot.routes:
            route = made.item
            if made.protocol in (own, KERNEL) or route.table in (MAIN_TABLE, LOCAL_TABLE):
                continue
            if eni := links.get(route.link.index) or tables.get(route.table):
                found[route] = eni
    return Holdings(found)


def _sources(enis: list[EniOutcome], snapshot: Snapshot) -> dict[str, EniOutcome]:
    """The addresses on the links of these ENIs."""
    links = {link.index: eni for eni in enis for link in eni.links}
    return {
        str(found.item.interface.ip): links[found.item.link.index]
        for found in snapshot.addresses
        if found.item.link.index in links
    }


def refused_macs(view: View) -> frozenset[Mac]:
    """The ENIs that ec2net refuses because of another tool."""
    problems = (p for p in view.problems if isinstance(p, DoubleManagement))
    return frozenset(mac for problem in problems for mac in problem.macs)


def tools(view: View, environment: Environment, held: Holdings) -> Iterator[Finding]:
    """One finding for each tool. An error where ec2net refuses ENIs because of it."""
    refused = {p.subject: p for p in view.problems if isinstance(p, DoubleManagement)}
    for one in recognise(environment):
        if problem := refused.get(one.tool.value):
            holds = held.text(problem.macs)
            cause = f"{problem.problem}. Its objects: {holds}" if holds else problem.problem
            subject, remedy = problem.subject, problem.remedy
            yield Finding(Severity.ERROR, Check.OTHER_TOOL, subject, cause, remedy)
            continue
        yield Finding(
            Severity.NOTE if one.danger is Danger.NONE else Severity.WARNING,
            Check.OTHER_TOOL,
            one.tool.value,
            f"{one.trace}{_HARM[one.danger]}",
            one.remedy,
        )
