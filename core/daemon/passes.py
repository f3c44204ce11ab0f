# SPDX-License-Identifier: Apache-2.0
"""The daemon's passes: run under the host lock, followed per ENI, logged and published."""

import logging
import time
from collections.abc import Collection
from dataclasses import replace

from ec2net.core.daemon.control import ControlSocket
from ec2net.core.daemon.eni_state import SETTLING, EniTrack, Pace, follow
from ec2net.core.daemon.lasting_problems import LastingProblems, Problem
from ec2net.core.daemon.published import Published
from ec2net.core.daemon.schedule import Kind, Schedule, Work
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.one_pass import failure_published, one_pass
from ec2net.core.imds.reader import outdated
from ec2net.core.model.errors import Ec2netError, ImdsError, Stopped
from ec2net.core.model.identity import Mac
from ec2net.core.model.problem_code import Code, code_of
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import log_lines
from ec2net.core.report.eni_state import State
from ec2net.core.report.publisher import StatusPublisher
from ec2net.core.report.quiet_host import is_quiet
from ec2net.core.report.status_file import Outcome
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state.config_in_force import Workplace

_log = logging.getLogger("ec2net.resident")

_HOST = "host"
"""The subject of log lines that concern no single ENI."""

FIGHT = "repairs are limited: another program keeps removing what ec2net restores"


class Passes:
    """Does one piece of work at a time, and keeps what follows from it."""

    def __init__(
        self,
        place: Workplace,
        engine: Engine,
        signals: StopSignals,
        schedule: Schedule,
        control: ControlSocket,
        published: Published,
    ) -> None:
        self._place = place
        self._engine = engine
        self._signals = signals
        self._schedule = schedule
        self._control = control
        self._published = published
        settings = place.config.resident
        self._pace = Pace(settings.poll, settings.fast, settings.fast_for)
        self._lasting = LastingProblems()
        self._identities: dict[Mac | str, dict[str, str]] = {}
        """The journal fields of each ENI."""
        self._problems: tuple[Ec2netError, ...] = ()
        """Problems of the last poll."""
        self._fight = ""
        self._all = False
        """Whether the next pass verifies all ENIs."""
        self._left: set[Mac] = set()
        """ENIs whose link has gone, and no look has seen what that left behind."""
        self.tracks: dict[Mac, EniTrack] = {}
        self.failures = 0
        """Polls in a row that IMDS did not answer."""
        self.primary: Mac | None = None
        self.imds_seconds: float | None = None
        """How long a pass may read IMDS; None: as the configuration says."""
        self.planned = False
        """Whether the primary's facts are complete: a pass made its intent."""
        self.awaits_router: int | None = None
        """The primary's link, while the ENI is pending and a router advertisement may be missing."""

    def do(self, work: Work) -> None:
        """One piece of work, and what follows from it. Raises ``Stopped``."""
        _log.debug("%s %s", work.kind.value, " ".join(map(str, sorted(work.macs))))
        self._engine.new_pass()
        try:
            if work.kind is Kind.LISTINGS:
                self._read_listings()
            else:
                self._pass(work)
        except Stopped:
            raise
        except Ec2netError as error:
            self._failed(work, error)
        self._publish()

    def _read_listings(self) -> None:
        assert self._engine.listings is not None
        assert self._engine.imds is not None
        deadline = self._signals.deadline(self._place.config.timeouts.pass_, "listings")
        with failure_published(StatusPublisher(self._place)):
            changed = outdated(self._engine.imds, self._engine.listings, deadline)
        if changed:
            self._pass(Work(Kind.ENIS, changed))

    def _pass(self, work: Work) -> None:
        only = work.macs if work.kind is Kind.ENIS else None
        check = self._to_verify(work, only)
        if work.kind is Kind.ENIS and self._engine.listings is not None:
            for mac in work.macs:  # something of the ENI is pending: maybe a key that is not listed
                self._engine.listings.pop(mac, None)
        lasting = () if work.kind is Kind.POLL else self._problems
        done = one_pass(
            self._engine,
            StatusPublisher(self._place, lasting=lasting),
            self._signals.deadline,
            work.kind.value,
            only=only,
            read=self._without_link() if work.kind in (Kind.LOOK, Kind.VERIFY) else None,
            confirm=work.kind in (Kind.LOOK, Kind.VERIFY),
            check=check,
            imds_seconds=self.imds_seconds,
        )
        now = time.monotonic()
        self._follow(done.report, only, now)
        self._log_pass(done.report, work, only)
        if work.kind in (Kind.LOOK, Kind.VERIFY):
            if self._repairs(done.report):
                self._schedule.repaired(now)
            self._left.clear()
        if work.kind is Kind.POLL:
            self._polled(done, now)

    def verify_all(self) -> None:
        """The next pass over all ENIs verifies all of them."""
        self._all = True

    def _to_verify(self, work: Work, only: frozenset[Mac] | None) -> Collection[Mac] | None:
        """The ENIs to verify: None for all, else those of which a part is missing or wrong."""
        if work.kind is Kind.VERIFY:
            self._engine.verified.forget()  # what has happened may be undone, and look as before
        if only is None and (self._all or work.kind is Kind.VERIFY):
            self._all = False
            return None
        wrong = {track.mac for track in self.tracks.values() if not track.settled}
        return wrong if only is None else wrong & only

    def link_left(self, mac: Mac) -> None:
        """An ENI's link is gone: the next pass removes its objects, and that is no drift."""
        self._left.add(mac)

    def _without_link(self) -> set[Mac]:
        """ENIs that a pass asks IMDS for. A moved ENI is then absent at once, a detached one gone.

        An ENI that has had no link for a while, such as an EFA-only one, causes no request.
        """
        settled = time.monotonic() - SETTLING
        absent = (track for track in self.tracks.values() if track.state is State.ABSENT)
        return self._left | {track.mac for track in absent if track.since > settled}

    def _repairs(self, report: PassReport) -> bool:
        """Whether a pass at a kernel event changed more than the objects of a detached ENI."""
        there = {eni.mac for eni in report.host.enis if eni.links}
        changes = [*report.done, *(failure.change for failure in report.failed)]
        return any(not self._left or change.whose in there for change in changes)

    def _polled(self, done: Outcome, now: float) -> None:
        self._problems = done.report.problems
        imds = any(isinstance(problem, ImdsError) for problem in self._problems)
        self.failures = self.failures + 1 if imds else 0
        quiet = is_quiet(done.document)
        self._schedule.polled(now, failures=self.failures, quiet=quiet)
        if not self._control.waiting:
            return  # the changes of a first pass are 20 MiB of text on the largest instance
        status = self._place.status(done.report.exit_status)
        said = [[line.level, line.text] for line in log_lines.lines(done.report)]
        self._control.answer({**done.to_json(), "lines": said, "exit_status": int(status)})

    def _failed(self, work: Work, error: Ec2netError) -> None:
        """A pass that did not come to its end: nothing is known to be otherwise."""
        now = time.monotonic()
        self.complain(str(error), code_of(error))
        again = now + max(1.0, self._pace.fast)
        self.tracks = {
            mac: replace(track, again=again) if mac in work.macs else track
            for mac, track in self.tracks.items()
        }
        if work.kind is Kind.POLL:
            self.failures += isinstance(error, ImdsError)
            self._problems = (error,)
            self._schedule.polled(now, failures=self.failures, quiet=False)
            self._control.answer({"error": str(error), "exit_status": int(error.exit_status)})
        elif work.kind in (Kind.LOOK, Kind.VERIFY):
            self._schedule.repaired(now)  # it counts, so that a lasting failure causes no busy loop
            self._schedule.changed(now)

    def _follow(self, report: PassReport, only: frozenset[Mac] | None, now: float) -> None:
        there = set()
        for eni in report.host.enis:
            there.add(eni.mac)
            # By its link, since a refused ENI has no intent, and its refusal is an answer.
            if eni.link is not None and eni.link == report.host.primary_link:
                self.primary = eni.mac
            before = self.tracks.get(eni.mac)
            if only is not None and eni.mac not in only:
                continue  # the pass did not judge it
            track = follow(before, eni, report, now, self._pace)
            if before is None or before.state is not track.state:
                _log.debug("%s: %s%s", eni.name, track.state, track.reason and f": {track.reason}")
            self.tracks[eni.mac] = track
            if eni.mac == self.primary:
                hears = eni.intent is not None and eni.intent.hears_router
                self.planned = eni.intent is not None
                waits = hears and track.state is State.PENDING
                self.awaits_router = track.link if waits else None
        for mac in self.tracks.keys() - there:
            del self.tracks[mac]
            self._lasting.forget([mac])
            self._identities.pop(mac, None)

    def _log_pass(self, report: PassReport, work: Work, only: frozenset[Mac] | None) -> None:
        """Changes as they are; what lasts when it begins, when it ends, and now and then."""
        lasting: dict[Mac | str, list[Problem]] = {_HOST: []}
        for mac, track in self.tracks.items():
            if (only is None or mac in only) and track.state is not State.PENDING:
                lasting[mac] = []
                self._identities[mac] = log_lines.identity(report, mac)
        for line in log_lines.lines(report):
            if not line.lasts:
                _log.log(line.level, "%s", line.text, extra={"fields": line.journal})
            elif (subject := line.mac or _HOST) in lasting:  # otherwise the ENI is pending
                lasting[subject].append(Problem(line.level, line.text, line.code))
        for subject, problems in lasting.items():
            self._report(subject, problems, complete=subject != _HOST or work.kind is Kind.POLL)

    def note_fight(self) -> None:
        """Tell when a repair has to wait, and when none does any more."""
        before = self._fight
        self._fight = FIGHT if self._schedule.fighting(time.monotonic()) else ""
        fight = Problem(logging.WARNING, self._fight, Code.REPAIRS_LIMITED)
        self._report("fight", [fight] if self._fight else [], complete=True)
        if self._fight != before:
            self._publish()

    def complain(self, text: str, code: Code) -> None:
        """A problem that concerns no single ENI."""
        self._report(_HOST, [Problem(logging.ERROR, text, code)], complete=False)

    def _report(self, subject: Mac | str, problems: list[Problem], *, complete: bool) -> None:
        now = time.monotonic()
        for one in self._lasting.update(subject, problems, now, complete=complete):
            whose = self._identities.get(subject, {})
            fields = {**log_lines.reported(one.text, whose), **log_lines.coded(one.code)}
            _log.log(one.level, "%s", one.text, extra={"fields": fields})

    def _publish(self) -> None:
        imds = next((str(p) for p in self._problems if isinstance(p, ImdsError)), "")
        try:
            self._published.write(self.tracks.values(), imds, self._fight)
        except Ec2netError as error:
            self.complain(str(error), code_of(error))

    def summary(self) -> str:
        """One line of how many ENIs are in which state."""
        by_state: dict[State, list[str]] = {}
        for track in self.tracks.values():
            by_state.setdefault(track.state, []).append(track.name)
        parts = []
        for state in State:
            if names := sorted(by_state.get(state, [])):
                shown = f" ({', '.join(names[:5])})" if state is not State.CONFIGURED else ""
                parts.append(f"{len(names)} {state}{shown}")
        errors = len(self._place.loaded.errors)
        broken = f"{errors} configuration errors ('ec2net config --check'); " if errors else ""
        return f"{broken}ENIs: {', '.join(parts) or 'none yet'}"
