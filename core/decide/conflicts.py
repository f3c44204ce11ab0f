# SPDX-License-Identifier: Apache-2.0
"""What two ENIs cannot share: a number (so a table) and a source address. Pure."""

from bisect import bisect_right
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
    taken: dict[int, _Taken] = {4: _Taken(), 6: _Taken()}
    result = []
    for outcome in sorted(outcomes, key=by_number):
        intent = outcome.intent
        if intent is None:
            result.append(outcome)
            continue
        held = covers(intent.base + intent.further, intent.prefixes)
        clash = next(
            ((mine, other) for mine in held if (other := taken[mine.version].holder(mine))), None
        )
        if clash is None:
            for network in held:
                taken[network.version].add(network, outcome)
            result.append(outcome)
        else:
            mine, other = clash
            result.append(_refuse(outcome, f"{mine} is (partly) held by {other.name} as well"))
    return result


class _Taken:
    """Networks of one IP version that do not overlap, each with its ENI, in order of addresses.

    Finding one is a binary search: the largest instances hold thousands.
    """

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self._holder: list[EniOutcome] = []

    def holder(self, network: AnyNetwork) -> EniOutcome | None:
        """The ENI that holds a part of ``network``; the one at its end if there are several."""
        before = bisect_right(self._first, int(network.broadcast_address)) - 1
        if before < 0 or self._last[before] < int(network.network_address):
            return None
        return self._holder[before]

    def add(self, network: AnyNetwork, holder: EniOutcome) -> None:
        """``network`` overlaps none that is here."""
        first = int(network.network_address)
        at = bisect_right(self._first, first)
        self._first.insert(at, first)
        self._last.insert(at, int(network.broadcast_address))
        self._holder.insert(at, holder)
