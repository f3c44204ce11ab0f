# SPDX-License-Identifier: Apache-2.0
"""The plan: what is wanted against what is in place, as data. Pure.

It is generic over items (kernel objects, a backend's files): an item has an ``identity``, a
``rank`` and a description. Only items that are marked ours are ever replaced or removed; a
foreign item that does the same counts as in place, one that stands in the way is a problem.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, runtime_checkable

from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, Rank, Route


class Item(Protocol):
    """Something that can be in place. Equal items are the same thing in the same state."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What it is told apart by: one identity can be in place once."""

    @property
    def rank(self) -> Rank:
        """Its place in the order of additions."""

    def describe(self) -> str:
        """One line, in the words of the tool that people would use."""


@runtime_checkable
class Owned(Protocol):
    """An item that says itself for which ENI it is (a file by its header)."""

    @property
    def owner(self) -> Mac | None:
        """The ENI; None if it does not say."""


class Action(Enum):
    """What is done to an item; the value is the sign in the text form."""

    ADD = "+"
    REPLACE = "~"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class Change:
    """One step. ``before`` is what REPLACE finds in place; ``mac`` the ENI it is for, if one."""

    action: Action
    item: Item
    mac: Mac | None
    before: Item | None = None

    @property
    def whose(self) -> Mac | None:
        """The ENI that it is for, or was: also of what goes with nothing else being done for it."""
        if self.mac is None and isinstance(self.item, Owned):
            return self.item.owner
        return self.mac

    @property
    def inverse(self) -> "Change":
        """What takes it back."""
        if self.action is Action.REPLACE:
            assert self.before is not None, self
            return replace(self, item=self.before, before=self.item)
        other = Action.REMOVE if self.action is Action.ADD else Action.ADD
        return replace(self, action=other)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something foreign, or what another ENI wants, stands where an item of ours would go."""

    mac: Mac
    item: Item
    foreign: Item
    wanted: bool = False
    """Whether ``foreign`` is what another ENI wants, not something in place."""

    def describe(self) -> str:
        whose = "another ENI wants" if self.wanted else "something that is not ours is"
        return f"{self.item.describe()}: {whose} in its place: {self.foreign.describe()}"


@dataclass(frozen=True, slots=True)
class InPlace:
    """What a backend found: ours by mark or by journal, and what else is relevant."""

    ours: tuple[Item, ...] = ()
    foreign: tuple[Item, ...] = ()
    adjustable: tuple[Item, ...] = ()
    """Not ours, but free to be set otherwise (a link's MTU); never removed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which they are made: all additions, ENI by ENI and by rank in each,
    then removals by rank reversed."""

    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def of(self, mac: Mac | None) -> "Plan":
        """What of it is for this ENI."""
        return Plan(
            tuple(change for change in self.changes if change.whose == mac),
            tuple(found for found in self.conflicts if found.mac == mac),
        )

    def by_eni(self) -> dict[Mac | None, "Plan"]:
        """What of it is for each ENI that it changes or has conflicts of."""
        changes: dict[Mac | None, list[Change]] = {}
        conflicts: dict[Mac | None, list[Conflict]] = {}
        for change in self.changes:
            changes.setdefault(change.whose, []).append(change)
        for found in self.conflicts:
            conflicts.setdefault(found.mac, []).append(found)
        return {
            mac: Plan(tuple(changes.get(mac, ())), tuple(conflicts.get(mac, ())))
            for mac in changes.keys() | conflicts.keys()
        }

    def without(self, macs: Collection[Mac | None]) -> "Plan":
        """The same but for the changes of these ENIs."""
        return replace(self, changes=tuple(c for c in self.changes if c.whose not in macs))


def make_plan(
    wanted: Mapping[Mac, Iterable[Item]],
    found: InPlace,
    *,
    keep: frozenset[Item] = frozenset(),
    owners: Mapping[Item, Mac] | None = None,
) -> Plan:
    """The changes that turn what is in place into what is wanted.

    ``wanted`` is in the order in which ENIs are to be completed, the primary first: should the time
    not suffice, some are whole instead of all having their rules alone.
    ``keep`` are items of ours that no intent wants but that must stay (an ENI that is pending,
    a key that could not be read). ``owners`` tells for which ENI an item of ours once was.
    """
    owners = owners or {}
    ours: dict[tuple[object, ...], list[Item]] = {}
    for item in dict.fromkeys(found.ours):
        ours.setdefault(item.identity, []).append(item)
    foreign = {item.identity: item for item in found.foreign}
    adjustable = {item.identity: item for item in found.adjustable}
    claimed: dict[tuple[object, ...], Item] = {}
    additions: list[Change] = []
    conflicts: list[Conflict] = []
    for mac, items in wanted.items():
        for item in items:
            other = claimed.setdefault(item.identity, item)
            if other is not item:
                if other != item:  # two ENIs cannot both have it, such as one metric in main
                    conflicts.append(Conflict(mac, item, other, wanted=True))
                continue
            same = ours.get(item.identity, [])
            if item in same:
                same.remove(item)
                continue
            present = same.pop(0) if same else adjustable.get(item.identity)
            if present == item:
                continue
            if present is not None:
                additions.append(Change(Action.REPLACE, item, mac, before=present))
            elif item.identity not in foreign:
                additions.append(Change(Action.ADD, item, mac))
            elif not satisfies(foreign[item.identity], item):
                conflicts.append(Conflict(mac, item, foreign[item.identity]))
    removals = [
        Change(Action.REMOVE, item, owners.get(item))
        for same in ours.values()
        for item in same
        if item not in keep
    ]
    order = {mac: place for place, mac in enumerate(wanted)}
    additions.sort(key=lambda change: (order[change.mac] if change.mac else 0, change.item.rank))
    removals.sort(key=lambda change: change.item.rank, reverse=True)
    return Plan((*additions, *removals), tuple(conflicts))


def inverse(changes: Iterable[Change]) -> tuple[Change, ...]:
    """What takes ``changes`` back: the inverse of each, the last one first."""
    return tuple(change.inverse for change in reversed(tuple(changes)))


def satisfies(present: Item, wanted: Item) -> bool:
    """Whether something foreign already does what ``wanted`` would."""
    if isinstance(present, Address) and isinstance(wanted, Address):
        return True  # the same address on the same link, with whatever prefix length
    if isinstance(present, Route) and isinstance(wanted, Route):
        return (present.link, present.gateway, present.kind) == (
            wanted.link,
            wanted.gateway,
            wanted.kind,
        )
    return present == wanted
