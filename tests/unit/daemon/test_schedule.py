# SPDX-License-Identifier: Apache-2.0
"""When the daemon does what: pure, with the test's own clock."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.config.settings import ResidentSettings
from ec2net.core.daemon.eni_state import EniTrack
from ec2net.core.daemon.poll_interval import RepairBudget, poll_interval
from ec2net.core.daemon.schedule import VERIFY_AT_ONCE, VERIFY_SOON, Kind, Schedule, Work
from ec2net.core.model.identity import Mac
from ec2net.core.report.eni_state import State

MAC = Mac("06:ec:02:00:00:01")
SETTINGS = ResidentSettings()


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def schedule() -> Schedule:
    """A schedule after its first poll, at time 0."""
    made = Schedule(SETTINGS, 0.0, middle)
    assert made.due([], 0.0) == Work(Kind.POLL)
    made.polled(0.0, failures=0, quiet=False)
    return made


def track(again: float | None) -> EniTrack:
    return EniTrack(MAC, "ens5", 3, State.PENDING, "", 0.0, 0.0, again)


def test_the_first_poll_is_due_at_once_and_the_next_after_the_interval() -> None:
    made = schedule()
    assert made.due([], 29.9) is None
    assert made.due([], 30.0) == Work(Kind.LISTINGS)
    assert made.due([], 59.9) is None
    assert made.next([]) == 60.0
    assert made.due([], 60.0) == Work(Kind.POLL)


def test_one_pass_serves_all_events_of_a_quarter_of_a_second() -> None:
    made = schedule()
    made.changed(1.0)
    made.changed(1.2)
    assert made.next([]) == 1.25
    assert made.due([], 1.24) is None
    assert made.due([], 1.25) == Work(Kind.LOOK)
    assert made.due([], 1.25) is None


def pass_for_routes(made: Schedule, at: float) -> float:
    """When the pass for routes that changed at this time runs."""
    made.rerouted(at)
    due = made.next([])
    assert made.due([], due) == Work(Kind.LOOK)
    return due


def test_foreign_routes_cause_three_passes_at_once_and_then_one_every_ten_seconds() -> None:
    """A network manager adds routes of a new ENI over some seconds; a routing daemon has no end."""
    made = schedule()
    assert [pass_for_routes(made, at) for at in (1.0, 2.0, 3.0)] == [1.25, 2.25, 3.25]
    assert [pass_for_routes(made, at) for at in (4.0, 12.0)] == [11.25, 21.25]
    assert not made.fighting(21.25)


def test_a_rest_restores_the_passes_that_run_at_once() -> None:
    made = schedule()
    for at in (1.0, 2.0, 3.0):
        pass_for_routes(made, at)
    made.polled(3.5, failures=0, quiet=False)
    assert [pass_for_routes(made, at) for at in (32.0, 32.5)] == [32.25, 32.75]


def test_a_repair_covers_a_waiting_pass_for_routes() -> None:
    made = schedule()
    for at in (1.0, 2.0, 3.0):
        pass_for_routes(made, at)
    made.rerouted(4.0)
    made.changed(5.0)
    assert made.due([], 5.25) == Work(Kind.LOOK)
    assert made.due([], 11.25) is None


def test_a_poll_includes_a_pass() -> None:
    made = schedule()
    made.changed(59.9)
    assert made.due([], 60.2) == Work(Kind.POLL)
    made.polled(60.2, failures=0, quiet=False)
    assert made.due([], 61.0) is None


def test_a_pending_eni_is_polled_alone() -> None:
    made = schedule()
    assert made.next([track(2.0), track(None)]) == 2.0
    assert made.due([track(2.0)], 2.0) == Work(Kind.ENIS, frozenset({MAC}))
    assert made.due([track(None)], 2.0) is None


def test_a_poke_is_served_at_once() -> None:
    made = schedule()
    made.poke(5.0)
    assert made.due([], 5.0) == Work(Kind.POLL)


def test_two_conflicting_tools_do_not_cause_a_busy_loop() -> None:
    """Each repair is undone at once: twelve of them, then one in five seconds."""
    made, now, repairs = schedule(), 0.0, []
    while now < 59.0:
        made.changed(now)
        now = made.next([])
        work = made.due([], now)
        if work == Work(Kind.LOOK):
            made.repaired(now)
            repairs.append(now)
    assert len(repairs) <= 12 + 12
    assert made.fighting(now)
    early = [at for at in repairs if at <= 4.0]
    assert len(early) >= 12  # a short conflict ends quickly
    late = [b - a for a, b in itertools.pairwise(repairs[14:])]
    assert min(late) > 4.5


def test_a_conflict_is_over_when_repairs_stop() -> None:
    made, now = schedule(), 0.0
    for _ in range(14):
        made.changed(now)
        now = made.next([])
        assert made.due([], now) == Work(Kind.LOOK)
        made.repaired(now)
    assert made.fighting(now)
    assert not made.fighting(now + 6.0)


def test_passes_without_changes_use_no_budget() -> None:
    made = schedule()
    for number in range(100):
        made.changed(number * 0.3)
        assert made.due([], number * 0.3 + 0.25) == Work(Kind.LOOK)
    assert not made.fighting(30.0)


def test_listings_are_not_read_while_imds_fails() -> None:
    made = schedule()
    made.polled(0.0, failures=1, quiet=False)
    assert made.due([], 59.0) is None


def test_an_outage_stretches_the_interval_and_a_single_failure_does_not() -> None:
    def at(failures: int, *, quiet: bool = False) -> float:
        return poll_interval(60, failures=failures, quiet=quiet, uniform=middle)

    assert [at(n) for n in (0, 1, 2, 3, 4, 5, 60)] == [60, 60, 60, 120, 240, 300, 300]
    assert at(0, quiet=True) == 300
    assert at(1, quiet=True) == 300
    assert at(3, quiet=True) == 120


@given(st.floats(1, 3600), st.integers(0, 100), st.booleans(), st.floats(0, 1))
def test_the_interval_has_limits_and_jitter(
    poll: float, failures: int, quiet: bool, where: float
) -> None:
    got = poll_interval(
        poll, failures=failures, quiet=quiet, uniform=lambda low, high: low + where * (high - low)
    )
    assert 0.89 * poll <= got <= 5.51 * poll


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 600))
def test_the_budget_is_never_exceeded(pauses: list[float], per_minute: int) -> None:
    budget, now, taken = RepairBudget(per_minute, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        if budget.wait(now) == 0:
            budget.take(now)
            taken += 1
    assert taken <= per_minute + now * per_minute / 60 + 1e-6


def test_foreign_changes_are_verified_after_a_second_and_then_every_ten_seconds_at_most() -> None:
    made = schedule()
    for begin, verified in (
        *((1.0 + n, 2.0 + n) for n in range(VERIFY_AT_ONCE)),
        (8.0, 12.0),
        (12.1, 22.0),
    ):
        made.routed(begin)
        made.routed(begin + 0.9)
        assert made.next([]) == pytest.approx(verified)
        assert made.due([], verified) == Work(Kind.VERIFY)
        assert made.due([], verified) is None


def test_verifications_at_once_are_possible_again_after_a_rest() -> None:
    made = schedule()
    for begin in (1.0, 2.1, 3.2, 50.0, 51.1, 52.2):
        made.routed(begin)
        assert made.due([], begin + VERIFY_SOON) == Work(Kind.VERIFY)


def test_a_verification_also_serves_a_pending_pass() -> None:
    made = schedule()
    made.routed(1.0)
    made.changed(1.9)
    assert made.due([], 2.2) == Work(Kind.VERIFY)
    assert made.due([], 3.0) is None
