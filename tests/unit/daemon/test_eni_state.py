# SPDX-License-Identifier: Apache-2.0
"""The daemon's state of an ENI after an outcome, and the time of its next poll."""

from dataclasses import replace

import pytest
from eni_facts import eni
from eni_facts import host as host_facts

from ec2net.core.config.settings import Config, EniSettings, Manage
from ec2net.core.daemon.eni_state import EniTrack, Pace, follow
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.finding import Finding
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef
from ec2net.core.model.plan import Action, Change, Failure, Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.eni_state import State
from ec2net.core.state.drift_record import Drift, Drifts

MAC = Mac("06:ec:02:00:00:02")
LINK = LinkRef(7, "ens6")
PACE = Pace(poll=60.0, fast=5.0, fast_for=60.0)


def outcome(standing: Standing, link: LinkRef | None = LINK, reason: str = "so") -> EniOutcome:
    return EniOutcome(MAC, standing, "" if standing is Standing.READY else reason, link)


def report(said: EniOutcome, *findings: str, backend: str | None = "netlink") -> PassReport:
    found = tuple(Finding(MAC, text) for text in findings)
    return PassReport(HostIntent((said,)), Plan(), {MAC: backend}, findings=found)


def after(
    said: EniOutcome,
    *findings: str,
    before: EniTrack | None = None,
    now: float = 100.0,
    backend: str | None = "netlink",
) -> EniTrack:
    return follow(before, said, report(said, *findings, backend=backend), now, PACE)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (outcome(Standing.READY), State.CONFIGURED),
        (outcome(Standing.PENDING), State.PENDING),
        (outcome(Standing.ABSENT, None), State.ABSENT),
        (outcome(Standing.REFUSED), State.REFUSED),
        (outcome(Standing.IGNORED), State.IGNORED),
        (outcome(Standing.NO_ADDRESS), State.NO_ADDRESS),
    ],
)
def test_each_standing_gives_a_state(said: EniOutcome, state: State) -> None:
    track = after(said)
    assert track.state is state
    assert track.reason == said.reason


def test_a_problem_in_the_first_seconds_is_pending() -> None:
    first = after(outcome(Standing.READY), "leaves through ens5")
    assert first.state is State.PENDING
    later = after(outcome(Standing.READY), "leaves through ens5", before=first, now=105.0)
    assert (later.state, later.reason) == (State.DEGRADED, "leaves through ens5")
    assert after(outcome(Standing.READY), before=later, now=106.0).state is State.CONFIGURED


def test_a_link_without_a_backend_is_degraded() -> None:
    first = after(outcome(Standing.READY), backend=None)
    assert after(outcome(Standing.READY), before=first, now=200.0, backend=None).state is (
        State.DEGRADED
    )


def test_since_changes_only_with_the_state() -> None:
    first = after(outcome(Standing.PENDING), now=10.0)
    second = after(outcome(Standing.PENDING, reason="other"), before=first, now=20.0)
    assert (second.since, second.reason, second.came) == (10.0, "other", 10.0)
    third = after(outcome(Standing.READY), before=second, now=30.0)
    assert (third.since, third.came) == (30.0, 10.0)


def test_another_link_starts_with_a_new_state() -> None:
    first = after(outcome(Standing.PENDING), now=10.0)
    other = after(outcome(Standing.PENDING, LinkRef(8, "ens6")), before=first, now=50.0)
    assert other.came == 50.0


def test_news_of_a_pending_eni_is_read_at_most_a_fifth_later() -> None:
    """A lasting state is polled seldom (R38: no tight loop)."""
    track = after(outcome(Standing.PENDING), now=0.0)
    looks, now = 0, 0.0
    while track.again is not None:
        now = track.again
        track = after(outcome(Standing.PENDING), before=track, now=now)
        looks += 1
        if track.again is not None:
            assert track.again - now <= max(0.1, 0.2 * now) + 1e-9
    assert looks < 50
    assert now >= 250  # from then on each poll reads it


def test_a_new_eni_is_polled_often() -> None:
    track, now, looks = after(outcome(Standing.READY), now=0.0), 0.0, 0
    while track.again is not None:
        now = track.again
        track = after(outcome(Standing.READY), before=track, now=now)
        looks += 1
        if now < 10:  # keys appear late in these seconds
            assert track.again is not None
            assert track.again - now <= 2
    assert looks <= 20
    assert 50 < now < 60


def test_a_new_eni_without_an_address_is_polled_often() -> None:
    """IMDS may not list its addresses yet; an EFA-only ENI is not polled without end."""
    track, now = after(outcome(Standing.NO_ADDRESS), now=0.0), 0.0
    while track.again is not None:
        assert track.again - now <= max(0.1, 0.2 * now) + 1e-9
        now = track.again
        track = after(outcome(Standing.NO_ADDRESS), before=track, now=now)
    assert 40 < now < 60


def test_a_failure_of_one_eni_does_not_affect_another() -> None:
    intent = compute(host_facts(eni(0), eni(1), eni(2)), Config())
    first, second = intent.ready[1:3]
    change = Change(Action.ADD, first.rules[0], first.mac)
    failed = (Failure(change, Ec2netError("no room")),)
    made = PassReport(intent, Plan(), {e.mac: "netlink" for e in intent.enis}, failed=failed)
    states = {}
    for one in intent.enis:
        before = follow(None, one, made, 0.0, PACE)
        states[one.mac] = follow(before, one, made, 50.0, PACE)
    assert (states[first.mac].state, states[first.mac].reason) == (State.DEGRADED, "no room")
    assert states[second.mac].state is State.CONFIGURED


def test_an_observed_eni_is_neither_configured_nor_degraded() -> None:
    intent = compute(host_facts(eni(0), eni(1)), Config(eni=EniSettings(manage=Manage.OBSERVE)))
    one = intent.enis[1]
    open_ = Drift(("a rule is missing",), ("0f",), "t", "t", 1, (), "not repaired", True)
    for drift, reason in ((open_, "a rule is missing"), (replace(open_, open=False), "")):
        said = PassReport(intent, Plan(), {one.mac: "netlink"}, drifts=Drifts({one.mac: drift}))
        track = follow(None, one, said, 100.0, PACE)
        assert (track.state, track.reason) == (State.OBSERVED, reason)
        assert track.settled
