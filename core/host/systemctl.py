# SPDX-License-Identifier: Apache-2.0
"""What systemd says of its units, and what it is told, by systemctl."""

import logging
from collections.abc import Sequence

from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline


def units_in(state: str, patterns: Sequence[str], limit: Deadline) -> tuple[str, ...]:
    """The units of these names that are in ``state``, sockets too. Raises ``CommandFailed``."""
    listing = ("--plain", "--no-legend", "--no-pager", "--full")
    told = output(("systemctl", "list-units", f"--state={state}", *listing, *patterns), limit)
    return tuple(line.split()[0] for line in told.splitlines() if line.strip())


def attempt(words: Sequence[str], limit: Deadline, log: logging.Logger) -> None:
    """Run systemctl with ``words``. A failure is logged: the next pass tries again."""
    try:
        output(("systemctl", *words), limit)
    except CommandFailed as error:
        log.warning("systemctl %s: %s", words[0], error)
