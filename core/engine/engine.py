# SPDX-License-Identifier: Apache-2.0
"""One pass: observe, compute, plan, apply, verify, remember.

``Engine.plan`` changes nothing and is what the commands ``plan``, ``verify`` and ``explain`` show;
``Engine.apply`` makes it so. Both get a deadline and end by it.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

from ec2net.core.config.settings import Config, Manage
from ec2net.core.decide.candidate import eni_links
from ec2net.core.decide.compute import compute
from ec2net.core.decide.copies import copied
from ec2net.core.decide.corrections import corrected
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent
from ec2net.core.decide.ipv6_router import other_routers
from ec2net.core.decide.main import Main
from ec2net.core.decide.main_table import MainTable, known_subnets
from ec2net.core.decide.routing import IPV6_GATEWAY
from ec2net.core.decide.rule_tree import planted, tree_rules
from ec2net.core.decide.settled import mistaken
from ec2net.core.decide.shared_tables import shared_tables
from ec2net.core.engine import drift, rivals, verify
from ec2net.core.engine.backend_plans import Wanted, chosen, planned
from ec2net.core.engine.imds_reading import ImdsReading, indices, read_imds
from ec2net.core.engine.pass_plan import Intended, View
from ec2net.core.engine.reachability import Reachability
from ec2net.core.engine.rollback import Trial
from ec2net.core.engine.router_check import found_routers
from ec2net.core.engine.second_plan import followers, planned_again, together, uncorrected
from ec2net.core.engine.surroundings import Surroundings, surroundings
from ec2net.core.engine.verified import Verified
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import elsewhere
from ec2net.core.imds.source import Imds
from ec2net.core.kernel.link_events import link_is_there
from ec2net.core.kernel.session import NOT_ASKED, Asked, Kernel
from ec2net.core.kernel.sysctl import read_number
from ec2net.core.live.observe import snapshot_of
from ec2net.core.model.errors import DeadlineExceeded, DoubleManagement, Ec2netError, KernelError
from ec2net.core.model.facts import Facts, ImdsFacts, Link, Reading, Unknown, Value
from ec2net.core.model.finding import Finding
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import Rule
from ec2net.core.model.plan import Applied, Change, Plan, is_optional
from ec2net.core.model.problem_code import code_of
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import PATIENCE, Backend, Host
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.plugins.loaded import BUILT_IN, Plugins
from ec2net.core.plugins.report import PassReport, addresses_there
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.remembered import Remembered
from ec2net.core.state import boot_enis, last_known, memory, touched_links
from ec2net.core.state.drift_record import Record
from ec2net.core.state.last_known import LastKnown
from ec2net.core.state.memory import Memory
from ec2net.core.state.pause import read_safely
from ec2net.core.state.run_dir import RunDir

_log = logging.getLogger("ec2net.engine")


IMDS_SHARE = 0.6
"""Share of the remaining time of a pass: reading must leave the time that applying needs."""


@dataclass(slots=True)
class Engine:
    """The parts that passes share. ``imds`` may be None: then ec2net uses the last known facts."""

    config: Config
    run: RunDir
    kernel: Kernel
    imds: Imds | None
    plugins: Plugins
    environment: Environment = field(default_factory=Environment)
    listings: dict[Mac, frozenset[str]] | None = None
    """For the daemon, which reads the listings of keys apart (``reader.Listings``)."""
    guard: Callable[[Backend, bool], GuardedBackend] = GuardedBackend.trusting
    """How backends are called; the second argument tells those of this project."""
    patience: float = PATIENCE
    """Seconds: ``Host.patience``."""
    after_changes: Callable[[View, tuple[Change, ...]], None] | None = None
    """Called in a pass after its changes, before it verifies them: a boot may go on then."""
    pause_file: Path | None = None
    """Where a pause is recorded, read for each plan; None: without one, as for a record."""
    _host: Host | None = field(default=None, init=False)
    _backends: dict[str, GuardedBackend] = field(default_factory=dict, init=False)
    _routers: Mapping[Mac, IPv6Address] = field(default_factory=dict, init=False)
    _computed: tuple[Facts, HostIntent] | None = field(default=None, init=False)
    _listed: Reading[tuple[Mac, ...]] = field(default=Unknown("IMDS was not asked"), init=False)
    """The last listing of MACs: a pass that does not ask IMDS still knows ENIs without a link."""
    _there: Remembered[dict[Mac, int]] = field(
        default_factory=lambda: Remembered(addresses_there), init=False
    )
    _intended: Intended = field(default_factory=Intended, init=False)
    _tree_rules: Remembered[tuple[tuple[Rule, ...], ...]] = field(
        default_factory=lambda: Remembered(tree_rules), init=False
    )
    verified: Verified = field(default_factory=Verified, init=False)

    def new_pass(self) -> None:
        """Begin another round of IMDS reading with the same connection and token."""
        if self.imds is not None:
            self.imds.new_pass()

    def close(self) -> None:
        """End the backends' conversations."""
        for backend in self._backends.values():
            with suppress(Ec2netError):  # for example a plugin that hangs
                backend.close()

    def primary(self, deadline: Deadline) -> Mac | None:
        """The primary's MAC: remembered, else asked for. Raises ``ImdsError``."""
        known = last_known.read(self.run).primary
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
        check: Collection[Mac] | None = (),
        confirm: bool = False,
        reading: ImdsReading,
    ) -> PassReport:
        """Plan and apply, for some ENIs twice. The caller holds the host lock. ``confirm``: as
        ``one_pass`` has it."""
        began = time.monotonic() - reading.seconds
        self.run.discard_leftovers()
        view = self.plan(deadline, only, without=without, reading=reading)
        if confirm:
            view = view.without_changes(drift.unconfirmed(view))
        report = self.apply(view, deadline, check=check)
        again = planned_again(view, report)
        if not without:
            again |= uncorrected(view) | self._rerouted(view, report)
        again -= view.observed_only | report.held.keys()
        if again:
            report = self._once_more(view, report, again, reading, deadline.shielded())
        report = replace(report, occasion=deadline.what, seconds=time.monotonic() - began)
        self.plugins.pass_finished(report)
        return report

    def _rerouted(self, view: View, report: PassReport) -> frozenset[Mac]:
        """The ENIs that routes concern which network managers added to main meanwhile."""
        if not report.done:
            return frozenset()
        asked = _asked(view.facts.imds)
        try:
            after = snapshot_of(self.kernel, self.config.drivers, self.run, asked)
        except KernelError:
            return frozenset()  # the next pass reads them
        return followers(view, after, self.config.numbers.protocol)

    def _once_more(
        self,
        view: View,
        report: PassReport,
        macs: frozenset[Mac],
        reading: ImdsReading,
        deadline: Deadline,
    ) -> PassReport:
        """The report with what a second plan for ``macs`` did. Without time the next pass makes it."""
        reading = replace(reading, known=last_known.read(self.run))
        try:
            after = self.plan(
                deadline, macs, without=view.without, reading=reading, attached=view.facts.attached
            )
            return together(report, self.apply(after, deadline), macs)
        except DeadlineExceeded:
            return report
        except Ec2netError as error:
            return replace(report, problems=(*report.problems, error))

    def read_imds(self, deadline: Deadline, only: Collection[Mac] | None = None) -> ImdsReading:
        """Read IMDS for a pass. This may take long, so it happens before the host lock.

        With no ENI in ``only`` it is not asked: the last known facts stay in force.
        """
        known, drivers = last_known.read(self.run), self.config.drivers
        links = known.with_silent_enis(self.kernel.links(), drivers)
        return self._read_imds(known, eni_links(links, drivers), only, deadline)

    def plan(
        self,
        deadline: Deadline,
        only: Collection[Mac] | None = None,
        *,
        without: frozenset[Mac] = frozenset(),
        snapshot: Snapshot | None = None,
        reading: ImdsReading | None = None,
        attached: Mapping[Mac, Attached] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> View:
        """Observe, compute and plan. ``only``: plan for these ENIs, the others as last known.

        ``without``: ENIs without an intent (``remove``). ``reading``: the result of ``read_imds``;
        without it IMDS is read now. ``attached``: when each ENI was attached; None: as remembered.
        ``check`` is called between long computations, and may raise.
        """
        before, drivers = Memory.read(self.run), self.config.drivers
        if reading is None and snapshot is None:
            reading = self.read_imds(deadline, only)
        asked = NOT_ASKED if reading is None else _asked(reading.facts)
        seen = snapshot or snapshot_of(self.kernel, drivers, self.run, asked)
        there = before.last_known.with_silent_enis(seen.links, drivers)
        seen = seen if there == seen.links else replace(seen, links=there)
        links = eni_links(there, drivers)
        if reading is not None:
            reading = reading.still_true(before.last_known, links)
        reading = reading or self._read_imds(before.last_known, links, only, deadline)
        if attached is None:
            attached = boot_enis.when_attached(before.boot, links, time.monotonic())
        environment = self._environment(links)
        routers = self._ipv6_routers(seen, links, recorded=snapshot is not None)
        facts = Facts(reading.facts, there, attached, elsewhere(links, environment), routers)
        which = Wanted(only, without, check)
        view = self._planned(facts, seen, links, environment, which, before, deadline)
        pause, broken = read_safely(self.pause_file)
        problems = (*reading.problems, *([broken] if broken else ()), *view.problems)
        view = replace(view, memory=before, problems=problems, requests=reading.requests)
        return view.with_holds().paused(pause, waits=not without)

    def _ipv6_routers(
        self, snapshot: Snapshot, links: Mapping[Mac, tuple[Link, ...]], *, recorded: bool
    ) -> Mapping[Mac, IPv6Address]:
        protocol = self.config.numbers.protocol
        if recorded:
            return other_routers(snapshot, links, protocol, lambda _: None)
        routers = found_routers(snapshot, links, protocol)
        for mac in routers.keys() - self._routers.keys():
            _log.info(
                "%s: EC2's IPv6 router %s does not answer, so IPv6 traffic uses %s, which advertises itself",
                links[mac][0].name,
                IPV6_GATEWAY,
                routers[mac],
            )
        self._routers = routers
        return routers

    def _planned(
        self,
        facts: Facts,
        snapshot: Snapshot,
        links: Mapping[Mac, tuple[Link, ...]],
        environment: Environment,
        which: Wanted,
        before: Memory,
        deadline: Deadline,
    ) -> View:
        """The intents that follow from the facts, and the plans of the backends."""
        which.check()
        host = self._intents(facts, which.check)
        which.check()
        choices = chosen(host, links, self.backends, environment)
        doubled: tuple[DoubleManagement, ...] = ()
        if not which.without:  # removing former items is no double management
            host, choices, doubled = rivals.refuse(host, choices, environment)
        configured_as = before.last_known.configured_as(indices(links))
        wrongly = mistaken(host, facts.imds.enis, configured_as)
        which = replace(which, without=which.without | wrongly)
        join = partial(self._with_main, facts, snapshot, before.holds)
        made = planned(host, choices, self.backends, snapshot, which, deadline, join)
        watched = frozenset(e.mac for e in made.host.ready if e.manage is Manage.OBSERVE)
        return View(
            facts,
            snapshot,
            made.host,
            choices,
            made.plans,
            made.wanted,
            which.without,
            watched - which.without,  # former items are removed, whatever the policy
            seen=made.seen,
            problems=(*self.plugins.problems, *doubled, *made.problems),
            warnings=shared_tables(made.host, snapshot, self.config.numbers, watched),
            intended=self._intended,
        )

    def _with_main(
        self,
        facts: Facts,
        snapshot: Snapshot,
        held: Collection[Mac],
        host: HostIntent,
        planned_for: Collection[Mac],
    ) -> HostIntent:
        """``host`` with what follows from the main table, and from the rules in the kernel."""
        main = Main(snapshot, self.config.numbers, {mac for mac in planned_for if mac not in held})
        host = corrected(copied(MainTable(facts, main).joined(host), main), main)
        return planted(host, snapshot, self.config.numbers, self._tree_rules)

    def apply(
        self, view: View, deadline: Deadline, *, check: Collection[Mac] | None = ()
    ) -> PassReport:
        """Apply what ``view`` planned, verify it, remember what is good.

        ``check``: ENIs to verify even if nothing of them was changed; None: all.
        """
        check = [intent.mac for intent in view.host.ready] if check is None else check
        not_ours = view.observed_only | view.held.keys()
        plans = view.applicable(not_ours)
        report = PassReport(
            view.host,
            view.plan,
            {mac: choice.backend for mac, choice in view.choices.items()},
            problems=view.problems,
            warnings=view.warnings,
            requests=view.requests,
            held=view.held,
            pause=view.pause,
            waiting=view.waiting,
        )
        trial, after = None, view.snapshot
        if any(plans.values()):
            trial = self._prepare(view, plans, report, deadline)
            applied = self._apply_plans(view, plans, deadline.shielded())
            report = replace(report, done=applied.done, failed=applied.failed)
        if self.after_changes is not None:
            self.after_changes(view, report.done)
        if any(plans.values()) or check:
            after, report = self._verified(view, report, check, deadline.shielded())
        if trial is not None:
            apply, seconds = partial(self._apply_plans, view), self.config.timeouts.pass_
            report = trial.end(plans, report, apply, view.fingerprint, seconds)
        return self._finish(view, report, after)

    def _prepare(
        self, view: View, plans: Mapping[str, Plan], report: PassReport, deadline: Deadline
    ) -> Trial:
        """Measure what can be reached, and write what must survive a kill of the apply.

        Raises what interrupts the deadline, and ``StateError``.
        """
        ways = Reachability(self.kernel, self.imds)
        trial = Trial.start(self.run, ways, view.host, self.config.rollback_after, deadline)
        boot_enis.write(self.run, view.boot)
        for name in {eni.name for eni in view.host.enis if eni.link and _changes(eni, plans)}:
            touched_links.mark(self.run, name)
        if deadline.expired():
            self._remember(view, report, {})  # the facts of IMDS are not read again
        deadline.check()  # the last moment at which SIGTERM or a removed link can stop the pass
        return trial

    def _verified(
        self, view: View, report: PassReport, check: Collection[Mac], deadline: Deadline
    ) -> tuple[Snapshot, PassReport]:
        """The host after the changes, and the report with what is wrong of it."""
        failed = {f.change.mac for f in report.failed if not is_optional(f.change.item)}
        changed = {*(change.mac for change in report.done), *check} - failed
        after = view.snapshot
        try:
            if report.done or report.failed:
                after = snapshot_of(self.kernel, self.config.drivers, self.run)
            findings = self._verify(view, after, changed, failed, deadline)
        except Ec2netError as error:  # completed changes are stored and reported all the same
            return after, replace(report, problems=(*report.problems, error))
        return after, replace(report, findings=findings)

    def _finish(self, view: View, report: PassReport, after: Snapshot) -> PassReport:
        """Notice drift, remember what is good, and report the pass."""
        environment = self._environment(eni_links(view.snapshot.links, self.config.drivers))
        back = {change.mac for change in report.undone} | report.held.keys() | view.waiting_for
        drifts, records = drift.follow(view, report.done, back, environment)
        problems = (*report.problems, *self._remember(view, report, records))
        self._intended.keep_only(view.attached)
        there = self._there(view.host, view.snapshot if report.undone else after)
        return replace(report, drifts=drifts, there=there, problems=problems)

    def _read_imds(
        self,
        known: LastKnown,
        links: Mapping[Mac, tuple[Link, ...]],
        only: Collection[Mac] | None,
        deadline: Deadline,
    ) -> ImdsReading:
        share = deadline.within(deadline.remaining() * IMDS_SHARE, "reading IMDS")
        reading = read_imds(self.imds, known, links, only, share, self.listings)
        listed = reading.imds.listed
        if isinstance(listed, Value):
            self._listed = Value(listed.value, stale=True)
            return reading
        return replace(reading, imds=replace(reading.imds, listed=self._listed))

    def _intents(self, facts: Facts, check: Callable[[], None]) -> HostIntent:
        # compute is pure, and on a quiet host the facts are the same pass after pass.
        if self._computed is None or self._computed[0] != facts:
            before = self._computed[1].enis if self._computed is not None else ()
            self._computed = (facts, compute(facts, self.config, check, before))
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
        self.verified.begin(view.facts, view.host, snapshot)
        there = {link.index for link in snapshot.links}
        around: Surroundings | None = None
        found: list[Finding] = []
        for intent in view.host.ready:
            if intent.mac in view.without or intent.link.index not in there:
                continue
            if intent.mac in view.observed_only or intent.mac in view.waiting_for:
                continue  # ec2net is not the cause of differences there
            if intent.mac in changed or intent.mac in failed:
                findings = self._by_backend(intent, view)
                if intent.mac in changed and self._has_ways_to_look_up(intent):
                    around = around or self.surroundings(view, snapshot)
                    findings += self._by_kernel(intent, around, deadline)
                # otherwise the ENI was detached meanwhile
                if findings and link_is_there(intent.link.index):
                    found += findings
        return tuple(found)

    def _has_ways_to_look_up(self, intent: EniIntent) -> bool:
        forwards = intent.prefixes or intent.routed or intent.configured_sources
        return bool(forwards) or intent not in self.verified

    def _by_kernel(
        self, intent: EniIntent, around: Surroundings, deadline: Deadline
    ) -> tuple[Finding, ...]:
        known = intent in self.verified
        found = verify.check(intent, self.kernel, around, deadline, forwarded_alone=known)
        self.verified.note(intent, right=not found)
        return found

    def check(
        self, intent: EniIntent, view: View, around: Surroundings, deadline: Deadline
    ) -> tuple[Finding, ...]:
        """The differences of one ENI: by its backend, and by the kernel's answers."""
        by_kernel = verify.check(intent, self.kernel, around, deadline)
        return self._by_backend(intent, view) + by_kernel

    def surroundings(self, view: View, snapshot: Snapshot | None = None) -> Surroundings:
        """The state of the host, for ``check``."""
        forwards = frozenset(
            version
            for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding"))
            if read_number(name) == 1
        )
        seen = snapshot or view.snapshot
        return surroundings(view.facts, view.host, seen, self.kernel.protocol, forwards)

    def _by_backend(self, intent: EniIntent, view: View) -> tuple[Finding, ...]:
        name = view.choices[intent.mac].backend
        try:
            texts = () if name is None else self.backends[name].check(intent, view.seen_by(name))
        except Ec2netError as error:
            return (Finding(intent.mac, str(error), code_of(error)),)
        return tuple(Finding(intent.mac, text) for text in texts)

    def _remember(
        self, view: View, report: PassReport, drifts: Mapping[Mac, Record]
    ) -> tuple[Ec2netError, ...]:
        """Write what later passes need, and forget ENIs that are gone."""
        try:
            after = view.memory_after(report.held, drifts, report.done)
            after.write(self.run, view.memory)
            if self._host is not None:
                self._host.journals.strike_out()
            memory.keep_only(self.run, view.attached)
        except Ec2netError as error:
            return (error,)
        return ()


def _changes(eni: EniOutcome, plans: Mapping[str, Plan]) -> bool:
    return any(change.mac == eni.mac for plan in plans.values() for change in plan.changes)


def _asked(facts: ImdsFacts) -> Asked:
    primary = facts.primary
    return Asked(known_subnets(facts.enis), primary.value if isinstance(primary, Value) else None)
