# SPDX-License-Identifier: Apache-2.0
"""Plans and reports for people: diff style, with colour where the user wants it."""

import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TextIO

from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Action, Change, Plan, is_shared
from ec2net.core.runtime.colour import GREEN, RED, YELLOW, colours, painted

_COLOURS = {Action.ADD: GREEN, Action.REPLACE: YELLOW, Action.REMOVE: RED}


def title(outcome: EniOutcome) -> str:
    """One line that names an ENI: link, id, place, table."""
    parts = [str(outcome.eni_id or outcome.mac)]
    if outcome.intent is not None:
        intent = outcome.intent
        role = "primary" if intent.primary else f"{intent.number}, table {intent.table}"
        role += f" of VRF {intent.vrf}" if intent.vrf and not intent.primary else ""
        parts.append(role)
    return f"{outcome.name} ({', '.join(parts)})"


def change(step: Change, *, colour: bool) -> str:
    text = f"{step.action.value} {step.item.describe()}"
    if step.before is not None:
        text += f"   (was: {step.before.describe()})"
    return painted(text, _COLOURS[step.action] if colour else "")


def plan(
    whole: Plan,
    host: HostIntent,
    *,
    stream: TextIO | None = None,
    not_done: Mapping[Mac, str] = MappingProxyType({}),
) -> str:
    """The plan, ENI by ENI; what gone links left comes last. Ends with a count.

    ``not_done``: ENIs whose changes are only shown, and why.
    """
    colour = colours(stream or sys.stdout)
    lines: list[str] = []
    for outcome in host.enis:
        own = whole.of(outcome.mac)
        unread = outcome.intent.unread if outcome.intent else ()
        if not (own.changes or own.conflicts or unread) and outcome.standing is Standing.READY:
            continue
        lines.append(title(outcome))
        if outcome.standing is not Standing.READY:
            lines.append(f"  {outcome.standing.value}: {outcome.reason}")
        lines += [f"  {incomplete(unread)}"] if unread else []
        note = f"   ({not_done[outcome.mac]})" if outcome.mac in not_done else ""
        lines += [f"  {change(step, colour=colour)}{note}" for step in own.changes]
        lines += [f"  ! {found.describe()}" for found in own.conflicts]
    orphans = [step for step in whole.changes if host.of(step.whose or Mac("")) is None]
    for shared, head in ((True, "rules that ENIs share"), (False, "left over from detached ENIs")):
        steps = [step for step in orphans if is_shared(step.item) is shared]
        lines += [head] if steps else []
        lines += [f"  {change(step, colour=colour)}" for step in steps]
    lines.append(count(whole.without(not_done.keys()).changes))
    return "\n".join(lines)


def incomplete(keys: Iterable[str]) -> str:
    """The keys that IMDS does not report yet; the rest of the ENI is configured."""
    return (
        f"incomplete: IMDS does not report {', '.join(keys)} yet, so the settings that need it "
        "are pending"
    )


def count(changes: Iterable[Change]) -> str:
    """``Plan: 3 to add, 0 to replace, 1 to remove.``"""
    changes = tuple(changes)
    if not changes:
        return "Nothing to change."
    numbers = {action: sum(step.action is action for step in changes) for action in Action}
    return (
        f"{numbers[Action.ADD]} to add, {numbers[Action.REPLACE]} to replace,"
        f" {numbers[Action.REMOVE]} to remove."
    )
