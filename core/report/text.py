# SPDX-License-Identifier: Apache-2.0
"""Plans and reports for people: diff style, colour on a terminal only."""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Action, Change, Plan

_COLOURS = {Action.ADD: "32", Action.REPLACE: "33", Action.REMOVE: "31"}


def colours(stream: TextIO) -> bool:
    """Whether to use colour: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def title(outcome: EniOutcome) -> str:
    """One line that names an ENI: link, id, place, table."""
    parts = [str(outcome.eni_id or outcome.mac)]
    if outcome.intent is not None:
        intent = outcome.intent
        role = "primary" if intent.primary else f"{intent.number}, table {intent.table}"
        parts.append(role)
    return f"{outcome.name} ({', '.join(parts)})"


def change(step: Change, *, colour: bool) -> str:
    text = f"{step.action.value} {step.item.describe()}"
    if step.before is not None:
        text += f"   (was: {step.before.describe()})"
    return f"\x1b[{_COLOURS[step.action]}m{text}\x1b[0m" if colour else text


def plan(whole: Plan, host: HostIntent, *, stream: TextIO | None = None) -> str:
    """The plan, ENI by ENI; what gone links left comes last. Ends with a count."""
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
        lines += [f"  {change(step, colour=colour)}" for step in own.changes]
        lines += [f"  ! {found.describe()}" for found in own.conflicts]
    orphans = [step for step in whole.changes if host.of(step.whose or Mac("")) is None]
    if orphans:
        lines.append("left over from detached ENIs")
        lines += [f"  {change(step, colour=colour)}" for step in orphans]
    lines.append(count(whole.changes))
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
