# SPDX-License-Identifier: Apache-2.0
"""``ec2net explain``: what IMDS said, what follows, what the kernel answers; or all as a picture."""

import json
from argparse import Namespace
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from ec2net.core.daemon.published import published
from ec2net.core.decide import unassigned
from ec2net.core.decide.intent import EniIntent, EniOutcome, Standing
from ec2net.core.decide.unassigned import has
from ec2net.core.doctor.addresses import is_left_over
from ec2net.core.engine import verify
from ec2net.core.engine.causes import cause
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.engine.surroundings import OwnRules, Surroundings
from ec2net.core.model.errors import Ec2netError, ExitStatus, KernelError, UsageError
from ec2net.core.model.facts import Absent, EniFacts, Unknown, Value, keys_of
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import IPV6_MTU_MIN
from ec2net.core.model.objects import AnyAddress
from ec2net.core.model.plan import Change
from ec2net.core.report import as_json, text
from ec2net.core.report.eni_state import State
from ec2net.core.runtime.clock import date
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import pause
from ec2net.core.state.config_in_force import workplace
from ec2net.core.state.memory import Memory


def run(options: Namespace) -> ExitStatus:
    picture = options.dot or options.svg
    if options.what is None and not picture:
        raise UsageError(
            "'ec2net explain' needs a link or an address",
            remedy="or run 'ec2net explain --svg' for a picture of all ENIs",
        )
    place = workplace(options, may_fall_back=True)
    deadline = Deadline(place.config.timeouts.pass_, "explain")
    with opened(place) as engine:
        view = inspect(engine, deadline)
        if picture:
            only = None if options.what is None else {_find(options.what, view)[0].mac}
            _draw(view, only, deadline, svg=options.svg)
            return place.status(ExitStatus.DONE)
        outcome, address = _find(options.what, view)
        story = _story(outcome, address, view, engine, deadline)
    story["main_remarks"] = list(outcome.intent.main_remarks if outcome.intent else ())
    story["drift"] = _drifts(view.memory, outcome)
    manager = published(place.run)
    story["repairs"] = manager.get("fight", "") if manager is not None else ""
    if options.json:
        print(json.dumps({"version": as_json.VERSION, **story}, indent=2))
    else:
        _print(story)
    return place.status(ExitStatus.DONE)


def _draw(view: View, only: Collection[Mac] | None, deadline: Deadline, *, svg: bool) -> None:
    from ec2net.core.cli import picture

    drawn = picture.dot(view, only)
    deadline.check()
    if svg:
        drawn = picture.svg(drawn, deadline)
    print(drawn.rstrip("\n"))


def _find(what: str, view: View) -> tuple[EniOutcome, AnyAddress | None]:
    """The ENI by link name, alternative name, id, MAC or an address that it holds."""
    try:
        address = ip_address(what)
    except ValueError:
        address = None
    facts = {eni.mac: eni for eni in view.facts.imds.enis}
    for outcome in view.host.enis:
        link = view.snapshot.link(outcome.link.index) if outcome.link else None
        names = {str(outcome.mac), str(outcome.eni_id), *(link.altnames if link else ())}
        if what in names or (link is not None and what == link.name):
            return outcome, None
        if address is not None and (
            (outcome.mac in facts and has(facts[outcome.mac], address))
            or _passes_on(outcome.intent, address)
        ):
            return outcome, address
    if address is not None:
        _refuse_unassigned(address, view)
    known = ", ".join(outcome.name for outcome in view.host.enis) or "none"
    if view.problems:
        raise Ec2netError(
            f"{what} was not found, but may exist, because not everything could be read: {view.problems[0]}"
        )
    absent = [outcome.name for outcome in view.host.enis if outcome.standing is Standing.ABSENT]
    unread = f"; ec2net does not read the addresses of an ENI without a link: {', '.join(absent)}"
    raise UsageError(
        f"{what} is not the link, id, MAC or address of an ENI",
        remedy=f"ENIs of this host: {known}{unread if address is not None and absent else ''}",
    )


def _refuse_unassigned(address: AnyAddress, view: View) -> None:
    """Raises ``Ec2netError`` for an address that EC2 does not assign, and that looks like an ENI's."""
    on = unassigned.on_links(view.facts, view.host, view.snapshot)
    found = next((one for one in on if one.address == address), None)
    found = found or unassigned.in_subnet(view.facts, address)
    if found is not None:
        gone = is_left_over(address, view)
        remedy = "to remove it, run: ec2net refresh" if gone else found.remedy
        raise Ec2netError(found.problem, remedy=remedy)


def _asked(intent: EniIntent | None, address: AnyAddress | None) -> list[AnyAddress]:
    """The sources that the kernel is asked about: ``address``, or all of the ENI."""
    if intent is None:
        return []
    held = [interface.ip for interface in intent.sources]
    if address is None:
        return list(held)
    forwarded = any(address in prefix for prefix in intent.prefixes)
    return [address] if address in held or forwarded or _passes_on(intent, address) else []


def _unused(outcome: EniOutcome, address: AnyAddress | None, view: View) -> list[str]:
    """Why ec2net does not configure an address that IMDS lists."""
    intent = outcome.intent
    if address is None or intent is None:
        return []
    link = view.snapshot.link(intent.link.index)
    why = f'the setting manage is "{intent.manage.value}"'
    if address.version == 6 and not intent.ipv6:
        off = not intent.early.ipv6 or link is None
        why = 'the setting ipv6 is "off"' if off else f"IPv6 is off on {intent.link}"
        if link is not None and link.ipv6_off_by_mtu:
            why = f"the MTU of {intent.link} is {link.mtu}, and IPv6 needs {IPV6_MTU_MIN}"
    return [f"from {address}: ec2net does not configure the address: {why}"]


def _passes_on(intent: EniIntent | None, address: AnyAddress) -> bool:
    """Whether a container or a virtual address has it, by the configuration."""
    passed_on = (*intent.routed, *intent.configured_sources) if intent is not None else ()
    return any(address in network for network in passed_on)


def _story(
    outcome: EniOutcome,
    address: AnyAddress | None,
    view: View,
    engine: Engine,
    deadline: Deadline,
) -> dict[str, Any]:
    facts = next((eni for eni in view.facts.imds.enis if eni.mac == outcome.mac), None)
    choice = view.choices.get(outcome.mac)
    intent = outcome.intent
    own, around = view.plan.of(outcome.mac), engine.surroundings(view)
    sources = _asked(intent, address)
    wrong = _wrong(outcome, sources, view, engine, around, deadline)
    return {
        "title": text.title(outcome),
        "state": _state(outcome, view, whole=not wrong).value,
        "standing": outcome.standing.value,
        "reason": outcome.reason,
        "backend": choice.backend if choice else None,
        "backend_reasons": list(choice.reasons) if choice else [],
        "imds": _said(facts) if facts else {},
        "rules": _rules(intent, address),
        "routes": _routes(intent, address),
        "kernel": [
            _answer(engine, source, around, deadline, _bound_to(intent)) for source in sources
        ]
        or _unused(outcome, address, view),
        "wrong": wrong,
        "would_change": [_change(step) for step in own.changes]
        + ["! " + found.describe() for found in own.conflicts],
        "held": as_json.hold(view.held.get(outcome.mac)),
        "observed": outcome.mac in view.observed_only,
        "pause": pause.to_json(view.pause),
        "problems": [str(problem) for problem in view.problems],
        "warnings": [str(one) for one in view.warnings if outcome.mac in one.macs],
    }


def _change(step: Change) -> str:
    was = f"   (was: {step.before.describe()})" if step.before is not None else ""
    return f"{step.action.value} {step.item.describe()}{was}"


def _rules(intent: EniIntent | None, address: AnyAddress | None) -> list[str]:
    if intent is None:
        return []
    if address is None:
        return [rule.describe() for rule in intent.every_rule]
    rules = OwnRules(intent.every_rule)
    met = [*sorted(rules.plain(address), key=lambda rule: rule.priority), *rules.in_tree(address)]
    return [rule.describe() for rule in met]


def _routes(intent: EniIntent | None, address: AnyAddress | None) -> list[str]:
    return [
        route.describe()
        for route in (intent.every_route if intent else ())
        if address is None or route.destination.version == address.version
    ]


def _state(outcome: EniOutcome, view: View, *, whole: bool) -> State:
    """The word of ``status``, as the host is now. ``whole``: the kernel answers as intended."""
    if outcome.standing is not Standing.READY:
        return State(outcome.standing.value)
    if outcome.mac in view.observed_only:
        return State.OBSERVED
    own, choice = view.plan.of(outcome.mac), view.choices.get(outcome.mac)
    lacks = own.changes or own.conflicts or outcome.mac in view.held
    if lacks or not whole or choice is None or choice.backend is None:
        return State.DEGRADED
    return State.CONFIGURED


def _wrong(
    outcome: EniOutcome,
    sources: Collection[AnyAddress],
    view: View,
    engine: Engine,
    around: Surroundings,
    deadline: Deadline,
) -> list[str]:
    """The findings of ``verify`` for these sources, each with its remedy."""
    if outcome.intent is None or outcome.mac in view.observed_only:
        return []
    found = verify.check(outcome.intent, engine.kernel, around, deadline, only=sources)
    return [f"{one.text}{one.remedy and f' ({one.remedy})'}" for one in found]


def _drifts(memory: Memory, outcome: EniOutcome) -> list[dict[str, Any]]:
    """The drift of the ENI, as passes noticed it; the oldest first."""
    link = outcome.link
    known = memory.drift_of(outcome.mac, link.index).story if link is not None else ()
    return [{**(as_json.drift(one) or {}), "text": one.describe()} for one in known]


def _when(one: dict[str, Any]) -> str:
    again = f", {one['times']} times until {one['last']}" if one["times"] > 1 else ""
    return f"{one['noticed']}{again}: {one['text']}"


def _said(facts: EniFacts) -> dict[str, str]:
    said = {}
    for key, reading in keys_of(facts).items():
        match reading:
            case Value(value, stale):
                words = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
                said[key] = f"{words} (last known)" if stale else words
            case Absent():
                said[key] = "absent"
            case Unknown(reason):
                said[key] = f"unknown: {reason}"
    return said


def _bound_to(intent: EniIntent | None) -> int:
    """Index of the link to which a packet must be bound to be one of the ENI's VRF; 0: of no VRF."""
    return intent.link.index if intent is not None and intent.vrf else 0


def _answer(
    engine: Engine, source: AnyAddress, around: Surroundings, deadline: Deadline, through: int
) -> str:
    """Where the kernel sends traffic of this source, and by which rule and route."""
    deadline.check()
    into = verify.forwarded_from(source, engine.kernel, around)
    if (
        into is None
        and source not in around.local
        and verify.behind(source, engine.kernel, around) is None
    ):
        return f"from {source}: no link has the address, and no route leads to a container with it"
    ways = []
    for destination in (verify.ABROAD[source.version], verify.IMDS[source.version]):
        try:
            answer = engine.kernel.lookup(destination, source, into=into or 0, through=through)
        except KernelError as error:
            found = cause(around, source, destination, None).describe()
            by = f" by {found}" if found else ""
            ways.append(f"to {destination}: {error.problem.rpartition(': ')[2]}{by}")
            continue
        via = f" via {answer.gateway}" if answer.gateway else ""
        link = around.names.get(answer.link, str(answer.link))
        found = cause(around, source, destination, answer).describe()
        ways.append(f"to {destination}{via} dev {link}{f' by {found}' if found else ''}")
    forwarded = f" (forwarded, from {around.names.get(into, into)})" if into else ""
    forwarded = forwarded or (" (bound to the link)" if through else "")
    return f"from {source}{forwarded} {'; '.join(ways)}"


def _print(story: dict[str, Any]) -> None:
    print(story["title"])
    state, held = story["state"], story["held"]
    would = (
        f"changes on hold since {date(held['since'])}"
        if held
        else ("'ec2net refresh' would change")
    )
    if story["pause"]:
        would = f"changes paused until {date(story['pause']['until'])}; 'ec2net resume' makes them"
    if story["observed"]:
        would = 'different, but left unchanged (manage = "observe")'
    print(f"  {state}: {story['reason']}" if story["reason"] else f"  {state}")
    print(f"  backend {story['backend'] or 'none'}: {'; '.join(story['backend_reasons'])}")
    for head, lines in (
        ("IMDS reports", [f"{key} {value}" for key, value in story["imds"].items()]),
        ("intended rules", story["rules"]),
        ("intended routes", story["routes"]),
        ("remarks on the main table", story["main_remarks"]),
        ("the kernel's routing", story["kernel"]),
        ("which is wrong", story["wrong"]),
        (would, story["would_change"] or ["nothing"]),
        (
            "changes that were tried and rolled back",
            [held["reason"], *held["changes"]] if held else [],
        ),
        ("drift (changes outside of ec2net)", [_when(one) for one in story["drift"]]),
        ("repairs are limited", [story["repairs"]] if story["repairs"] else []),
        ("problems", [*story["problems"], *story["warnings"]]),
    ):
        if lines:
            print(f"{head}:")
            print("\n".join(f"  {line}" for line in lines))
