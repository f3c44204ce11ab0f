# SPDX-License-Identifier: Apache-2.0
"""One pass: observe, compute, plan, apply, verify, remember.

``plan`` changes nothing and is what ``plan``, ``verify`` and ``explain`` show; ``apply`` makes
it so. Both get a deadline and end by it.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from ec2net.core.config.settings import Config, Manage
from ec2net.core.decide.compute import compute, eni_links
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.decide.last_known import unread
from ec2net.core.engine import drift, rivals, verify
from ec2net.core.engine.backend_plans import Wanted, chosen, planned
from ec2net.core.engine.imds_reading import ImdsReading, read_imds
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.reachability import Reachability
from ec2net.core.engine.rollback import Trial
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import elsewhere
from ec2net.core.imds.source import Imds
from ec2net.core.kernel.link_events import link_is_there
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.observe import snapshot_of
from ec2net.core.model.errors import DoubleManagement, Ec2netError
from ec2net.core.model.facts import Facts, Link, Value
from ec2net.core.model.finding import Finding
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.plan import Applied, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import PATIENCE, Backend, Host
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.plugins.loaded import BUILT_IN, Plugins
from ec2net.core.plugins.report import PassReport, addresses_there
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import boot_enis, holds, last_known, per_eni, touched_links
from ec2net.core.state.run_dir import RunDir

_log = logging.getLogger("ec2net.engine")


IMDS_SHARE = 0.6
"""Of what is left of a pass: reading may not use up the time that applying needs."""


@dataclass(slots=True)
class Engine:
    """What passes have in common. ``imds`` may be None: then the last known facts are used."""

    config: Config
    run: RunDir
    kernel: Kernel
    imds: Imds | None
    plugins: Plugins
    environment: Environment = field(default_factory=Environment)
    listings: dict[Mac, frozenset[str]] | None = None
    """Of the resident manager, which reads the listings of keys apart (``reader.Listings``)."""
    guard: Callable[[Backend, bool], GuardedBackend] = GuardedBackend.trusting
    """How backends are called; the second argument tells those of this project."""
    patience: float = PATIENCE
    """Seconds: ``Host.patience``."""
    _host: Host | None = field(default=None, init=False)
    _backends: dict[str, GuardedBackend] = field(default_factory=dict, init=False)
    _computed: tuple[Facts, HostIntent] | None = field(default=None, init=False)

    def new_pass(self) -> None:
        """Begin another round of IMDS reading with the same connection and token."""
        if self.imds is not None:
            self.imds.new_pass()

    def close(self) -> None:
        """End the backends' conversations."""
        for backend in self._backends.values():
            with suppress(Ec2netError):  # a plugin's that hangs, say
                backend.close()

    def primary(self, deadline: Deadline) -> Mac | None:
        """The primary's MAC: remembered, else asked for. Raises ``ImdsError``."""
        known, _ = last_known.remembered(self.run, {})
        if known is None and self.imds is not None:
            from ec2net.core.imds.reader import find_primary

            reading = find_primary(self.imds, deadline)
            known = reading.value if isinstance(reading, Value) else None
        return known

    def run_pass(
        self,
        deadline: Deadline,
        only: Collection[Mac] | None = None,
        *,
        without: frozenset[Mac] = frozenset(),
        check: Collection[Mac] = (),
        reading: ImdsReading | None = None,
    ) -> PassReport:
        """Plan and apply. The caller holds the host lock."""
        began = time.monotonic() - (reading.seconds if reading is not None else 0.0)
        self.run.discard_leftovers()
        view = self.plan(deadline, only, without=without, reading=reading)
        report = self.apply(view, deadline, check=check)
        return replace(report, occasion=deadline.what, seconds=time.monotonic() - began)

    def read_imds(self, deadline: Deadline, only: Collection[Mac] | None = None) -> ImdsReading:
        """Read IMDS for a pass. That may take long: before the host lock is taken.

        With no ENI in ``only`` it is not asked: what was last known stands.
        """
        links = last_known.with_silent_enis(self.run, self.kernel.links(), self.config.drivers)
        return self._read_imds(eni_links(links, self.config.drivers), only, deadline)

    def plan(
        self,
        deadline: Deadline,
        only: Collection[Mac] | None = None,
        *,
        without: frozenset[Mac] = frozenset(),
        snapshot: Snapshot | None = None,
        reading: ImdsReading | None = None,
        attached: Mapping[Mac, Attached] | None = None,
    ) -> View:
        """Observe, compute and plan. ``only``: plan for these ENIs, the others as last known.

        ``without``: ENIs that nothing is wanted of (``remove``). ``reading``: what ``read_imds`` gave;
        without it IMDS is read now. ``attached``: when each ENI came; None: as remembered.
        """
        snapshot = snapshot or snapshot_of(self.kernel, self.config.drivers, self.run)
        there = last_known.with_silent_enis(self.run, snapshot.links, self.config.drivers)
        snapshot = replace(snapshot, links=there)
        links = eni_links(snapshot.links, self.config.drivers)
        if reading is None:
            reading = self._read_imds(links, only, deadline)
        else:
            reading = reading.still_true(self.run, links)
        if attached is None:
            attached = boot_enis.when_attached(self.run, links, time.monotonic())
        environment = self._environment(links)
        owners = elsewhere(links, environment)
        facts = Facts(reading.facts, snapshot.links, attached, owners)
        host = self._intents(facts)
        choices = chosen(host, links, self.backends, environment)
        doubled: tuple[DoubleManagement, ...] = ()
        if not without:  # to take something back is no double work
            host, choices, doubled = rivals.refuse(host, choices, environment)
        which = Wanted(only, without)
        made = planned(host, choices, self.backends, snapshot, which, deadline)
        host = made.host
        watched = frozenset(eni.mac for eni in host.ready if eni.manage is Manage.OBSERVE)
        observed = watched - without  # what is to be taken back is, whatever the policy
        problems = (*reading.problems, *self.plugins.problems, *doubled, *made.problems)
        view = View(
            facts,
            snapshot,
            host,
            choices,
            made.plans,
            made.wanted,
            without,
            observed,
            seen=made.seen,
            problems=problems,
            requests=reading.requests,
        )
        changing = {change.whose for change in view.plan.changes} - observed
        held = holds.in_force(self.run, view.fingerprint, changing)
        problems += tuple(held[eni.mac].problem(eni.name) for eni in host.enis if eni.mac in held)
        return replace(view, held=held, problems=problems)

    def apply(self, view: View, deadline: Deadline, *, check: Collection[Mac] = ()) -> PassReport:
        """Apply what ``view`` planned, verify it, remember what is good.

        ``check``: ENIs to verify even if nothing of them was changed.
        """
        not_ours = view.observed_only | view.held.keys()
        plans = view.applicable(not_ours)
        report = PassReport(
            view.host,
            view.plan,
            {mac: choice.backend for mac, choice in view.choices.items()},
            problems=view.problems,
            requests=view.requests,
            held=view.held,
        )
        trial: Trial | None = None
        after = view.snapshot
        if any(plans.values()):
            ways = Reachability(self.kernel, self.imds)
            trial = Trial.start(self.run, ways, view.host, self.config.rollback_after, deadline)
            boot_enis.remember(self.run, view.host.links_since_boot)
            for name in {eni.name for eni in view.host.enis if eni.link and _changes(eni, plans)}:
                touched_links.mark(self.run, name)
            if deadline.expired():
                self._remember(view, report)  # what IMDS said is not asked for again
            deadline.check()  # the last moment for SIGTERM or a gone link to stop it
            applied = self._apply_plans(view, plans, deadline.shielded())
            report = replace(report, done=applied.done, failed=applied.failed)
        if any(plans.values()) or check:
            failed = {failure.change.mac for failure in report.failed}
            changed = {*(change.mac for change in report.done), *check} - failed
            try:
                after = snapshot_of(self.kernel, self.config.drivers, self.run)
                findings = self._verify(view, after, changed, failed, deadline.shielded())
                report = replace(report, findings=findings)
            except Ec2netError as error:  # what was done is remembered and told all the same
                report = replace(report, problems=(*report.problems, error))
        if trial is not None:
            seconds = self.config.timeouts.pass_
            report = trial.end(
                plans, report, partial(self._apply_plans, view), view.fingerprint, seconds
            )
        environment = self._environment(eni_links(view.snapshot.links, self.config.drivers))
        back = {change.mac for change in report.undone} | report.held.keys()
        drifts = drift.follow(self.run, view, report.done, back, environment)
        lost = self._remember(view, report) or drifts.problems
        there = addresses_there(view.host, view.snapshot if report.undone else after)
        problems = (*report.problems, *lost)
        report = replace(report, drifts=drifts, there=there, problems=problems)
        self.plugins.pass_finished(report)
        return report

    def _read_imds(
        self,
        links: Mapping[Mac, tuple[Link, ...]],
        only: Collection[Mac] | None,
        deadline: Deadline,
    ) -> ImdsReading:
        share = deadline.within(deadline.remaining() * IMDS_SHARE, "reading IMDS")
        return read_imds(self.imds, self.run, links, only, share, self.listings)

    def _intents(self, facts: Facts) -> HostIntent:
        # compute is pure, and on a quiet host the facts are the same pass after pass.
        if self._computed is None or self._computed[0] != facts:
            self._computed = (facts, compute(facts, self.config))
        host = self._computed[1]
        adjusted = tuple(
            replace(eni, intent=intent, apart=intent.manage.hands_off)
            if eni.intent and (intent := self.plugins.adjust(eni.intent, facts))
            else eni
            for eni in host.enis
        )
        for eni in adjusted:
            _log.debug("%s: %s%s", eni.name, eni.standing.value, eni.reason and f": {eni.reason}")
        return replace(host, enis=adjusted)

    @property
    def backends(self) -> Mapping[str, GuardedBackend]:
        """The backends that the configuration can mean, made once."""
        if not self._backends:
            self._host = Host(self.kernel, self.run, self.environment, self.patience)
            self._backends = {
                name: self.guard(backend, name in BUILT_IN)
                for name, backend in self.plugins.made(self._host).items()
            }
        return self._backends

    def _environment(self, links: Mapping[Mac, tuple[Link, ...]]) -> Environment:
        known = tuple(same[0] for same in links.values())
        return replace(self.environment.once(), eni_links=known)

    def _apply_plans(self, view: View, plans: Mapping[str, Plan], deadline: Deadline) -> Applied:
        done: list[Applied] = []
        for name, plan in plans.items():
            if plan:
                seen, goals = view.seen_by(name), view.goals(name)
                done.append(self.backends[name].apply(plan, goals, seen, deadline))
        return Applied(
            tuple(change for applied in done for change in applied.done),
            tuple(failure for applied in done for failure in applied.failed),
        )

    def _verify(
        self,
        view: View,
        snapshot: Snapshot,
        changed: Collection[Mac | None],
        failed: Collection[Mac | None],
        deadline: Deadline,
    ) -> tuple[Finding, ...]:
        """The ENIs that were changed, as they are now; of those that failed, what the manager did."""
        names = {link.index: link.name for link in snapshot.links}
        found: list[Finding] = []
        for intent in view.host.ready:
            if intent.mac in view.without or intent.link.index not in names:
                continue
            if intent.mac in view.observed_only:
                continue  # what is not so there is no fault of ours
            if intent.mac in changed or intent.mac in failed:
                findings = self._by_backend(intent, view)
                if intent.mac in changed:
                    findings += self._by_kernel(intent, view, names, deadline)
                if findings and link_is_there(intent.link.index):  # else it went meanwhile
                    found += findings
        return tuple(found)

    def check(
        self, intent: EniIntent, view: View, names: dict[int, str], deadline: Deadline
    ) -> tuple[Finding, ...]:
        """What of one ENI is not so: by its backend, and by the kernel's answers."""
        return self._by_backend(intent, view) + self._by_kernel(intent, view, names, deadline)

    def _by_backend(self, intent: EniIntent, view: View) -> tuple[Finding, ...]:
        name = view.choices[intent.mac].backend
        try:
            texts = () if name is None else self.backends[name].check(intent, view.seen_by(name))
        except Ec2netError as error:
            texts = (str(error),)
        return tuple(Finding(intent.mac, text) for text in texts)

    def _by_kernel(
        self, intent: EniIntent, view: View, names: dict[int, str], deadline: Deadline
    ) -> tuple[Finding, ...]:
        enis = {link.index for eni in view.host.enis for link in eni.links}
        return verify.check(intent, self.kernel, names, deadline, enis=enis)

    def _remember(self, view: View, report: PassReport) -> tuple[Ec2netError, ...]:
        """Keep good facts for the boot, and what is held; what was refused is not good."""
        attached = {
            eni.mac: [link.index for link in eni.links] for eni in view.host.enis if eni.links
        }
        bad = {eni.mac for eni in view.host.enis if eni.standing is Standing.REFUSED}
        _, past = last_known.remembered(self.run, attached)
        good = tuple(
            past.get(eni.mac, unread(eni.mac, "refused")) if eni.mac in bad else eni
            for eni in view.facts.imds.enis
        )
        try:
            boot_enis.remember(self.run, view.host.links_since_boot)
            holds.remember(self.run, report.held, view.wanted, attached)
            last_known.remember(self.run, replace(view.facts.imds, enis=good), attached)
            if self._host is not None:
                self._host.journals.strike_out()
            per_eni.keep_only(self.run, attached)
            touched_links.keep_only(
                self.run, {link.name for eni in view.host.enis for link in eni.links}
            )
        except Ec2netError as error:
            return (error,)
        return ()


def _changes(eni: EniOutcome, plans: Mapping[str, Plan]) -> bool:
    return any(change.mac == eni.mac for plan in plans.values() for change in plan.changes)
