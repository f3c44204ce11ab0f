# SPDX-License-Identifier: Apache-2.0
"""R42: a problem is logged at its start and at its end, with a reminder each ten minutes."""

import logging

from ec2net.core.daemon.lasting_problems import LastingProblems

DOWN = (logging.ERROR, "no IMDS endpoint answers")


def test_an_hour_without_imds_is_at_most_ten_lines() -> None:
    lasting = LastingProblems()
    lines: list[tuple[int, str]] = []
    for minute in range(60):
        lines += lasting.update("host", [DOWN], minute * 60.0)
    lines += lasting.update("host", [], 3600.0)
    assert lines[0] == DOWN
    assert lines[1] == (logging.ERROR, f"unresolved: {DOWN[1]}")
    assert lines[-1] == (logging.INFO, f"resolved after 3600 s: {DOWN[1]}")
    assert len(lines) <= 10
    assert list(lasting.update("host", [], 3660.0)) == []


def test_problems_of_different_subjects_stay_separate() -> None:
    lasting = LastingProblems()
    assert list(lasting.update("ens5", [DOWN], 0.0)) == [DOWN]
    assert list(lasting.update("ens6", [DOWN], 0.0)) == [DOWN]
    assert list(lasting.update("ens5", [], 1.0)) == [
        (logging.INFO, f"resolved after 1 s: {DOWN[1]}")
    ]
    assert list(lasting.update("ens6", [DOWN], 1.0)) == []


def test_a_partial_pass_resolves_no_problem() -> None:
    lasting = LastingProblems()
    list(lasting.update("host", [DOWN], 0.0))
    assert list(lasting.update("host", [], 1.0, complete=False)) == []
    assert list(lasting.update("host", [DOWN], 2.0)) == []


def test_a_resolved_problem_that_returns_is_logged_again() -> None:
    lasting = LastingProblems()
    list(lasting.update("ens6", [DOWN], 0.0))
    lasting.forget(["ens6"])
    assert list(lasting.update("ens6", [DOWN], 1.0)) == [DOWN]


def test_the_same_problem_with_another_time_is_the_same_problem() -> None:
    """A deadline's rest, in its text, differs from pass to pass."""
    lasting = LastingProblems()
    first = (logging.ERROR, "GET x did not end within 0.6 s")
    assert list(lasting.update("host", [first], 0.0)) == [first]
    again = (logging.ERROR, "GET x did not end within 0.599 s")
    assert list(lasting.update("host", [again], 60.0)) == []
    assert list(lasting.update("host", [], 120.0)) == [
        (logging.INFO, f"resolved after 120 s: {first[1]}")
    ]
