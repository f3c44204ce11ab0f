# SPDX-License-Identifier: Apache-2.0
"""ec2net rolls back an apply that cuts the host off, and does not retry its plan (R26).

The same backends undo the changes that were *done*, with the journals as before. The plan is held,
per ENI, while the ENI's intent stays the same. If nothing becomes reachable with the former state,
the plan was not the cause (IMDS failed during an apply), and nothing is held.

Only a pass that changes something pays one more request and some milliseconds. A kill during the
trial leaves the new state, and the next pass accepts it. An undo after such a kill would need a
store of everything that any backend may plan, in each pass. A roll-back does not notice later harm,
such as a lease that is not renewed.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from ec2net.core.decide.intent import HostIntent
from ec2net.core.engine.reachability import Reachability, Reached
from ec2net.core.model.errors import Ec2netError, ExitStatus, StateError
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Applied, Change, Plan, inverse
from ec2net.core.model.purpose import Purpose
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime.clock import now
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.holds import Hold
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.run_dir import RunDir

_log = logging.getLogger("ec2net.rollback")

Apply: TypeAlias = Callable[[Mapping[str, Plan], Deadline], Applied]
"""Makes plans by backend."""

PROBE_SECONDS = 0.6
"""To decide whether the changes of one ENI of several were the cause; the longer wait after all
changes decides for the last ENI."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The state before an apply: reachable destinations, and the journals."""

    run: RunDir
    ways: Reachability
    reached: Reached
    journals: Mapping[Mac, Journal]
    after: float
    """Seconds (``rollback.after``)."""

    @classmethod
    def start(
        cls, run: RunDir, ways: Reachability, host: HostIntent, after: float, deadline: Deadline
    ) -> "Trial":
        """Look before anything is changed. Raises what interrupts the deadline."""
        if not after:
            return cls(run, ways, Reached(), {}, after)
        journals = Journals(run)
        links = {eni.mac: eni.link.index for eni in host.enis if eni.link is not None}
        return cls(
            run,
            ways,
            _but_what_shall_go(ways.now(deadline), host),
            {mac: journals.read(mac, index) for mac, index in links.items()},
            after,
        )

    def end(
        self,
        plans: Mapping[str, Plan],
        report: PassReport,
        apply: Apply,
        fingerprint: Callable[[Mac], str | None],
        seconds: float,
    ) -> PassReport:
        """Wait until everything is reachable again; otherwise roll back the changes in ``report``.

        Ignores signals, like the apply; ends within three times ``after``, and ``seconds`` for
        undoing. ``fingerprint``: of the ENI's intent, None without one.
        """
        if not (self.reached and report.done):
            return report
        lost = self.ways.lost(self.reached, self._wait())
        if not lost:
            return report
        _log.warning("%s: unreachable after the changes; rolling back", lost)
        undoing = _Undoing(self, plans, report, apply)
        culprit = undoing.run(lost, Deadline(seconds, "rolling back"), self._wait())
        report = undoing.outcome()
        still = self.ways.lost(lost, self._wait())
        when, was = now(), f"{lost}: reachable before the change, but not {self.after:g} s after it"
        story = f"{len(report.undone)} changes were rolled back at {when}: {was}"
        if still:
            story += f"; {still} is still unreachable, so the next pass tries again"
        else:
            story += "; everything is reachable again"
            macs = {c.whose for c in report.undone} if culprit is None else {culprit}
            held = {
                mac: Hold(wanted, when, was, tuple(_lines(report.undone, mac)))
                for mac in self.journals
                if mac in macs and (wanted := fingerprint(mac))
            }
            report = replace(report, held={**report.held, **held})
        return replace(report, findings=(), problems=(*report.problems, Ec2netError(story)))

    def _wait(self) -> Deadline:
        return Deadline(self.after, "waiting for what was reachable")


def _but_what_shall_go(reached: Reached, host: HostIntent) -> Reached:
    """Hosts whose IPv4 fails at once without a way abroad."""
    if any(intent.serves(Purpose.NO_IPV4) for intent in host.ready):
        return replace(reached, gateways=reached.gateways - {4})
    return reached


class _Undoing:
    """ENI by ENI, the primary last, to find the ENI whose changes are the cause: only that ENI is
    held.

    If this shows no culprit, every changed ENI is held.

    Objects of detached ENIs are not restored: they led nowhere.
    """

    def __init__(
        self, trial: Trial, plans: Mapping[str, Plan], report: PassReport, apply: Apply
    ) -> None:
        self._trial = trial
        self._plans = plans
        self._report = report
        self._apply = apply
        self._journals = Journals(trial.run)
        self._done = frozenset(report.done)
        self._undone: set[Change] = set()
        self._problems: list[Ec2netError] = []

    def run(self, lost: Reached, deadline: Deadline, probing: Deadline) -> Mac | None:
        """Undo all; the ENI with whose changes gone all was back, if that showed at once."""
        changed = {change.whose for change in self._done}
        macs = [mac for mac in reversed(list(self._trial.journals)) if mac in changed]
        culprit = None
        for mac in macs:
            self._undo(mac, deadline)
            if culprit is None and len(macs) > 1 and not probing.expired():
                probe = probing.within(PROBE_SECONDS, probing.what)
                culprit = None if self._trial.ways.lost(lost, probe) else mac
        return culprit

    def outcome(self) -> PassReport:
        """The report of the pass, with what was undone."""
        return replace(
            self._report,
            done=tuple(c for c in self._report.done if c not in self._undone),
            undone=tuple(c for c in self._report.done if c in self._undone),
            problems=(*self._report.problems, *self._problems),
        )

    def _undo(self, mac: Mac, deadline: Deadline) -> None:
        """The changes of one ENI, the last one first, and its journal."""
        before = self._trial.journals[mac]
        present = self._journals.read(mac, before.ifindex)
        # While both states are mixed, the journals must contain everything for a kill.
        self._write(mac, before.with_all_of(present))
        back = {
            name: Plan(inverse(c for c in plan.changes if c in self._done and c.whose == mac))
            for name, plan in reversed(list(self._plans.items()))
        }
        failed = {
            failure.change: failure.error
            for failure in self._apply(back, deadline).failed
            if failure.error.exit_status is not ExitStatus.LINK_GONE
        }
        if not failed:
            self._write(mac, before)
        for change, error in failed.items():
            text = f"{change.inverse.item.describe()}: rollback failed: {error}"
            self._problems.append(Ec2netError(text))
        steps = (step for plan in back.values() for step in plan.changes)
        self._undone.update(step.inverse for step in steps if step not in failed)

    def _write(self, mac: Mac, journal: Journal) -> None:
        try:
            self._journals.write(mac, journal)
        except StateError as error:
            self._problems.append(error)


def _lines(changes: tuple[Change, ...], mac: Mac) -> Iterator[str]:
    for change in changes:
        if change.whose == mac:
            yield f"{change.action.value} {change.item.describe()}"
