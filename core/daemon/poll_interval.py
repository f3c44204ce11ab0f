# SPDX-License-Identifier: Apache-2.0
"""The interval from one poll of IMDS to the next, and the budget for repairs. Pure."""

from collections.abc import Callable

MINUTE = 60.0

JITTER = 0.1
"""Share of an interval by which it varies, so that the hosts of a fleet do not ask together."""

QUIET = 5.0
"""A host with one ENI and one address has little to follow: so many times the interval (R27)."""

STRETCHED = 5.0
"""The longest that an interval becomes while IMDS fails: so many times the interval."""

FAILURES = 3
"""Polls in a row that fail before the interval is stretched: a hiccup is no outage."""


class RepairBudget:
    """Limit of repairs per minute: a bucket of tokens that fills steadily."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._size = float(per_minute)
        self._tokens = self._size
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until one may be taken."""
        self._fill(now)
        return max(0.0, 1.0 - self._tokens) * MINUTE / self._size

    def take(self, now: float) -> None:
        self._fill(now)
        self._tokens = max(0.0, self._tokens - 1.0)

    def _fill(self, now: float) -> None:
        filled = self._tokens + (now - self._at) * self._size / MINUTE
        self._tokens, self._at = min(self._size, filled), now


def poll_interval(
    poll: float, *, failures: int, quiet: bool, uniform: Callable[[float, float], float]
) -> float:
    """Seconds from a poll to the next. ``failures``: polls in a row that IMDS did not answer;
    ``uniform``: random.uniform."""
    stretch = 1.0
    if failures >= FAILURES:
        stretch = min(STRETCHED, 2.0 ** (failures - FAILURES + 1))
    elif quiet:
        stretch = QUIET
    return poll * stretch * uniform(1 - JITTER, 1 + JITTER)
