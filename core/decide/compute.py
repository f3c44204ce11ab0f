# SPDX-License-Identifier: Apache-2.0
"""Facts and configuration in, intent out: no I/O, no clock, never an exception for bad facts.

Every ENI gets its outcome for itself: what is wrong with one ENI's facts is a named reason on
that ENI and costs the others nothing. Checks that need two ENIs (one number, one source
address) come last and refuse only the ENIs concerned.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from ec2net.core.config.settings import ANY_LATER, Config
from ec2net.core.decide.addresses import NotReady, value_of
from ec2net.core.decide.candidate import Candidate, candidates, eni_links
from ec2net.core.decide.conflicts import (
    await_cards,
    by_number,
    refuse_shared_numbers,
    refuse_shared_sources,
)
from ec2net.core.decide.eni_intent import intent_of
from ec2net.core.decide.fast_failure import only_without_ipv4
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.decide.readiness import check_ready, not_listed
from ec2net.core.model.facts import Facts
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Mark

NO_SOURCES = 'the setting "sources" has no effect: remove it from the configuration'


def compute(
    facts: Facts,
    config: Config,
    check: Callable[[], None] = lambda: None,
    before: Iterable[EniOutcome] = (),
) -> HostIntent:
    """The intent of every ENI that IMDS lists and every ENI link that there is.

    ``check`` is called between ENIs, and may raise. An outcome that equals one of ``before`` is that
    very object: two equal intents of the largest instance take 7 MiB more. Links are equal by their
    index, but backends use their names: a renamed link has a new outcome.
    """
    past = {eni.mac: eni for eni in before}
    found = candidates(facts, eni_links(facts.links, config.drivers))
    known = {one.mac: one.facts for one in found if one.facts is not None}
    marks = config.numbers.marks(one.number for one in found if one.number is not None)
    outcomes = []
    for one in found:
        check()
        mark = marks.get(one.number) if one.number else None
        outcome = _outcome(one, facts, config, mark)
        outcomes.append(_same(past.get(one.mac), outcome))
    check()
    macs = {one.mac for one in found}
    listed = value_of(facts.imds.listed) or ()
    outcomes += [_without_link(mac) for mac in sorted(listed) if mac not in macs]
    outcomes = await_cards(outcomes, known)
    outcomes = refuse_shared_numbers(outcomes)
    outcomes = refuse_shared_sources(outcomes)
    outcomes = only_without_ipv4(outcomes, known)
    primary = value_of(facts.imds.primary)
    return HostIntent(
        enis=tuple(sorted(outcomes, key=by_number)),
        primary_link=next((eni.link for eni in outcomes if eni.mac == primary), None),
        later_apart=config.for_eni(ANY_LATER).manage.hands_off,
    )


def _same(before: EniOutcome | None, now: EniOutcome) -> EniOutcome:
    """``before`` if nothing differs. A renamed link differs, although its ``LinkRef`` is equal."""
    if before is None or before != now or before.name != now.name:
        return now
    return before


def _without_link(mac: Mac) -> EniOutcome:
    reason = "IMDS lists it, but no link has its MAC (an EFA-only ENI has none)"
    return EniOutcome(mac, Standing.ABSENT, reason, None)


def _outcome(candidate: Candidate, facts: Facts, config: Config, mark: Mark | None) -> EniOutcome:
    identity = candidate.identity()
    settings, undecided = config.for_eni(identity), config.open_for(identity)
    apart = (
        settings.manage.hands_off
        or any(link.master for link in candidate.links[:1])
        or bool(candidate.managed_by(settings))
        or any(other.manage.hands_off for _, other in undecided)
    )
    outcome = candidate.outcome(config.numbers)
    outcome = replace(outcome, backend=settings.backend, apart=apart)
    try:
        for criteria, _ in undecided:
            raise NotReady(Standing.PENDING, _undecided(candidate, criteria))
        ready = check_ready(candidate, settings, facts)
        intent = intent_of(ready, settings, config.numbers, mark)
    except NotReady as not_ready:
        standing, reason = not_ready.standing, not_ready.reason
        if standing is Standing.IGNORED and settings.sources:
            standing, reason = Standing.REFUSED, f"{reason}, so {NO_SOURCES}"
        return replace(outcome, standing=standing, reason=reason)
    return replace(outcome, intent=intent)


def _undecided(candidate: Candidate, criteria: Iterable[str]) -> str:
    """An ENI waits for what decides which sections of the configuration are for it."""
    listed = candidate.facts is not None
    reason = candidate.doubts[min(criteria)] if listed else not_listed(candidate.mac)
    return f"{reason}; sections of the configuration match on {', '.join(sorted(criteria))}"
