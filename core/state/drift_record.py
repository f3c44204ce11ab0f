# SPDX-License-Identifier: Apache-2.0
"""What is remembered of an ENI's drift: /run/ec2net/drift/MAC.json, for one attachment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.identity import Mac
from ec2net.core.runtime.clock import now
from ec2net.core.state import per_eni
from ec2net.core.state.run_dir import RunDir

_FOLDER = "drift"
REPAIRED = "made again"
OBSERVED = 'only reported, since manage = "observe"'
NOT_MADE = "not made, see 'ec2net status'"
BY_OTHERS = "as intended again without us"


@dataclass(frozen=True, slots=True)
class Drift:
    """What was noticed at a time, or again and again. Times are ISO 8601, UTC."""

    what: tuple[str, ...]
    """As ``verify`` says it."""
    items: tuple[str, ...]
    """Fingerprints."""
    noticed: str
    last: str
    times: int
    known: tuple[str, ...]
    """Of who it was."""
    repair: str
    open: bool
    """Whether it is still so."""

    @property
    def summary(self) -> str:
        """What it was, in one line."""
        more = len(self.items) - len(self.what)
        return "; ".join((*self.what, *([f"and {more} more"] if more > 0 else [])))

    def describe(self) -> str:
        """With what became of it and what is known of who it was."""
        who = "; ".join(("who it was the kernel does not tell", *self.known))
        return f"{self.summary}: {self.repair} ({who})"

    def log_text(self) -> str:
        """For the log, when it begins or ends."""
        if not self.open and self.repair == BY_OTHERS:
            return f"no longer: {self.summary}"
        return f"somebody else's change: {self.describe()}"


@dataclass(frozen=True, slots=True)
class Drifts:
    """What a pass has to say of it."""

    latest: Mapping[Mac, Drift] = field(default_factory=dict)
    """Of each ENI that was planned for and has any."""
    news: tuple[tuple[Mac, Drift], ...] = ()
    """What began or ended in this pass."""
    problems: tuple[Ec2netError, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one attachment."""

    ifindex: int
    in_place: frozenset[str] = frozenset()
    intended: int = 0
    """Of what was wanted then. It may be in place without a change: a pass before was killed."""
    given: str = ""
    """When a network manager was given something else for it; empty: never."""
    story: tuple[Drift, ...] = ()


def story(run: RunDir, mac: Mac, ifindex: int) -> tuple[Drift, ...]:
    """What is remembered of an ENI while it has this link, the oldest first."""
    return read(run, mac, ifindex).story


def seconds_between(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def read(run: RunDir, mac: Mac, ifindex: int) -> Record:
    """Of another attachment, or what is not as this version writes it, counts as nothing."""
    data = per_eni.read(run, _FOLDER, mac, ifindex)
    if data is None:
        return Record(ifindex)
    try:
        told = tuple(_drift(row) for row in data["story"])
        given = str(data["given"])
        seconds_between(given or now(), now())  # or it is no time that is written here
        in_place = frozenset(map(str, data["in_place"]))
        return Record(ifindex, in_place, int(data["intended"]), given, told)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return Record(ifindex)


def _drift(row: dict[str, Any]) -> Drift:
    texts = {name: tuple(map(str, row[name])) for name in ("what", "items", "known")}
    drift = Drift(**{**row, **texts, "times": int(row["times"])})
    seconds_between(drift.noticed, drift.last)  # or these are no times that are written here
    seconds_between(drift.last, now())
    return drift


def write(run: RunDir, mac: Mac, record: Record) -> None:
    """Raises ``StateError``."""
    told = [asdict(drift) for drift in record.story]
    run.write(
        per_eni.file(_FOLDER, mac),
        {
            "ifindex": record.ifindex,
            "in_place": sorted(record.in_place),
            "intended": record.intended,
            "given": record.given,
            "story": told,
        },
    )
