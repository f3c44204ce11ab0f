# SPDX-License-Identifier: Apache-2.0
"""ENIs that udev never saw: it was down, or its queue ran over, when the link came.

Nobody starts their units, and systemd-networkd waits for udev without end. udev is made to look
at them again by a small unit of ours, since it takes a write to /sys, which no other unit may do.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from ec2net.core.host import udev
from ec2net.core.kernel.link_events import link_index
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.udev")

_QUEUE = Path("/run/udev/queue")
"""There while udev has events to process (udev_queue_get_udev_is_active)."""

SECONDS = 5.0


def unseen(links: Iterable[str]) -> list[str]:
    """Those of ``links`` that udev does not know although it has nothing to do."""
    missing = [
        name
        for name in links
        if (index := link_index(name)) is not None and not udev.is_done_with(index)
    ]
    return missing if missing and udev.is_running() and not _QUEUE.exists() else []


def show(links: list[str], deadline: Deadline) -> None:
    """Let udev look again. A failure is logged: the next pass tries."""
    import subprocess  # hardly ever needed, and it costs 3 ms

    _log.info("udev never saw them, and looks again: %s", ", ".join(links))
    units = [f"ec2net-udev@{escaped(name)}.service" for name in links]
    try:
        limit = deadline.within(SECONDS, "systemctl")
        result = run_bounded(["systemctl", "start", "--no-block", "--", *units], limit)
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("systemctl start: %s", error)
        return
    if result.returncode != 0:
        _log.warning("systemctl start: %s", result.stderr.strip())


def escaped(name: str) -> str:
    """For the name of a unit (systemd.unit(5), "String Escaping")."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_"
    return "".join(
        char if char in plain or (char == "." and place) else _hex(char)
        for place, char in enumerate(name)
    )


def _hex(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
