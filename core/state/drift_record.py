# SPDX-License-Identifier: Apache-2.0
"""The record of an ENI's drift: /run/ec2net/drift/MAC.json, for one attachment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, TypeAlias

from ec2net.core.model.identity import Mac

FOLDER = "drift"
REPAIRED = "repaired"
OBSERVED = 'not repaired (manage = "observe")'
NOT_MADE = "not repaired, see 'ec2net status'"
BY_OTHERS = "resolved, but not by ec2net"


def seconds_between(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return text


Time: TypeAlias = Annotated[str, _time]
"""ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One noticed change, with its repetitions. Times are ISO 8601, UTC."""

    what: tuple[str, ...]
    """In the words of ``verify``."""
    items: tuple[str, ...]
    """Fingerprints."""
    noticed: Time
    last: Time
    times: int
    known: tuple[str, ...]
    """Known facts about the program that made the change."""
    repair: str
    open: bool
    """Whether it is still so."""

    @property
    def summary(self) -> str:
        """The change, in one line."""
        more = len(self.items) - len(self.what)
        return "; ".join((*self.what, *([f"and {more} more"] if more > 0 else [])))

    def describe(self) -> str:
        """With what became of it and what is known of who it was."""
        who = "; ".join(
            ("changed outside of ec2net; the kernel does not record by whom", *self.known)
        )
        return f"{self.summary}: {self.repair} ({who})"

    def log_text(self) -> str:
        """The log line at its begin or end."""
        if not self.open and self.repair == BY_OTHERS:
            return f"resolved: {self.summary}"
        return f"drift: {self.describe()}"


@dataclass(frozen=True, slots=True)
class Drifts:
    """The drift that a pass reports."""

    latest: Mapping[Mac, Drift] = field(default_factory=dict)
    """The latest drift of each planned ENI that has drift."""
    news: tuple[tuple[Mac, Drift], ...] = ()
    """The drift that began or ended in this pass."""


@dataclass(frozen=True, slots=True)
class Record:
    """The drift of one attachment."""

    ifindex: int
    in_place: frozenset[str] = frozenset()
    intended: int = 0
    """Fingerprint of the intent at that time. A killed pass may have made the changes already."""
    given: Annotated[str, lambda text: text and _time(text)] = ""
    """When a network manager was given something else for it; empty: never."""
    story: tuple[Drift, ...] = ()
