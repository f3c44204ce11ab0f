# SPDX-License-Identifier: Apache-2.0
"""Links whose event udev and systemd missed: udev was down, or its queue ran over.

A missed new link: no unit starts, and systemd-networkd waits for udev without end. A small unit of
ec2net makes udev process the link, since only that unit may write to /sys.

A missed removal: ``BindsTo`` waits for the lost event, and the device unit stays "plugged". A new
link of this name would not start its unit. systemd updates its devices only at a daemon-reload
(252 and 257), so ec2net runs one in these rare cases.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ec2net.core.host import udev
from ec2net.core.host.systemctl import attempt
from ec2net.core.kernel.link_events import link_index
from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.udev")

_QUEUE = Path("/run/udev/queue")
"""There while udev has events to process (udev_queue_get_udev_is_active)."""

SECONDS = 5.0
"""For systemctl, which waits for no unit here."""


def unseen(links: Iterable[str]) -> list[str]:
    """Those of ``links`` that udev does not know although its queue is empty."""
    missing = [
        name
        for name in links
        if (index := link_index(name)) is not None and not udev.is_done_with(index)
    ]
    return missing if missing and udev.is_running() and not _QUEUE.exists() else []


def show(links: list[str], deadline: Deadline) -> None:
    """Make udev process the links. A failure is logged, and the next pass retries."""
    _log.info("udev missed these links and now processes them: %s", ", ".join(links))
    units = [f"ec2net-udev@{escaped(name)}.service" for name in links]
    limit = deadline.within(SECONDS, "systemctl")
    attempt(["start", "--no-block", "--", *units], limit, _log)


def escaped(name: str) -> str:
    """For the name of a unit (systemd.unit(5), "String Escaping")."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_"
    return "".join(
        char if char in plain or (char == "." and place) else _hex(char)
        for place, char in enumerate(name)
    )


def _hex(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


_units_log = logging.getLogger("ec2net.units")

_ACTIVE = Path("/run/systemd/units")
"""systemd keeps a link there for each active unit (unit_export_invocation_id)."""

_ENTRY = re.compile(r"invocation:(ec2net@(.+)\.service)")


def stale_units() -> Iterator[str]:
    """Active units of links that are not there."""
    try:
        names = os.listdir(_ACTIVE)
    except OSError:
        return  # no systemd
    for name in sorted(names):
        found = _ENTRY.fullmatch(name)
        if found and link_index(_unescaped(found[2])) is None:
            yield found[1]


def end_units(units: list[str], deadline: Deadline) -> None:
    """Let systemd stop them, and forget their devices. A failure is logged: the next pass tries."""
    _units_log.info("stopping the units of removed links: %s", ", ".join(units))
    limit = deadline.within(SECONDS, "systemctl")
    attempt(["stop", "--no-block", "--", *units], limit, _units_log)
    attempt(["daemon-reload"], limit, _units_log)


def _unescaped(instance: str) -> str:
    """As ``%I`` (systemd.unit(5), "String Escaping")."""
    plain = os.fsencode(instance.replace("-", "/"))
    return os.fsdecode(
        re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes((int(found[1], 16),)), plain)
    )
