# SPDX-License-Identifier: Apache-2.0
"""Times of the wall clock as text, for people. Nothing waits by them: that is for the monotonic one."""

import time


def utc(seconds: float) -> str:
    """ISO 8601, UTC, of ``seconds`` since 1970."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def now() -> str:
    """This moment."""
    return utc(time.time())
