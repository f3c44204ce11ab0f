# SPDX-License-Identifier: Apache-2.0
"""One pass: observe, compute, plan, apply, verify, remember.

``look`` changes nothing and is what ``plan``, ``verify`` and ``explain`` show; ``settle`` makes
it so. Both get a deadline and end by it.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from ec2net.core import begun, handover, hold, lastgood, verify
from ec2net.core.backend import PATIENCE, Applied, Backend, Host
from ec2net.core.backend_guard import GuardedBackend
from ec2net.core.choose import Choice, choose, without_backend
from ec2net.core.compute import compute, early_intent, eni_links, identity
from ec2net.core.config import AUTO_BACKEND, Config, EniIdentity, Manage
from ec2net.core.deadline import Deadline
from ec2net.core.environment import Environment
from ec2net.core.errors import Ec2netError, ImdsError, LinkGone, Stopped
from ec2net.core.facts import Facts, ImdsFacts, Link, Unknown, Value
from ec2net.core.identity import Mac
from ec2net.core.imds.source import Imds
from ec2net.core.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.kernel.link_events import link_is_there
from ec2net.core.kernel.objects import LinkRef
from ec2net.core.kernel.session import Kernel
from ec2net.core.kernel.snapshot import Snapshot
from ec2net.core.ownership import plan_for
from ec2net.core.plan import Item, Plan
from ec2net.core.plugins import BUILT_IN, Plugins
from ec2net.core.reachability import Reachability
from ec2net.core.report import PassReport
from ec2net.core.rollback import Trial
from ec2net.core.state import RunDir
from ec2net.core.view import View

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
    _backends: dict[str, GuardedBackend] = field(default_factory=dict, init=False)

    def new_pass(self) -> None:
        """Begin another round of IMDS reading with the same connection and token."""
        if self.imds is not None:
            self.imds.new_pass()

    def close(self) -> None:
        """End the backends' conversations."""
        for backend in self._backends.values():
            backend.close()

    def prepare(self, mac: Mac, deadline: Deadline) -> None:
        """Begin with an ENI whose link just appeared: what needs no IMDS, if the primary is known.

        The caller holds the host lock.
        """
        links = eni_links(self.kernel.links(), self.config.drivers)
        primary, _ = lastgood.remembered(self.run, {})
        if primary is None or len(links.get(mac, ())) != 1:
            return
        link = links[mac][0]
        known = EniIdentity(mac, link_name=link.name, is_primary=mac == primary)
        settings = self.config.for_eni(known)
        if settings.manage in (Manage.IGNORE, Manage.OBSERVE):
            return
        kinds = {name: backend.kind for name, backend in self.backends.items()}
        choice = choose(settings.backend, link, kinds, self._environment(links))
        if choice.backend is not None:
            early = early_intent(
                mac,
                LinkRef(link.index, link.name),
                mac == primary,
                settings,
                self.config.numbers,
            )
            begun.begin(self.run, link.name)
            try:
                self.backends[choice.backend].prepare(early, link, deadline)
            except (LinkGone, Stopped):
                raise
            except Ec2netError as error:
                _log.warning("%s: the first step failed, the pass goes on: %s", link.name, error)

    def primary(self, deadline: Deadline) -> Mac | None:
        """The primary's MAC: remembered, else asked for. Raises ``ImdsError``."""
        known, _ = lastgood.remembered(self.run, {})
        if known is None and self.imds is not None:
            from ec2net.core.imds.reader import read_primary

            reading = read_primary(self.imds, deadline)
            known = reading.value if isinstance(reading, Value) else None
        return known

    def run_pass(
        self,
        deadline: Deadline,
        only: Collection[Mac] | None = None,
        *,
        check: Collection[Mac] = (),
        ask: bool = True,
    ) -> PassReport:
        """Look and settle. The caller holds the host lock."""
        self.run.discard_leftovers()
        return self.settle(self.look(deadline, only, ask=ask), deadline, check=check)

    def look(
        self,
        deadline: Deadline,
        only: Collection[Mac] | None = None,
        *,
        without: frozenset[Mac] = frozenset(),
        snapshot: Snapshot | None = None,
        ask: bool = True,
    ) -> View:
        """Observe, compute and plan. ``only``: plan for these ENIs, the others as last known.

        ``without``: ENIs that nothing is wanted of (``remove``). ``ask``: read IMDS; else what
        was last known of it stands.
        """
        snapshot = self._with_silent_enis(snapshot or self.kernel.snapshot(self.config.drivers))
        links = eni_links(snapshot.links, self.config.drivers)
        imds, problems, requests = self._read_imds(links, only if ask else (), deadline)
        facts = Facts(imds, snapshot.links)
        host = self._intents(facts)
        choices = self._choose(host, links, facts)
        host, plans, wanted, failures = self._plans(
            host, choices, snapshot, deadline, only, without
        )
        observed = frozenset(eni.mac for eni in host.ready if eni.manage is Manage.OBSERVE)
        problems = (*problems, *failures)
        view = View(
            facts, snapshot, host, choices, plans, wanted, without, observed, {}, problems, requests
        )
        changing = {change.mac for change in view.plan.changes} - observed
        held = hold.in_force(self.run, view.fingerprint, changing)
        problems += tuple(held[eni.mac].problem(eni) for eni in host.enis if eni.mac in held)
        return replace(view, held=held, problems=problems)

    def _with_silent_enis(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot`` with known ENIs as such whose driver cannot be asked just now.

        A device in a reset does not answer; taken for gone, all of it would be removed.
        """
        links = tuple(
            replace(link, driver=self.config.drivers[0])
            if not link.driver and lastgood.was_eni(self.run, link)
            else link
            for link in snapshot.links
        )
        return snapshot if links == snapshot.links else replace(snapshot, links=links)

    def settle(self, view: View, deadline: Deadline, *, check: Collection[Mac] = ()) -> PassReport:
        """Apply what ``view`` planned, verify it, remember what is good.

        ``check``: ENIs to verify even if nothing of them was changed.
        """
        not_ours = view.observed_only | view.held.keys()
        plans = {name: plan.without(not_ours) for name, plan in view.plans.items()}
        report = PassReport(
            view.host,
            view.plan,
            {mac: choice.backend for mac, choice in view.choices.items()},
            problems=view.problems,
            requests=view.requests,
            held=view.held,
        )
        trial: Trial | None = None
        if any(plans.values()):
            ways = Reachability(self.kernel, self.imds)
            trial = Trial.begin(self.run, ways, view.host, self.config.rollback_after, deadline)
            for name in {eni.name for eni in view.host.enis if eni.link and _changes(eni, plans)}:
                begun.begin(self.run, name)
            deadline.check()  # the last moment for SIGTERM or a gone link to stop it
            applied = self._apply(plans, deadline.shielded())
            report = replace(report, done=applied.done, failed=applied.failed)
        if any(plans.values()) or check:
            changed = {*(change.mac for change in report.done), *check}
            changed -= {failure.change.mac for failure in report.failed}
            try:
                findings = self._verify(view, changed, deadline.shielded())
                report = replace(report, findings=findings)
            except Ec2netError as error:  # what was done is remembered and told all the same
                report = replace(report, problems=(*report.problems, error))
        if trial is not None:
            seconds = self.config.timeouts.pass_
            report = trial.end(plans, report, self._apply, view.fingerprint, seconds)
        report = replace(report, problems=(*report.problems, *self._remember(view, report)))
        self.plugins.pass_finished(report)
        return report

    def _read_imds(
        self,
        links: Mapping[Mac, tuple[Link, ...]],
        only: Collection[Mac] | None,
        deadline: Deadline,
    ) -> tuple[ImdsFacts, tuple[Ec2netError, ...], int]:
        indices = {mac: same[0].index for mac, same in links.items()}
        primary, past = lastgood.remembered(self.run, indices)
        wanted = set(links) if only is None else set(only) & set(links)
        imds = ImdsFacts(Unknown("IMDS was not asked"), Unknown("IMDS was not asked"), ())
        problems: tuple[Ec2netError, ...] = ()
        requests = 0
        if self.imds is not None and (wanted or only is None):
            from ec2net.core.imds.reader import read_facts
            from ec2net.core.imds.unread import unread

            share = deadline.within(deadline.remaining() * IMDS_SHARE, "reading IMDS")
            before = self.imds.requests_made
            try:
                imds = read_facts(self.imds, wanted, past, primary, share, self.listings)
            except ImdsError as error:
                problems = (error,)
                unknown = Unknown(error.problem)
                imds = ImdsFacts(unknown, unknown, ())
            else:
                problems = unread(imds)
            requests = self.imds.requests_made - before
        return lastgood.with_last_known_good(imds, past, primary), problems, requests

    def _intents(self, facts: Facts) -> HostIntent:
        host = compute(facts, self.config)
        adjusted = tuple(
            replace(eni, intent=self.plugins.adjust(eni.intent, facts)) if eni.intent else eni
            for eni in host.enis
        )
        for eni in adjusted:
            _log.debug("%s: %s%s", eni.name, eni.standing.value, eni.reason and f": {eni.reason}")
        return replace(host, enis=adjusted)

    @property
    def backends(self) -> Mapping[str, GuardedBackend]:
        """The backends that the configuration can mean, made once."""
        if not self._backends:
            names = {self.config.eni.backend, *(s.settings.backend for s in self.config.sections)}
            for name in sorted(name for name in names if name not in (None, AUTO_BACKEND)):
                self.plugins.load(str(name))
            host = Host(self.kernel, self.run, self.environment, self.patience)
            self._backends = {
                name: self.guard(kind(host), name in BUILT_IN)
                for name, kind in self.plugins.backends().items()
            }
        return self._backends

    def _choose(
        self, host: HostIntent, links: Mapping[Mac, tuple[Link, ...]], facts: Facts
    ) -> dict[Mac, Choice]:
        kinds = {name: backend.kind for name, backend in self.backends.items()}
        environment = self._environment(links)
        known = {eni.mac: eni for eni in facts.imds.enis}
        choices = {}
        for eni in host.enis:
            if not links.get(eni.mac):
                continue
            link = links[eni.mac][0]
            settings = self.config.for_eni(identity(eni, known.get(eni.mac), links[eni.mac]))
            choices[eni.mac] = choose(settings.backend, link, kinds, environment)
            _log.debug("%s: backend %s", eni.name, choices[eni.mac])
        return choices

    def _environment(self, links: Mapping[Mac, tuple[Link, ...]]) -> Environment:
        return replace(self.environment, eni_links=tuple(same[0] for same in links.values()))

    def _plans(
        self,
        host: HostIntent,
        choices: Mapping[Mac, Choice],
        snapshot: Snapshot,
        deadline: Deadline,
        only: Collection[Mac] | None,
        without: frozenset[Mac],
    ) -> tuple[HostIntent, dict[str, Plan], dict[Mac, tuple[Item, ...]], tuple[Ec2netError, ...]]:
        """The plans by backend, in the order in which they are applied; ``host`` as it is then."""
        plans: dict[str, Plan] = {}
        all_wanted: dict[Mac, tuple[Item, ...]] = {}
        problems: list[Ec2netError] = []
        links = [
            link
            for link in snapshot.links
            if link.mac is not None and host.of(link.mac) is not None
        ]
        for name, backend in self.backends.items():
            mine = {mac for mac, choice in choices.items() if choice.backend == name}
            if not mine and choices:
                continue
            try:
                found = backend.observe(
                    snapshot, [link for link in links if link.mac in mine], deadline
                )
                remarks = backend.remarks()
                host = host.without(remarks.left_alone, Standing.IGNORED)
                host = host.without(remarks.waiting, Standing.PENDING)
                problems += remarks.problems
                wanted = {
                    eni.mac: backend.wanted(eni, host, snapshot)
                    for eni in host.ready
                    if eni.mac in mine
                    and eni.mac not in without
                    and (only is None or eni.mac in only)
                }
            except Ec2netError as error:
                problems.append(error)
                continue
            plans[name] = plan_for(host, mine, wanted, found, without)
            all_wanted |= wanted
        problems += handover.add_leftovers(self.backends, choices, plans)
        problems += without_backend(choices, host)
        return host, plans, all_wanted, tuple(problems)

    def _apply(self, plans: Mapping[str, Plan], deadline: Deadline) -> Applied:
        done: list[Applied] = []
        for name, plan in plans.items():
            if plan:
                done.append(self.backends[name].apply(plan, deadline))
        return Applied(
            tuple(change for applied in done for change in applied.done),
            tuple(failure for applied in done for failure in applied.failed),
        )

    def _verify(
        self, view: View, changed: Collection[Mac | None], deadline: Deadline
    ) -> tuple[verify.Finding, ...]:
        """Look again at the ENIs that were changed (without an error)."""
        snapshot = self.kernel.snapshot(self.config.drivers)
        names = {link.index: link.name for link in snapshot.links}
        found: list[verify.Finding] = []
        for intent in view.host.ready:
            wanted = intent.mac in changed and intent.mac not in view.without
            if wanted and intent.link.index in names:
                findings = self.check(intent, view, names, deadline)
                if findings and link_is_there(intent.link.index):  # else it went meanwhile
                    found += findings
        return tuple(found)

    def check(
        self, intent: EniIntent, view: View, names: dict[int, str], deadline: Deadline
    ) -> tuple[verify.Finding, ...]:
        """What of one ENI is not so: by its backend, and by the kernel's answers."""
        name = view.choices[intent.mac].backend
        try:
            texts = self.backends[name].check(intent) if name is not None else ()
        except Ec2netError as error:
            texts = (str(error),)
        own = tuple(verify.Finding(intent.mac, text) for text in texts)
        enis = {eni.link.index for eni in view.host.enis if eni.link is not None}
        return (*own, *verify.check(intent, self.kernel, names, deadline, enis=enis))

    def _remember(self, view: View, report: PassReport) -> tuple[Ec2netError, ...]:
        """Keep good facts for the boot, and what is held; what was refused is not good."""
        attached = {eni.mac: eni.link.index for eni in view.host.enis if eni.link is not None}
        bad = {eni.mac for eni in view.host.enis if eni.standing is Standing.REFUSED}
        _, past = lastgood.remembered(self.run, attached)
        good = tuple(
            past.get(eni.mac, lastgood.unread(eni.mac, "refused")) if eni.mac in bad else eni
            for eni in view.facts.imds.enis
        )
        try:
            hold.remember(self.run, report.held, view.wanted, attached)
            lastgood.remember(self.run, replace(view.facts.imds, enis=good), attached)
            for name in view.plans:
                self.backends[name].forget(tuple(attached))
            begun.keep_only(self.run, {eni.link.name for eni in view.host.enis if eni.link})
        except Ec2netError as error:
            return (error,)
        return ()


def _changes(eni: EniOutcome, plans: Mapping[str, Plan]) -> bool:
    return any(change.mac == eni.mac for plan in plans.values() for change in plan.changes)
