# SPDX-License-Identifier: Apache-2.0
"""The results of a pass's observation, and its conclusions, as data: shown, or settled by the
engine."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ec2net.core.decide.intent import EniIntent, HostIntent, Standing
from ec2net.core.decide.last_known import unread
from ec2net.core.decide.settled import identity
from ec2net.core.model.errors import Ec2netError, SharedTables
from ec2net.core.model.facts import Facts
from ec2net.core.model.fingerprint import fingerprint
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, KernelItem, LinkRef, LinkSetting
from ec2net.core.model.plan import Action, Change, Item, Plan, is_shared
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Goal, Observed
from ec2net.core.plugins.choose import Choice
from ec2net.core.runtime.remembered import Remembered
from ec2net.core.state import boot_enis, holds
from ec2net.core.state.boot_enis import AtBoot
from ec2net.core.state.drift_record import Record
from ec2net.core.state.holds import Hold
from ec2net.core.state.memory import Memory
from ec2net.core.state.pause import Pause


class Intended(dict[Mac, Remembered[int]]):
    """A checksum of each ENI's wanted items, by which a later process sees another intent.

    Quicker than all fingerprints, which are for passes that find it changed.
    """

    def of(self, mac: Mac, wanted: tuple[Item, ...]) -> int:
        return self.setdefault(mac, Remembered(_number))(wanted)

    def keep_only(self, attached: Collection[Mac]) -> None:
        """Forget ENIs that are gone."""
        for mac in self.keys() - set(attached):
            del self[mac]


def _number(wanted: tuple[Item, ...]) -> int:
    own = (item.describe() for item in wanted if not is_shared(item))
    return zlib.crc32("\n".join(sorted(own)).encode())


@dataclass(frozen=True, slots=True)
class View:
    """The results of one observation, and the plan that follows from them."""

    facts: Facts
    snapshot: Snapshot
    host: HostIntent
    choices: dict[Mac, Choice]
    plans: dict[str, Plan]
    """By backend."""
    wanted: Mapping[Mac, tuple[Item, ...]]
    """By ENI that is planned for, as its backend has it."""
    without: frozenset[Mac] = frozenset()
    """ENIs without an intent."""
    observed_only: frozenset[Mac] = frozenset()
    """ENIs with ``manage = "observe"``: in the plan, but never applied."""
    held: Mapping[Mac, Hold] = field(default_factory=dict)
    """ENIs whose changes are not applied: they were rolled back."""
    pause: Pause | None = None
    """An administrator's pause, if one is in force."""
    waiting: frozenset[Change] = frozenset()
    """The changes that are not made because of the pause."""
    problems: tuple[Ec2netError, ...] = ()
    warnings: tuple[SharedTables, ...] = ()
    """Other programs' use of numbers; nothing has failed."""
    requests: int = 0
    seen: Mapping[str, Observed] = field(default_factory=dict)
    """By backend that was asked."""
    memory: Memory = field(default_factory=Memory)
    """The facts that earlier passes stored."""
    intended: Intended = field(default_factory=Intended, compare=False)

    def seen_by(self, backend: str) -> Observed:
        """The backend's observations; empty without an observation."""
        return self.seen.get(backend, Observed(self.snapshot))

    def goals(self, backend: str) -> dict[Mac, Goal]:
        """The wanted items of one backend's planned ENIs."""
        return {
            intent.mac: Goal(intent, self.wanted[intent.mac])
            for intent in self.host.ready
            if intent.mac in self.wanted and self.choices[intent.mac].backend == backend
        }

    def fingerprint(self, mac: Mac) -> str | None:
        """Fingerprint of an ENI's intent; None without one.

        Which rules stand for those of its sources depends on other ENIs.
        """
        items = self.wanted.get(mac)
        if not items:
            return None
        outcome = self.host.of(mac)
        if outcome is not None and outcome.intent is not None and outcome.intent.made_rules:
            made = frozenset(outcome.intent.made_rules)
            items = (*(item for item in items if item not in made), *outcome.intent.rules)
        return fingerprint(self.choices[mac].backend, items)

    def applicable(self, not_ours: Collection[Mac]) -> dict[str, Plan]:
        """The plans to apply, by backend: without these ENIs, and first the plan with the primary's
        changes, in case the time does not suffice for all."""
        primary = {eni.mac for eni in self.host.ready if eni.primary}
        view = self.without_changes(self.waiting)
        plans = {name: plan.without(not_ours) for name, plan in view.plans.items()}
        return dict(
            sorted(
                plans.items(),
                key=lambda pair: not any(change.mac in primary for change in pair[1].changes),
            )
        )

    @property
    def plan(self) -> Plan:
        """All backends' plans in one."""
        return Plan(
            tuple(change for plan in self.plans.values() for change in plan.changes),
            tuple(conflict for plan in self.plans.values() for conflict in plan.conflicts),
        )

    @property
    def attached(self) -> dict[Mac, tuple[LinkRef, ...]]:
        """The ENIs that have links."""
        return {eni.mac: eni.links for eni in self.host.enis if eni.links}

    @property
    def boot(self) -> AtBoot | None:
        """Which ENIs are the boot's, as this pass decided it."""
        return boot_enis.after(self.memory.boot, self.host.links_since_boot)

    def without_changes(self, left_out: Collection[Change]) -> "View":
        """The same, but these changes are not made."""
        if not left_out:
            return self
        plans = {
            name: replace(plan, changes=tuple(c for c in plan.changes if c not in left_out))
            for name, plan in self.plans.items()
        }
        return replace(self, plans=plans)

    def with_holds(self) -> "View":
        """Without the changes of ENIs of which the same was rolled back before."""
        changing = {change.whose for change in self.plan.changes} - self.observed_only
        held = holds.in_force(self.memory.holds, self.fingerprint, changing)
        told = (held[eni.mac].problem(eni.name) for eni in self.host.enis if eni.mac in held)
        return replace(self, held=held, problems=(*self.problems, *told))

    def configured_as(
        self, attached: Mapping[Mac, Collection[int]], done: Collection[Change]
    ) -> dict[Mac, Mapping[str, str]]:
        """The identity by which each ENI is configured, after these changes."""
        before = self.memory.last_known.configured_as(attached)
        left: set[Mac | None] = set()
        if self.without:
            made = frozenset(done)
            left = {change.whose for change in self.plan.changes if change not in made}
        apart = self.observed_only | self.without
        now = {eni.mac: identity(eni) for eni in self.facts.imds.enis}
        for intent in self.host.ready:
            if intent.mac not in apart and intent.mac in now:
                before[intent.mac] = now[intent.mac]
        return {mac: one for mac, one in before.items() if mac in left or mac not in self.without}

    @property
    def waiting_for(self) -> frozenset[Mac | None]:
        """The ENIs of ``waiting``."""
        return frozenset(change.whose for change in self.waiting)

    def paused(self, pause: Pause | None, *, waits: bool) -> "View":
        """With the changes that wait for the end of ``pause``. ``remove`` does not wait."""
        if pause is None or not waits:
            return replace(self, pause=pause)
        made = self._of_the_boot() if not pause.since_boot else frozenset()
        waiting = frozenset(change for change in self.plan.changes if change not in made)
        return replace(self, pause=pause, waiting=waiting)

    def _of_the_boot(self) -> frozenset[Change]:
        """The changes of the primary ENI, with the rules that it shares with others, and of the others
        what a network manager would make."""
        intents = {intent.mac: intent for intent in self.host.ready}
        shared = {
            rule
            for intent in intents.values()
            for rule in (intent.made_rules if intent.primary else ())
            if rule.shared
        }
        return frozenset(
            change
            for change in self.plan.changes
            if change.action is not Action.REMOVE
            and (
                (intent.primary or _is_base(change.item, intent))
                if (intent := intents.get(change.whose or Mac(""))) is not None
                else change.item in shared
            )
        )

    def memory_after(
        self,
        held: Mapping[Mac, Hold],
        drifts: Mapping[Mac, Record],
        done: Collection[Change],
    ) -> Memory:
        """The facts that later passes need. The facts of a refused ENI are wrong, and not among
        them."""
        before = self.memory
        attached = {mac: [link.index for link in same] for mac, same in self.attached.items()}
        refused = {eni.mac for eni in self.host.enis if eni.standing is Standing.REFUSED}
        past = before.last_known.of(attached)
        good = tuple(
            past.get(eni.mac, unread(eni.mac, "refused")) if eni.mac in refused else eni
            for eni in self.facts.imds.enis
        )
        return Memory(
            before.last_known.after(
                replace(self.facts.imds, enis=good), attached, self.configured_as(attached, done)
            ),
            {**before.drift, **drifts},
            holds.after(before.holds, held, self.wanted, attached),
            self.boot,
        )


def _is_base(item: Item, intent: EniIntent) -> bool:
    """Whether it belongs to the first addresses, as a network manager configures them."""
    if isinstance(item, Address):
        return item.interface in intent.base
    return isinstance(item, LinkSetting) or not isinstance(item, KernelItem)
