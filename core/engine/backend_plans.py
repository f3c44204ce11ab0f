# SPDX-License-Identifier: Apache-2.0
"""The plan of each backend: which ENIs are its, what it sees, what it wants, and what it left behind.

Live objects carry one mark and settings one journal whichever backend made them, so an ENI that
changes its backend keeps them. Only what a single backend makes, such as files, is left over. Its
removal is a change of the ENI that it was for: the file of an ENI that is observed, ignored, refused
or held stays, and a roll-back brings a file back.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.decide.limits import within_limits
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Action, Change, Conflict, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Observed
from ec2net.core.plugins.choose import Choice, choose, unsupported, without_backend
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.engine")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The ENIs of a plan. ``only``: these, or all; ``without``: these have no intent.

    ``check`` is called between long computations, and may raise.
    """

    only: Collection[Mac] | None = None
    without: frozenset[Mac] = frozenset()
    check: Callable[[], None] = lambda: None

    def __contains__(self, mac: Mac) -> bool:
        return mac not in self.without and (self.only is None or mac in self.only)


Join: TypeAlias = Callable[[HostIntent, Collection[Mac]], HostIntent]


@dataclass(slots=True)
class BackendPlans:
    """The backends' observations and wanted items. ``host`` is without the ENIs that they leave
    unmanaged."""

    host: HostIntent
    plans: dict[str, Plan]
    """In the order in which they are applied."""
    seen: dict[str, Observed]
    wanted: dict[Mac, tuple[Item, ...]]
    problems: list[Ec2netError]


def chosen(
    host: HostIntent,
    links: Mapping[Mac, tuple[Link, ...]],
    backends: Mapping[str, GuardedBackend],
    environment: Environment,
) -> dict[Mac, Choice]:
    """The backend of each ENI that has a link."""
    kinds = {name: backend.kind for name, backend in backends.items()}
    choices = {}
    for eni in host.enis:
        if links.get(eni.mac):
            choices[eni.mac] = choose(eni.backend, links[eni.mac][0], kinds, environment)
            _log.debug("%s: backend %s", eni.name, choices[eni.mac])
    return choices


def planned(
    host: HostIntent,
    choices: Mapping[Mac, Choice],
    backends: Mapping[str, GuardedBackend],
    snapshot: Snapshot,
    which: Wanted,
    deadline: Deadline,
    join: Join = lambda host, _: host,
) -> BackendPlans:
    """A backend that fails costs its own plan, and is a problem.

    ``join`` completes the intents by their common part; it gets the ENIs that are planned for.
    """
    host, limited = within_limits(host, snapshot)
    made = BackendPlans(host, {}, {}, {}, [])
    for name, backend in backends.items():
        mine = _of(name, choices)
        if not mine and choices:
            continue
        which.check()
        try:
            _observe(made, name, backend, mine, snapshot, which, deadline)
        except Ec2netError as error:
            which.check()  # the time of the whole plan may be over, not the backend's alone
            made.problems.append(error)
    planned_for = {mac for mac in choices if choices[mac].backend in made.seen and mac in which}
    made.host = join(made.host, planned_for)
    for name in tuple(made.seen):
        which.check()
        try:
            _add(made, name, backends[name], _of(name, choices), which, limited)
        except Ec2netError as error:
            which.check()
            made.problems.append(error)
            del made.seen[name]
    which.check()
    made.problems += add_leftovers(backends, choices, {*made.wanted, *which.without}, made.plans)
    made.problems += without_backend(choices, made.host)
    return made


def _of(name: str, choices: Mapping[Mac, Choice]) -> set[Mac]:
    return {mac for mac, choice in choices.items() if choice.backend == name}


def _observe(
    made: BackendPlans,
    name: str,
    backend: GuardedBackend,
    mine: set[Mac],
    snapshot: Snapshot,
    which: Wanted,
    deadline: Deadline,
) -> None:
    """Raises ``Ec2netError`` when there is no plan of this backend."""
    links = [
        link
        for link in snapshot.links
        if link.mac in mine and link.mac is not None and made.host.of(link.mac) is not None
    ]
    seen = backend.observe(snapshot, links, deadline)
    made.host = made.host.without(seen.left_alone, Standing.IGNORED)
    made.host = made.host.without(seen.waiting, Standing.PENDING)
    made.problems += seen.problems
    made.seen[name] = seen


def _add(
    made: BackendPlans,
    name: str,
    backend: GuardedBackend,
    mine: set[Mac],
    which: Wanted,
    limited: Mapping[Mac, Conflict],
) -> None:
    """``limited``: conflicts with limits of devices.

    Raises ``Ec2netError`` when there is no plan of this backend.
    """
    seen = made.seen[name]
    ready = [eni for eni in made.host.ready if eni.mac in mine and eni.mac in which]
    made.problems += unsupported(backend.kind, ready)
    wanted = {eni.mac: backend.wanted(eni, made.host, seen) for eni in ready}
    which.check()
    plan = backend.planned(made.host, mine, wanted, seen.in_place, which.without)
    told = tuple(found for mac, found in limited.items() if mac in wanted)
    made.plans[name] = replace(plan, conflicts=(*plan.conflicts, *told))
    made.wanted |= wanted


def add_leftovers(
    backends: Mapping[str, GuardedBackend],
    choices: Mapping[Mac, Choice],
    planned: Collection[Mac],
    plans: dict[str, Plan],
) -> Iterator[Ec2netError]:
    """Plan the end of a backend's items for ENIs that now have another backend, after everything
    else.

    The items of an ENI that is not among ``planned`` stay, since no other backend has created its
    own yet. Those of an ENI without any backend stay, too: its network manager may return.
    """
    successors = {mac: choices[mac].backend for mac in planned if mac in choices}
    for name, backend in backends.items():
        mine = _of(name, choices)
        taken = {mac for mac, other in successors.items() if other is not None} - mine
        if not taken:
            continue
        try:
            left = backend.leftovers(taken, mine)
        except Ec2netError as error:
            yield error
            continue
        if left:
            removals = tuple(Change(Action.REMOVE, item, None) for item in left)
            plan = plans.pop(name, Plan())
            plans[name] = replace(plan, changes=(*plan.changes, *removals))
