# SPDX-License-Identifier: Apache-2.0
"""The log lines of lasting problems: at the begin, at the end, and a reminder in between.

Pure: takes the present problems of a subject, and returns the lines to log (R42).
"""

import logging
import re
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from ec2net.core.model.problem_code import Code

REMINDER = 600.0
"""Seconds."""

_DURATION = re.compile(r"\d+(\.\d+)?(e-\d+)? s\b")
"""The remaining time of a deadline differs from pass to pass; the problem does not."""


TEXTS = 16
"""Texts of one code that are remembered: one that returns is logged as a reminder only."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One line: its syslog level, its text and the code by which it is recognized."""

    level: int
    text: str
    code: Code


@dataclass(slots=True)
class _Open:
    """The problems of one code: what was said first, when, and when each text was said last."""

    first: str
    begin: float
    said: dict[str, float] = field(default_factory=dict)


class LastingProblems:
    """The logged problems, by subject (an ENI, or the host) and code."""

    def __init__(self) -> None:
        self._told: dict[Hashable, dict[Code, _Open]] = {}

    def update(
        self,
        subject: Hashable,
        problems: Collection[Problem],
        now: float,
        *,
        complete: bool = True,
    ) -> Iterator[Problem]:
        """The lines to log, given the problems that the subject has now.

        A problem has ended when no problem of its code is left; another text of the same code is
        not its end. ``complete``: these are all of them, so that others have ended.
        """
        told = self._told.setdefault(subject, {})
        for problem in problems:
            known = told.setdefault(problem.code, _Open(problem.text, now))
            same = _same(problem.text)
            last = known.said.get(same)
            if last is None:
                yield problem
            elif now - last >= REMINDER:
                yield replace(problem, text=f"unresolved: {problem.text}")
            else:
                continue
            known.said.pop(same, None)
            known.said[same] = now
            while len(known.said) > TEXTS:  # the one that was said the longest time ago
                del known.said[next(iter(known.said))]
        if not complete:
            return
        codes = {problem.code for problem in problems}
        for code in [code for code in told if code not in codes]:
            ended = told.pop(code)
            text = f"resolved after {now - ended.begin:.0f} s: {ended.first}"
            yield Problem(logging.INFO, text, code)

    def forget(self, subjects: Iterable[Hashable]) -> None:
        """They are gone, and with them what was said."""
        for subject in subjects:
            self._told.pop(subject, None)


def _same(text: str) -> str:
    return _DURATION.sub("... s", text)
