# SPDX-License-Identifier: Apache-2.0
"""Units of links that are gone although systemd was never told: udev was stopped, or its queue ran
over, when the link went.

``BindsTo`` waits for the event that is lost, and the device unit stays "plugged": a link that
comes again under this name would not start its unit. systemd takes stock of devices anew at a
daemon-reload only (252 and 257), so these rare cases are worth one.
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ec2net.core.kernel.link_events import link_index
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.units")

_ACTIVE = Path("/run/systemd/units")
"""systemd keeps a link there for each active unit (unit_export_invocation_id)."""

_ENTRY = re.compile(r"invocation:(ec2net@(.+)\.service)")

END_SECONDS = 5.0


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


def end(units: list[str], deadline: Deadline) -> None:
    """Let systemd stop them, and forget their devices. A failure is logged: the next pass tries."""
    import subprocess  # hardly ever needed, and it costs 3 ms

    _log.info("stopping units of links that are gone: %s", ", ".join(units))
    limit = deadline.within(END_SECONDS, "systemctl")
    for command in (["stop", "--no-block", "--", *units], ["daemon-reload"]):
        try:
            result = run_bounded(["systemctl", *command], limit)
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.warning("systemctl %s: %s", command[0], error)
            return
        if result.returncode != 0:
            _log.warning("systemctl %s: %s", command[0], result.stderr.strip())


def _unescaped(instance: str) -> str:
    """As ``%I`` (systemd.unit(5), "String Escaping")."""
    plain = os.fsencode(instance.replace("-", "/"))
    return os.fsdecode(
        re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes((int(found[1], 16),)), plain)
    )
