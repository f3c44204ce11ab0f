# SPDX-License-Identifier: Apache-2.0
"""The result of a pass, as data: printed, published as status, handed to plugins."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ec2net.core.config.settings import Manage
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.model.finding import Finding
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Change, Conflict, Failure, Plan
from ec2net.core.model.problem_code import Code, code_of
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.clock import date
from ec2net.core.state.drift_record import Drifts
from ec2net.core.state.holds import Hold
from ec2net.core.state.pause import Pause

SHOWN = 1
"""Findings of one kind that are shown whole."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """The report of one pass over all ENIs, or over one."""

    host: HostIntent
    plan: Plan
    choices: dict[Mac, str | None]
    """The backend of each ENI; None if none would have it."""
    done: tuple[Change, ...] = ()
    failed: tuple[Failure, ...] = ()
    findings: tuple[Finding, ...] = ()
    """The differences after the changes; empty without differences or without changes."""
    problems: tuple[Ec2netError, ...] = ()
    """Further problems: IMDS, state files, a backend that cannot observe."""
    warnings: tuple[Ec2netError, ...] = ()
    """Possible problems, by which the pass did not fail."""
    requests: int = 0
    """IMDS requests made."""
    undone: tuple[Change, ...] = ()
    """The changes that were rolled back; they are not in ``done``."""
    held: Mapping[Mac, Hold] = field(default_factory=dict)
    """ENIs that stay unchanged, since their intent had cut the host off."""
    pause: Pause | None = None
    """An administrator's pause, if one is in force."""
    waiting: frozenset[Change] = frozenset()
    """The changes that wait for the end of the pause."""
    drifts: Drifts = field(default_factory=Drifts)
    """The changes by other programs."""
    there: Mapping[Mac, int] = field(default_factory=dict)
    """How many of each ENI's addresses are on its link after the pass."""
    occasion: str = ""
    """The occasion of the pass: its deadline's name."""
    seconds: float = 0.0
    """How long it took, with the reading of IMDS before it."""

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Except on ENIs that are only observed: a foreign object may be intended there."""
        return tuple(found for found in self.plan.conflicts if found.mac not in self.observed)

    @property
    def observed(self) -> frozenset[Mac]:
        """The ENIs with ``manage = "observe"``."""
        return frozenset(eni.mac for eni in self.host.ready if eni.manage is Manage.OBSERVE)

    @property
    def wrong(self) -> tuple[tuple[Mac | None, Code, str], ...]:
        """Conflicts and findings by ENI, those of one kind as one with their number."""
        found: list[tuple[Mac | None, Code, str, str]] = [
            (one.mac, Code.CONFLICT, f"{type(one.item).__name__} {one.wanted}", one.describe())
            for one in self.conflicts
        ]
        found += [(one.mac, one.code, one.kind, one.describe()) for one in self.findings]
        texts: dict[tuple[Mac | None, Code, str], list[str]] = {}
        for mac, code, kind, text in found:
            texts.setdefault((mac, code, kind), []).append(text)
        return tuple((mac, code, _counted(same)) for (mac, code, _), same in texts.items())

    @property
    def left(self) -> frozenset[Change]:
        """The planned changes that the pass did not make, for whatever reason."""
        return frozenset(self.plan.changes) - frozenset(self.done)

    @property
    def pending(self) -> int:
        """Their number."""
        return len(self.left)

    @property
    def exit_status(self) -> ExitStatus:
        if any(failure.error.exit_status is not ExitStatus.LINK_GONE for failure in self.failed):
            return ExitStatus.FAILED
        if self.problems or self.conflicts or self.findings:
            return ExitStatus.FAILED
        refused = any(eni.standing is Standing.REFUSED for eni in self.host.enis)
        return ExitStatus.FAILED if refused else ExitStatus.DONE

    def of(self, mac: Mac) -> EniOutcome | None:
        return self.host.of(mac)

    def trouble(self, mac: Mac) -> tuple[str, ...]:
        """The problems of one ENI, each once, sorted."""
        return tuple(self.coded_trouble(mac))

    def coded_trouble(self, mac: Mac) -> dict[str, Code]:
        """The same, each with its code."""
        own = (failure.error for failure in self.failed if failure.change.whose == mac)
        texts = {str(error): code_of(error) for error in own}
        texts |= {text: code for of, code, text in self.wrong if of == mac}
        if hold := self.held.get(mac):
            text = f"changes are on hold since {date(hold.since)}: {hold.reason}"
            texts[text] = Code.ROLLED_BACK
        return dict(sorted(texts.items()))


def _counted(same: list[str]) -> str:
    others = len(same) - SHOWN
    more = [f"and {others} more like this"] if others > 0 else []
    return "; ".join((*same[:SHOWN], *more))


def addresses_there(host: HostIntent, snapshot: Snapshot) -> dict[Mac, int]:
    """For ``PassReport.there``: foreign addresses count, too, with any prefix length."""
    present = {(found.item.link.index, found.item.interface.ip) for found in snapshot.addresses}
    return {
        intent.mac: sum((intent.link.index, source.ip) in present for source in intent.sources)
        for intent in host.ready
    }
