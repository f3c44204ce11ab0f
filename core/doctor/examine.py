# SPDX-License-Identifier: Apache-2.0
"""All findings, from one look of the engine and the readings. Pure."""

from collections.abc import Collection, Iterator

from ec2net.core.config.files import LoadedConfig
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.decide.readiness import BY_CONFIGURATION
from ec2net.core.doctor import (
    addresses,
    configuration,
    filters,
    imds,
    links,
    managers,
    other_tools,
    routes,
    sysctls,
    units,
)
from ec2net.core.doctor.finding import Check, Finding, Severity, in_order
from ec2net.core.doctor.readings import Readings
from ec2net.core.engine.causes import deletion
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.model import finding
from ec2net.core.model.errors import DoubleManagement, ImdsError
from ec2net.core.model.facts import Value
from ec2net.core.model.objects import Route, Rule
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.model.problem_code import Code, code_of
from ec2net.core.report.text import count, incomplete


def examine(
    view: View, readings: Readings, environment: Environment, loaded: LoadedConfig
) -> tuple[Finding, ...]:
    """Errors first. ``environment`` has the links of all ENIs."""
    numbers = loaded.config.numbers
    host, snapshot, others = view.host, view.snapshot, view.observed_only
    found = [
        *imds.unreachable(readings.ways, host),
        *imds.short_hops(readings.reaches_further, readings.sysctls.forwards),
    ]
    no_imds = bool(found) and found[0].severity is Severity.ERROR
    dead = tuple(managers.findings(view, environment))
    found += [*dead, *_problems(view, dead, without_imds=no_imds), *_standings(view)]
    found += routes.links_down(host, snapshot)
    found += routes.missing_defaults(host, snapshot, others)
    found += [
        *routes.silent(readings.silent_gateways or ()),
        *routes.fixed(readings.fixed_gateways),
    ]
    held = other_tools.holdings(view, numbers.protocol)
    told = held.of.keys() | _culprits(view, readings.wrong_ways)
    found += routes.foreign_objects(host, snapshot, numbers, others, but=told)
    found += addresses.duplicates(host, snapshot)
    found += addresses.unassigned(view)
    found += addresses.lost_leases(view)
    found += addresses.unusable(readings.address_states, host)
    found += addresses.overdue(readings.leases or {}, readings.address_states)
    found += [*_mtus(view), *links.ipv6_off(view.facts, host, snapshot)]
    ruleset = readings.ruleset or filters.Ruleset()
    hiding = filters.hiding_imds(ruleset) if no_imds else ()
    found += [*filters.dropped(ruleset, host, others), *hiding]
    found += _sysctls(host, readings)
    found += configuration.broken(loaded)
    found += configuration.unused_sections(loaded, view.facts)
    found += units.service(readings.service, readings.last_pass)
    found += units.masked(environment)
    found += units.failed(readings.failed_units or (), readings.service)
    found += other_tools.tools(view, environment, held)
    found += [*_plan(view), *_routing(view, readings.wrong_ways), *_unchecked(readings)]
    return in_order(_without_consequences(found))


def _sysctls(host: HostIntent, readings: Readings) -> Iterator[Finding]:
    yield from sysctls.strict_filters(host, readings.sysctls)
    yield from sysctls.no_forwarding(readings.behind, readings.sysctls)
    yield from sysctls.lost_answers(host, readings.sysctls)
    yield from sysctls.lost_advertisements(host, readings.sysctls)


_OF_A_DEAD_LINK = (Check.DEFAULT_ROUTE, Check.ROUTING, Check.IMDS)


def _without_consequences(found: Collection[Finding]) -> list[Finding]:
    """Without what follows from a link that is down."""
    down = {one.subject for one in found if one.check is Check.LINK_DOWN}
    return [one for one in found if one.subject not in down or one.check not in _OF_A_DEAD_LINK]


def _culprits(view: View, wrong: Collection[finding.Finding]) -> set[Rule | Route]:
    """Foreign objects that other findings name: conflicts, and those of the kernel's answers."""
    items = [found.foreign for found in view.plan.conflicts]
    known: set[Rule | Route] = {item for item in items if isinstance(item, Rule | Route)}
    culprits = {one.culprit for one in wrong}
    known |= {one for one in culprits if isinstance(one, Route)}
    keys = {(c.priority, c.source, c.table) for c in culprits if isinstance(c, PolicyRule)}
    rules = (found.item for found in view.snapshot.rules)
    return known | {r for r in rules if (r.priority, r.source, r.table) in keys}


def _mtus(view: View) -> Iterator[Finding]:
    """One finding for each link: a refused MTU, one without room for IPv6, or a wrong one."""
    refused = [conflict for conflict in view.plan.conflicts if conflict.limit]
    small = (*links.without_ipv6(view.facts, view.host, view.snapshot),)
    names = {one.subject for one in small}
    told = {conflict.mac for conflict in refused}
    told |= {intent.mac for intent in view.host.ready if intent.link.name in names}
    yield from links.refused_mtus(refused)
    yield from small
    yield from links.wrong_mtus(view.host, view.snapshot, told)


def _problems(view: View, dead: Collection[Finding], *, without_imds: bool) -> Iterator[Finding]:
    """The problems of the observation itself. ``dead``: the network managers with a finding.
    ``without_imds``: those of IMDS have a finding already."""
    names = {one.subject.removesuffix(".service") for one in dead}
    for problem in view.problems:
        told = isinstance(problem, DoubleManagement) or problem.subject in names
        if not told and not (without_imds and isinstance(problem, ImdsError)):
            remedy = problem.remedy or "see 'ec2net status' and 'ec2net plan'"
            code, subject = code_of(problem), problem.subject
            yield Finding(Severity.ERROR, Check.ENI, subject, problem.problem, remedy, code)


def _standings(view: View) -> Iterator[Finding]:
    doubled = other_tools.refused_macs(view)
    listed = view.facts.imds.listed
    there = set(listed.value) if isinstance(listed, Value) else None
    unlisted = {eni.mac for eni in view.host.enis if there is not None and eni.mac not in there}
    for eni in view.host.enis:
        if eni.mac in doubled:
            continue  # reported with the tool
        if eni.standing is Standing.REFUSED:
            remedy = f"compare this with what IMDS reports: ec2net explain {eni.name}"
            text = f"the ENI is refused: {eni.reason}"
            yield Finding(Severity.ERROR, Check.ENI, eni.name, text, remedy, Code.REFUSED)
        elif eni.standing is Standing.IGNORED and eni.reason != BY_CONFIGURATION:
            text = f"the ENI is ignored: {eni.reason}"
            remedy = f"if ec2net is to configure the ENI, see why: ec2net explain {eni.name}"
            yield Finding(Severity.NOTE, Check.ENI, eni.name, text, remedy, Code.IGNORED)
        elif eni.standing is Standing.ABSENT:
            remedy = (
                "if the ENI is not EFA-only, look for its link in other namespaces: ip -all "
                "netns exec ip -br link"
            )
            yield Finding(Severity.NOTE, Check.ENI, eni.name, eni.reason, remedy, Code.ABSENT)
        elif eni.intent is not None and eni.mac in unlisted:
            text = "IMDS does not list the ENI any more: ec2net keeps its last known configuration"
            remedy = (
                "see whether EC2 has detached it: aws ec2 describe-network-interfaces "
                f"--network-interface-ids {eni.eni_id}"
            )
            yield Finding(Severity.WARNING, Check.ENI, eni.name, text, remedy)
        elif eni.intent is not None and eni.intent.unread:
            remedy = f"wait for IMDS, or see what is missing: ec2net explain {eni.name}"
            text = incomplete(eni.intent.unread)
            yield Finding(Severity.WARNING, Check.ENI, eni.name, text, remedy)
        elif eni.standing is Standing.PENDING:
            remedy = f"wait for IMDS, or see what is missing: ec2net explain {eni.name}"
            text = f"the ENI is pending: {eni.reason}"
            yield Finding(Severity.WARNING, Check.ENI, eni.name, text, remedy, Code.PENDING)


def _plan(view: View) -> Iterator[Finding]:
    for conflict in view.plan.conflicts:
        if conflict.limit:
            continue  # reported with the MTUs
        eni, item = view.host.of(conflict.mac), conflict.foreign
        command = deletion(item) if isinstance(item, Rule | Route) else ""
        yield Finding(
            Severity.ERROR,
            Check.CONFLICT,
            eni.name if eni else str(conflict.mac),
            conflict.describe(),
            "remove that object with the tool that created it; ec2net never replaces foreign "
            "objects"
            + (f"; if nothing needs it, run: {command} && ec2net refresh" if command else ""),
        )
    if view.pause is not None:
        cause = f"changes are paused {view.pause.words()}"
        yield Finding(Severity.NOTE, Check.PAUSE, "", cause, "to end the pause: ec2net resume")
    changes = view.plan.without(view.observed_only).changes
    if changes:
        yield Finding(
            Severity.WARNING,
            Check.DRIFT,
            "",
            f"the host differs from the intent: {count(changes)}",
            "see the changes: ec2net plan; make them: ec2net "
            + ("resume" if view.pause is not None else "refresh"),
        )


def _routing(view: View, wrong: Collection[finding.Finding]) -> Iterator[Finding]:
    """Per ENI and code the first, with the number of the others: one cause has them all, as a rule.

    A refresh is offered only where it would change something of the ENI.
    """
    plan = view.plan.without(view.observed_only | view.held.keys() | view.waiting_for)
    for eni in view.host.enis:
        own = [found for found in wrong if found.mac == eni.mac]
        for code in dict.fromkeys(found.code for found in own):
            same = [found for found in own if found.code is code]
            more = f" (and {len(same) - 1} more of this kind)" if len(same) > 1 else ""
            repair = "; repair: ec2net refresh" if plan.of(eni.mac).changes else ""
            remedy = next((found.remedy for found in same if found.remedy), "")
            yield Finding(
                Severity.ERROR,
                Check.ROUTING,
                eni.name,
                f"{same[0].text}{more}",
                remedy or f"see why: ec2net explain {eni.name}{repair}",
                code,
            )


def _unchecked(readings: Readings) -> Iterator[Finding]:
    if readings.out_of_time:
        yield Finding(
            Severity.NOTE,
            Check.UNCHECKED,
            "",
            "the time of timeouts.pass was over before the way of each address was checked",
            "run: ec2net verify",
        )
    if readings.silent_gateways is None:
        yield Finding(
            Severity.NOTE,
            Check.UNCHECKED,
            "",
            "the gateways were not checked: the check needs CAP_NET_ADMIN",
            "run 'ec2net doctor' as root",
        )
    if readings.failed_units is None:
        yield Finding(
            Severity.NOTE,
            Check.UNCHECKED,
            "",
            "systemd did not report which units have failed",
            "run: systemctl --failed",
        )
