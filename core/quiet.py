# SPDX-License-Identifier: Apache-2.0
"""When a timed pass may be left out: a host with one ENI and one address has little to follow.

Nothing is written for it: which minute it is decides (R27).
"""

import time
from typing import Any

from ec2net.core.outcome import STATUS
from ec2net.core.state import RunDir

EVERY = 5
"""Minutes between looks on a quiet host."""


def may_skip(run: RunDir) -> bool:
    """Whether the last pass found one ENI with one address, all well, and it is not the time."""
    document = run.read(STATUS)
    if document is None or int(time.clock_gettime(time.CLOCK_BOOTTIME) / 60) % EVERY == 0:
        return False
    try:
        return is_quiet(document)
    except (AttributeError, KeyError, TypeError):
        return False  # not as this version writes it


def is_quiet(document: dict[str, Any]) -> bool:
    """Whether a status tells of one ENI with one address, and of no trouble."""
    enis: list[dict[str, Any]] = document.get("enis", [])
    if document.get("problems") or len(enis) != 1:
        return False
    intent = enis[0].get("intent")
    if not intent or enis[0].get("trouble"):
        return False
    return len(intent["base"]) == 1 and not intent["further"] and not intent["prefixes"]
