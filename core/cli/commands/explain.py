# SPDX-License-Identifier: Apache-2.0
"""``ec2net explain``: what IMDS said, what follows, what the kernel answers; or all as a picture."""

import json
from argparse import Namespace
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from ec2net.core.daemon.published import published
from ec2net.core.decide.addresses import value_of
from ec2net.core.decide.intent import EniIntent, EniOutcome
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.engine.verify import ABROAD, SERVICES
from ec2net.core.model.errors import Ec2netError, ExitStatus, KernelError, UsageError
from ec2net.core.model.facts import Absent, EniFacts, Unknown, Value, keys_of
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import AnyAddress, AnyNetwork
from ec2net.core.report import as_json, text
from ec2net.core.runtime.clock import date
from ec2net.core.runtime.deadline import Deadline
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
            (outcome.mac in facts and _has(facts[outcome.mac], address))
            or _passes_on(outcome.intent, address)
        ):
            return outcome, address
    known = ", ".join(outcome.name for outcome in view.host.enis) or "none"
    if view.problems:
        raise Ec2netError(
            f"{what} was not found, and ec2net could not read everything: {view.problems[0]}"
        )
    raise UsageError(
        f"{what} is not the link, id, MAC or address of an ENI",
        remedy=f"ENIs of this host: {known}",
    )


def _has(eni: EniFacts, address: AnyAddress) -> bool:
    """Whether IMDS assigns the address to the ENI. A user may ask about an ignored ENI, too."""
    addresses: tuple[AnyAddress, ...] = (
        *(value_of(eni.local_ipv4s) or ()),
        *(value_of(eni.ipv6s) or ()),
    )
    prefixes: tuple[AnyNetwork, ...] = (
        *(value_of(eni.ipv4_prefixes) or ()),
        *(value_of(eni.ipv6_prefixes) or ()),
    )
    return address in addresses or any(address in prefix for prefix in prefixes)


def _is_used(intent: EniIntent, address: AnyAddress) -> bool:
    return any(interface.ip == address for interface in intent.sources) or any(
        address in prefix for prefix in intent.prefixes
    )


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
    own = view.plan.of(outcome.mac)
    sources: list[AnyAddress] = []
    if intent is not None and address is None:
        sources += [interface.ip for interface in intent.sources]
    elif intent is not None and address is not None and _is_used(intent, address):
        sources.append(address)
    return {
        "title": text.title(outcome),
        "standing": outcome.standing.value,
        "reason": outcome.reason,
        "backend": choice.backend if choice else None,
        "backend_reasons": list(choice.reasons) if choice else [],
        "imds": _said(facts) if facts else {},
        "rules": [
            rule.describe()
            for rule in (intent.every_rule if intent else ())
            if address is None
            or (rule.source.version == address.version and address in rule.source)
        ],
        "routes": [
            route.describe()
            for route in (intent.every_route if intent else ())
            if address is None or route.destination.version == address.version
        ],
        "kernel": [_answer(engine, source, view, deadline) for source in sources],
        "would_change": [step.action.value + " " + step.item.describe() for step in own.changes]
        + ["! " + found.describe() for found in own.conflicts],
        "held": as_json.hold(view.held.get(outcome.mac)),
        "observed": outcome.mac in view.observed_only,
        "problems": [str(problem) for problem in view.problems],
    }


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


def _answer(engine: Engine, source: AnyAddress, view: View, deadline: Deadline) -> str:
    deadline.check()
    ways = []
    for destination in (ABROAD[source.version], SERVICES[source.version]):
        try:
            answer = engine.kernel.lookup(destination, source)
        except KernelError as error:
            ways.append(f"to {destination}: {error.problem.rpartition(': ')[2]}")
            continue
        link = view.snapshot.link(answer.link)
        via = f" via {answer.gateway}" if answer.gateway else ""
        ways.append(f"to {destination}{via} dev {link.name if link else answer.link}")
    return f"from {source} {'; '.join(ways)}"


def _print(story: dict[str, Any]) -> None:
    print(story["title"])
    standing, held = story["standing"], story["held"]
    would = (
        f"changes on hold since {date(held['since'])}"
        if held
        else ("'ec2net refresh' would change")
    )
    if story["observed"]:
        would = 'different, but left unchanged (manage = "observe")'
    print(f"  {standing}: {story['reason']}" if story["reason"] else f"  {standing}")
    print(f"  backend {story['backend'] or 'none'}: {'; '.join(story['backend_reasons'])}")
    for head, lines in (
        ("IMDS reports", [f"{key} {value}" for key, value in story["imds"].items()]),
        ("intended rules", story["rules"]),
        ("intended routes", story["routes"]),
        ("remarks on the main table", story["main_remarks"]),
        ("the kernel's routing", story["kernel"]),
        (would, story["would_change"] or ["nothing"]),
        (
            "changes that were tried and rolled back",
            [held["reason"], *held["changes"]] if held else [],
        ),
        ("drift (changes outside of ec2net)", [_when(one) for one in story["drift"]]),
        ("repairs are limited", [story["repairs"]] if story["repairs"] else []),
        ("problems", story["problems"]),
    ):
        if lines:
            print(f"{head}:")
            print("\n".join(f"  {line}" for line in lines))
