# SPDX-License-Identifier: Apache-2.0
"""A plan as data: items, changes, conflicts, and what became of them.

It is generic over items (kernel objects, a backend's files): an item has an ``identity``, a
``rank`` and a description.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, runtime_checkable

from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import KernelItem, Rank
from ec2net.core.model.purpose import Clue, Purpose, of_mac


class Item(Protocol):
    """A thing that can be present: a kernel object or a file. Equal items are the same thing in the
    same state."""

    @property
    def identity(self) -> tuple[object, ...]:
        """The key of the item: an identity can be present once."""

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


@runtime_checkable
class Serving(Protocol):
    """An item with the effect of another item of the same identity, even if it is foreign."""

    def serves(self, wanted: object) -> bool:
        """Whether ``wanted``, of the same identity, need not be made."""


def purpose_of(item: Item) -> Purpose:
    """The purpose of an item; a backend's own items (files) are for a link."""
    return item.purpose if isinstance(item, KernelItem) else Purpose.LINK


def is_optional(item: Item) -> bool:
    """Whether the rest of its ENI works without it."""
    return bool(getattr(item, "optional", False))


def is_shared(item: Item) -> bool:
    """Whether it is no single ENI's."""
    return isinstance(item, KernelItem) and item.shared


def turn_of(item: Item) -> int:
    """Its place among removals of one rank."""
    return item.turn if isinstance(item, KernelItem) else 0


def clues_of(item: Item) -> tuple[Clue, ...]:
    """The clues to the ENI of an item."""
    if isinstance(item, KernelItem):
        return item.clues
    return (of_mac(item.owner),) if isinstance(item, Owned) else ()


class Action(Enum):
    """The change to an item; the value is the sign in the text form."""

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
        """The ENI of the change, present or former; also for a removal that belongs to no planned
        ENI."""
        if self.mac is None and not isinstance(self.item, KernelItem):
            return self.item.owner if isinstance(self.item, Owned) else None
        return self.mac

    @property
    def inverse(self) -> "Change":
        """The change that undoes this one."""
        if self.action is Action.REPLACE:
            assert self.before is not None, self
            return replace(self, item=self.before, before=self.item)
        other = Action.REMOVE if self.action is Action.ADD else Action.ADD
        return replace(self, action=other)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A foreign item, or another ENI's intent, conflicts with an item of ec2net."""

    mac: Mac
    item: Item
    foreign: Item
    wanted: bool = False
    """Whether ``foreign`` is what another ENI wants, not something in place."""
    limit: str = ""
    """A limit of the device that keeps ``foreign`` in place; empty: something else does."""
    remedy: str = ""
    """The remedy for ``limit``."""

    def describe(self) -> str:
        if self.limit:
            return f"{self.item.describe()}: {self.limit} ({self.remedy})"
        whose = (
            "another ENI wants in its place" if self.wanted else "a foreign object is in its place"
        )
        return f"{self.item.describe()}: {whose}: {self.foreign.describe()}"


@dataclass(frozen=True, slots=True)
class InPlace:
    """The items that a backend found: owned by mark or by journal, foreign and adjustable."""

    ours: tuple[Item, ...] = ()
    foreign: tuple[Item, ...] = ()
    adjustable: tuple[Item, ...] = ()
    """Foreign, but ec2net may change it (a link's MTU); never removed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which they are made: all additions, ENI by ENI and by rank in each,
    then removals by rank reversed."""

    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def of(self, mac: Mac | None) -> "Plan":
        """The part for this ENI."""
        return Plan(
            tuple(change for change in self.changes if change.whose == mac),
            tuple(found for found in self.conflicts if found.mac == mac),
        )

    def by_eni(self) -> dict[Mac | None, "Plan"]:
        """The part for each ENI with changes or conflicts."""
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


def inverse(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes that undo ``changes``: the inverse of each, the last one first."""
    return tuple(change.inverse for change in reversed(tuple(changes)))


@dataclass(frozen=True, slots=True)
class Failure:
    """A change that failed, and its error."""

    change: Change
    error: Ec2netError


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of a plan: each change is done or failed, and never both."""

    done: tuple[Change, ...] = ()
    failed: tuple[Failure, ...] = ()
