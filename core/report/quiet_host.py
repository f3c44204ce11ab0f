# SPDX-License-Identifier: Apache-2.0
"""When a timed pass may be left out: a host with one ENI and one address has little to follow.

The time of the last look is kept, only on such a host and only by a look: once in some minutes
(R27). A busy host, and a pass that is left out, write nothing for it.
"""

import time
from contextlib import suppress
from typing import Any

from ec2net.core.model.errors import StateError
from ec2net.core.report.status_file import STATUS
from ec2net.core.state.run_dir import RunDir

EVERY = 300.0
"""Seconds from one look to the next on a quiet host, ..."""
EARLY = 30.0
"""... or less by so much: half of the timer's interval, so that the nearest of its ticks counts."""

_FILE = "quiet.json"


def may_skip(run: RunDir) -> bool:
    """Whether the last pass found one ENI with one address, all well, and it is not the time."""
    document, looked = run.read(STATUS), run.read(_FILE)
    if document is None or looked is None:
        return False
    try:
        return is_quiet(document) and 0 <= _now() - looked["boottime"] < EVERY - EARLY
    except (AttributeError, KeyError, TypeError):
        return False  # in another form than this version writes


def mark_checked(run: RunDir, document: dict[str, Any]) -> None:
    """A timed pass has ended with this status. Without room for the time, the next one looks too."""
    if is_quiet(document):
        with suppress(StateError):
            run.write(_FILE, {"boottime": int(_now())})


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_quiet(document: dict[str, Any]) -> bool:
    """Whether a status has one ENI with one address, and no problem."""
    enis: list[dict[str, Any]] = document.get("enis", [])
    if document.get("problems") or len(enis) != 1:
        return False
    intent = enis[0].get("intent")
    if not intent or enis[0].get("trouble"):
        return False
    return len(intent["base"]) == 1 and not intent["further"] and not intent["prefixes"]
