# SPDX-License-Identifier: Apache-2.0
"""A host's journal as data."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry. ``seconds`` are those of CLOCK_MONOTONIC, the same for all namespaces."""

    seconds: float
    unit: str
    identifier: str
    priority: int
    message: str
    cursor: str

    def __str__(self) -> str:
        return f"{self.seconds:.3f} {self.identifier}: {self.message}"


def parse(lines: Iterable[str]) -> Iterator[Entry]:
    """Entries of ``journalctl --output=json``."""
    for line in lines:
        if line.startswith("{"):
            fields = json.loads(line)
            message = fields.get("MESSAGE") or ""
            if isinstance(message, list):  # bytes that are not UTF-8
                message = bytes(message).decode("utf-8", "replace")
            yield Entry(
                seconds=int(fields["__MONOTONIC_TIMESTAMP"]) / 1e6,
                # Messages of PID 1 about a unit have UNIT, those of the unit have _SYSTEMD_UNIT.
                unit=fields.get("UNIT") or fields.get("_SYSTEMD_UNIT") or "",
                identifier=fields.get("SYSLOG_IDENTIFIER") or "",
                priority=int(fields.get("PRIORITY", 6)),
                message=message,
                cursor=fields["__CURSOR"],
            )
