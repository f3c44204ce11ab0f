# SPDX-License-Identifier: Apache-2.0
"""Times of the wall clock as text, for people. Waits use the monotonic clock instead."""

import time

_ISO = "%Y-%m-%dT%H:%M:%SZ"


def utc(seconds: float) -> str:
    """ISO 8601, UTC, of ``seconds`` since 1970."""
    return time.strftime(_ISO, time.gmtime(seconds))


def seconds_of(stamp: str) -> float:
    """Seconds since 1970 of a time as ``utc`` writes it. Raises ``ValueError``."""
    import calendar  # costs 1 ms, and few processes read a time

    return float(calendar.timegm(time.strptime(stamp, _ISO)))


def now() -> str:
    """This moment."""
    return utc(time.time())


def date(stamp: str | None) -> str:
    """``2026-11-22 06:59 UTC`` for ``2026-11-22T06:59:57Z``; ``-`` for none."""
    return f"{stamp[:10]} {stamp[11:16]} UTC" if stamp else "-"


def age(seconds: float) -> str:
    """``22 min ago``: the largest whole unit of a duration in seconds."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"
