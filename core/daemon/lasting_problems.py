# SPDX-License-Identifier: Apache-2.0
"""The log lines of lasting problems: at the begin, at the end, and a reminder in between.

Pure: takes the present problems of a subject, and returns the lines to log (R42).
"""

import logging
import re
from collections.abc import Collection, Hashable, Iterable, Iterator

REMINDER = 600.0
"""Seconds."""

_DURATION = re.compile(r"\d+(\.\d+)?(e-\d+)? s\b")
"""The remaining time of a deadline differs from pass to pass; the problem does not."""


class LastingProblems:
    """The logged problems, by subject (an ENI, or the host), each with its begin and its last line."""

    def __init__(self) -> None:
        self._told: dict[Hashable, dict[str, tuple[str, float, float]]] = {}

    def update(
        self,
        subject: Hashable,
        problems: Collection[tuple[int, str]],
        now: float,
        *,
        complete: bool = True,
    ) -> Iterator[tuple[int, str]]:
        """Levels and texts to log, given the problems that the subject has now, with levels.

        ``complete``: these are all of them, so that others have ended.
        """
        told = self._told.setdefault(subject, {})
        for level, text in problems:
            first, begin, last = told.get(_same(text), (text, now, None))
            if last is None:
                yield level, text
            elif now - last >= REMINDER:
                yield level, f"unresolved: {text}"
            else:
                continue
            told[_same(text)] = (first, begin, now)
        if not complete:
            return
        texts = {_same(text) for _, text in problems}
        for same in [same for same in told if same not in texts]:
            first, begin, _ = told.pop(same)
            yield logging.INFO, f"resolved after {now - begin:.0f} s: {first}"

    def forget(self, subjects: Iterable[Hashable]) -> None:
        """They are gone, and with them what was said."""
        for subject in subjects:
            self._told.pop(subject, None)


def _same(text: str) -> str:
    return _DURATION.sub("... s", text)
