# SPDX-License-Identifier: Apache-2.0
"""When to ask again, and how long to wait before: backoff with full jitter, Retry-After."""

import random
import time

from ec2net.core.imds.answer import whole_number

BACKOFF_SECONDS = 0.1
BACKOFF_LIMIT_SECONDS = 0.4

LONGEST_SECONDS = 999_999_999
"""A Retry-After that asks for more counts as this: ec2net does not wait longer."""

PATIENCE_SECONDS = 10.0
"""At most so long does one pass wait because IMDS asked for it."""


def is_busy(status: int) -> bool:
    """Whether IMDS is there but cannot answer now: throttled (429) or an error of its own."""
    return status == 429 or status >= 500


def backoff(attempt: int) -> float:
    """Seconds before try number ``attempt`` (0: the first, at once), with full jitter.

    Full, since after an outage all ENIs, and all instances of a fleet, ask at the same time.
    """
    if attempt == 0:
        return 0.0
    return random.uniform(0, min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2 ** (attempt - 1)))


def retry_after(header: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 if it says nothing."""
    text = header.strip()
    if (seconds := whole_number(text, LONGEST_SECONDS)) is not None:
        return float(seconds)
    if not text:
        return 0.0
    from email.utils import parsedate_to_datetime  # requests has imported it by now

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except Exception:  # noqa: BLE001 - its parser fails in more ways than it documents
        return 0.0


class Patience:
    """The remaining time, in one pass, for waits that IMDS asks for."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._seconds = seconds
        self._until = 0.0

    def asked(self, seconds: float) -> None:
        """IMDS wants no request for so long."""
        self._until = max(self._until, time.monotonic() + seconds)

    def due(self) -> float:
        """Seconds until IMDS wants to be asked again; 0 if it may be asked now."""
        return max(0.0, self._until - time.monotonic())

    def grants(self, seconds: float) -> bool:
        """Whether to wait so long; if so, it counts as waited."""
        if seconds > self._seconds:
            return False
        self._seconds -= seconds
        return True
