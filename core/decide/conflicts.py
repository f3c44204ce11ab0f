# SPDX-License-Identifier: Apache-2.0
"""Conflicts between two ENIs: over a number (and so a table) or a source address. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ec2net.core.decide.intent import EniIntent, EniOutcome, Standing
from ec2net.core.decide.routing import covers
from ec2net.core.model.facts import Absent, EniFacts
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import AnyNetwork


def by_number(outcome: EniOutcome) -> tuple[bool, bool, int, Mac]:
    intent = outcome.intent
    if intent is None:
        return (True, True, 0, outcome.mac)
    return (False, not intent.primary, intent.number.n, outcome.mac)


def _sharing(outcomes: Iterable[EniOutcome]) -> Iterator[tuple[EniOutcome, str]]:
    """Each ENI whose number others have as well, and the names of the others."""
    sharing: dict[int, list[EniOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.intent is not None:
            sharing[outcome.intent.number.n].append(outcome)
    for shared in sharing.values():
        for outcome in shared if len(shared) > 1 else ():
            yield outcome, ", ".join(other.name for other in shared if other is not outcome)


def _without(
    outcomes: list[EniOutcome], reasons: Mapping[Mac, str], standing: Standing
) -> list[EniOutcome]:
    return [
        replace(outcome, standing=standing, reason=reasons[outcome.mac], intent=None)
        if outcome.mac in reasons
        else outcome
        for outcome in outcomes
    ]


def await_cards(outcomes: list[EniOutcome], known: Mapping[Mac, EniFacts]) -> list[EniOutcome]:
    """Two ENIs with one device number are on different network cards, which IMDS does not report yet."""
    reasons = {
        outcome.mac: f"network-card is not known: absent, and {others} has the same device number on "
        "card 0"
        for outcome, others in _sharing(outcomes)
        if isinstance(known[outcome.mac].network_card, Absent)
    }
    return _without(outcomes, reasons, Standing.PENDING)


def refuse_shared_numbers(outcomes: list[EniOutcome]) -> list[EniOutcome]:
    """Two ENIs on one number would share a table: neither can be trusted, except the primary."""
    reasons = {
        outcome.mac: f"IMDS gives it the same place as {others}: {outcome.intent.number}"
        for outcome, others in _sharing(outcomes)
        if outcome.intent is not None and not outcome.intent.primary
    }
    return _without(outcomes, reasons, Standing.REFUSED)


def refuse_shared_sources(outcomes: list[EniOutcome]) -> list[EniOutcome]:
    """An address belongs to one ENI: of two that claim it, the one with the lower number keeps it.

    Addresses from EC2 take precedence over those from the configuration (``sources``), for all
    numbers.
    """
    taken: dict[int, _Taken] = {4: _Taken(), 6: _Taken()}
    reasons: dict[Mac, str] = {}
    ordered = sorted(outcomes, key=by_number)
    for claimed_by, clash in (
        (_assigned, "{1} has {0} as well, at least in part"),
        (
            _configured,
            'the setting "sources" contains {}, which {} has (in part): remove it from the setting',
        ),
    ):
        for outcome in ordered:
            if outcome.intent is None or outcome.mac in reasons:
                continue
            claimed = claimed_by(outcome.intent)
            other = _holder_of_any(claimed, outcome, taken)
            if other is not None:
                reasons[outcome.mac] = clash.format(*other)
                continue
            for network in claimed:
                taken[network.version].add(network, outcome)
    return _without(ordered, reasons, Standing.REFUSED)


def _assigned(intent: EniIntent) -> tuple[AnyNetwork, ...]:
    """The addresses that EC2 assigned to the ENI."""
    return covers(intent.sources, (*intent.prefixes, *intent.routed))


def _configured(intent: EniIntent) -> tuple[AnyNetwork, ...]:
    return covers((), intent.configured_sources)


def _holder_of_any(
    networks: Iterable[AnyNetwork], claimant: EniOutcome, taken: Mapping[int, "_Taken"]
) -> tuple[AnyNetwork, str] | None:
    """The first of these networks that another ENI holds a part of, and that ENI's name."""
    for network in networks:
        for holder in taken[network.version].holders(network):
            if holder is not claimant:
                return network, holder.name
    return None


class _Taken:
    """Networks of one IP version that do not overlap, each with its ENI, in order of addresses.

    Finding one is a binary search: the largest instances hold thousands.
    """

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self._holder: list[EniOutcome] = []

    def holders(self, network: AnyNetwork) -> list[EniOutcome]:
        """The ENIs that hold a part of ``network``."""
        begin = bisect_left(self._last, int(network.network_address))
        return self._holder[begin : bisect_right(self._first, int(network.broadcast_address))]

    def add(self, network: AnyNetwork, holder: EniOutcome) -> None:
        """``network`` overlaps none of another ENI."""
        if self.holders(network):
            return
        first = int(network.network_address)
        at = bisect_right(self._first, first)
        self._first.insert(at, first)
        self._last.insert(at, int(network.broadcast_address))
        self._holder.insert(at, holder)
