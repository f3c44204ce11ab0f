# SPDX-License-Identifier: Apache-2.0
"""R42: a problem is logged at its start and at its end, with a reminder each ten minutes."""

import logging
from dataclasses import replace

from ec2net.core.daemon.lasting_problems import TEXTS, LastingProblems, Problem
from ec2net.core.model.problem_code import Code

DOWN = Problem(logging.ERROR, "no IMDS endpoint answers", Code.IMDS)


def with_text(text: str) -> Problem:
    return replace(DOWN, text=text)


def info(text: str) -> Problem:
    return Problem(logging.INFO, text, Code.IMDS)


def test_an_hour_without_imds_is_at_most_ten_lines() -> None:
    lasting = LastingProblems()
    lines: list[Problem] = []
    for minute in range(60):
        lines += lasting.update("host", [DOWN], minute * 60.0)
    lines += lasting.update("host", [], 3600.0)
    assert lines[0] == DOWN
    assert lines[1] == with_text(f"unresolved: {DOWN.text}")
    assert lines[-1] == info(f"resolved after 3600 s: {DOWN.text}")
    assert len(lines) <= 10
    assert list(lasting.update("host", [], 3660.0)) == []


def test_problems_of_different_subjects_stay_separate() -> None:
    lasting = LastingProblems()
    assert list(lasting.update("ens5", [DOWN], 0.0)) == [DOWN]
    assert list(lasting.update("ens6", [DOWN], 0.0)) == [DOWN]
    assert list(lasting.update("ens5", [], 1.0)) == [info(f"resolved after 1 s: {DOWN.text}")]
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
    first = with_text("GET x did not end within 0.6 s")
    assert list(lasting.update("host", [first], 0.0)) == [first]
    again = with_text("GET x did not end within 0.599 s")
    assert list(lasting.update("host", [again], 60.0)) == []
    assert list(lasting.update("host", [], 120.0)) == [info(f"resolved after 120 s: {first.text}")]


def test_another_text_of_the_same_code_is_said_and_is_no_end() -> None:
    """It said "resolved" each time when IMDS failed in another way."""
    lasting = LastingProblems()
    refused = with_text("IMDS refuses connections")
    assert list(lasting.update("host", [DOWN], 0.0)) == [DOWN]
    assert list(lasting.update("host", [refused], 10.0)) == [refused]
    assert list(lasting.update("host", [DOWN], 20.0)) == []
    assert list(lasting.update("host", [], 30.0)) == [info(f"resolved after 30 s: {DOWN.text}")]


def test_each_code_has_an_end_of_its_own() -> None:
    lasting = LastingProblems()
    lost = Problem(logging.ERROR, "route is missing", Code.VERIFY)
    assert list(lasting.update("ens6", [DOWN, lost], 0.0)) == [DOWN, lost]
    ended = list(lasting.update("ens6", [lost], 5.0))
    assert ended == [info(f"resolved after 5 s: {DOWN.text}")]


def test_texts_without_end_take_no_memory_without_end() -> None:
    lasting = LastingProblems()
    for number in range(10 * TEXTS):
        list(lasting.update("host", [with_text(f"text {number}")], float(number)))
    (known,) = lasting._told["host"].values()
    assert len(known.said) == TEXTS
