# SPDX-License-Identifier: Apache-2.0
"""Units as systemd reports them, and commands to systemd, by systemctl."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline

_LISTING = ("--plain", "--no-legend", "--no-pager", "--full")


def units_in(state: str, patterns: Sequence[str], limit: Deadline) -> tuple[str, ...]:
    """The units of these names that are in ``state``, sockets too. Raises ``CommandFailed``."""
    told = output(("systemctl", "list-units", f"--state={state}", *_LISTING, *patterns), limit)
    return tuple(line.split()[0] for line in told.splitlines() if line.strip())


BOOTED = Path("/run/systemd/system")
"""A folder where systemd runs the host (sd_booted(3))."""

_AT_REST = ("inactive", "failed")


def working_units(patterns: Sequence[str], limit: Deadline) -> tuple[str, ...]:
    """The units of these names that are not at rest, of every type, and those with a job.

    A timer that waits is active here. ``/run/systemd/units`` has no entry for a timer, a path or
    a socket, so only systemd itself can answer. Raises ``CommandFailed``.
    """
    units = output(("systemctl", "list-units", "--all", *_LISTING, *patterns), limit)
    jobs = output(("systemctl", "list-jobs", *_LISTING, *patterns), limit)
    rows = [line.split() for line in units.splitlines()]  # UNIT LOAD ACTIVE SUB ...
    found = {row[0] for row in rows if len(row) > 2 and row[2] not in _AT_REST}
    # JOB UNIT TYPE STATE; 'No jobs running.' starts with no number.
    found |= {row[1] for row in map(str.split, jobs.splitlines()) if row and row[0].isdigit()}
    return tuple(sorted(found))


def attempt(words: Sequence[str], limit: Deadline, log: logging.Logger) -> None:
    """Run systemctl with ``words``. A failure is logged: the next pass tries again."""
    try:
        output(("systemctl", *words), limit)
    except CommandFailed as error:
        log.warning("systemctl %s: %s", words[0], error)
