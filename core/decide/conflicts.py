# SPDX-License-Identifier: Apache-2.0
"""What two ENIs cannot share: a number (so a table) and a source address. Pure."""

from collections import defaultdict
from dataclasses import replace

from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.decide.routing import covers
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import AnyNetwork


def by_number(outcome: EniOutcome) -> tuple[bool, bool, int, Mac]:
    intent = outcome.intent
    if intent is None:
        return (True, True, 0, outcome.mac)
    return (False, not intent.primary, intent.number.n, outcome.mac)


def _refuse(outcome: EniOutcome, reason: str) -> EniOutcome:
    return replace(outcome, standing=Standing.REFUSED, reason=reason, intent=None)


def refuse_shared_numbers(outcomes: list[EniOutcome]) -> list[EniOutcome]:
    """Two ENIs on one number would share a table: neither can be trusted, except the primary."""
    sharing: dict[int, list[EniOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.intent is not None:
            sharing[outcome.intent.number.n].append(outcome)
    refused = {}
    for shared in sharing.values():
        if len(shared) < 2:
            continue
        for outcome in shared:
            others = ", ".join(other.name for other in shared if other is not outcome)
            if outcome.intent is not None and not outcome.intent.primary:
                refused[outcome.mac] = _refuse(
                    outcome, f"shares {outcome.intent.number} with {others}"
                )
    return [refused.get(outcome.mac, outcome) for outcome in outcomes]


def refuse_shared_sources(outcomes: list[EniOutcome]) -> list[EniOutcome]:
    """An address belongs to one ENI: of two that claim it the one with the lower number keeps it."""
    taken: list[tuple[AnyNetwork, EniOutcome]] = []
    result = []
    for outcome in sorted(outcomes, key=by_number):
        intent = outcome.intent
        if intent is None:
            result.append(outcome)
            continue
        held = covers(intent.base + intent.further, intent.prefixes)
        clash = next(
            ((mine, other) for mine in held for theirs, other in taken if _overlap(mine, theirs)),
            None,
        )
        if clash is None:
            taken.extend((network, outcome) for network in held)
            result.append(outcome)
        else:
            mine, other = clash
            result.append(_refuse(outcome, f"{mine} is (partly) held by {other.name} as well"))
    return result


def _overlap(one: AnyNetwork, other: AnyNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)
