# SPDX-License-Identifier: Apache-2.0
"""Where messages go: to the journal, with level and fields, if the process is a unit; else to
stderr."""

import logging
import os
import sys
from contextlib import suppress

from ec2net.core.model.identity import printable
from ec2net.core.runtime.journald import LEVELS, JournalHandler


class Printable(logging.Formatter):
    """Escapes what a terminal may act upon: names of links hold any bytes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


class _ForJournal(Printable):
    """Prefixes each line with its syslog level (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        level = LEVELS.get(record.levelno, 6)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).split("\n"))


def set_up(*, verbose: bool) -> None:
    """Configure the logger ``ec2net``. ``verbose`` logs each decision and its reason."""
    logger = logging.getLogger("ec2net")
    logger.handlers.clear()
    logger.propagate = False
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if to_journal():
        handler.setFormatter(_ForJournal("%(message)s"))
        with suppress(OSError):  # without the journal's socket, the stream suffices
            handler = JournalHandler(handler)
            handler.setFormatter(Printable("%(message)s"))
    else:
        handler.setFormatter(Printable("ec2net: %(levelname)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


def to_journal() -> bool:
    """Whether stderr is the journal's stream (systemd.exec(5), JOURNAL_STREAM=device:inode)."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
