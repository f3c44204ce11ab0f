# SPDX-License-Identifier: Apache-2.0
"""The plan: wanted items, compared with present items. Pure.

ec2net replaces or removes only items with its mark. A foreign item with the same effect counts as
present; one that occupies the place of a wanted item is a conflict.
"""

from collections.abc import Iterable, Iterator, Mapping

from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import (
    Action,
    Change,
    Conflict,
    InPlace,
    Item,
    Plan,
    Serving,
    is_shared,
    turn_of,
)


def make_plan(
    wanted: Mapping[Mac, Iterable[Item]],
    found: InPlace,
    *,
    keep: frozenset[Item] = frozenset(),
    owners: Mapping[Item, Mac] | None = None,
) -> Plan:
    """Compute the changes from the present items to the wanted items.

    ``wanted`` has the order in which ENIs are completed, the primary first. If the time does not
    suffice, some ENIs are complete instead of all having only their rules. ``keep`` are owned items
    that no intent wants but that must stay (an ENI that is pending, an unreadable key). ``owners``
    has the former ENI of each owned item.
    """
    owners = owners or {}
    present = _Present(found)
    claimed: dict[tuple[object, ...], Item] = {}
    steps: list[Change | Conflict | None] = []
    known: set[int] = set()
    """Items that ENIs share are the same objects."""
    for mac, item in ((mac, item) for mac, items in wanted.items() for item in items):
        if id(item) in known:
            continue
        known.add(id(item))
        other = claimed.get(identity := item.identity)
        if other is None:
            claimed[identity] = item
            steps.append(present.step_to(item, identity, None if is_shared(item) else mac))
        # two ENIs cannot both have such an item, for example one metric in main
        elif other != item:
            steps.append(Conflict(mac, item, other, wanted=True))
    additions = [step for step in steps if isinstance(step, Change)]
    removals = [
        Change(Action.REMOVE, item, owners.get(item)) for item in present.left if item not in keep
    ]
    removals.sort(key=lambda change: (-change.item.rank, turn_of(change.item)))
    conflicts = tuple(step for step in steps if isinstance(step, Conflict))
    return Plan((*_in_order(additions, wanted), *removals), conflicts)


def _in_order(additions: Iterable[Change], macs: Iterable[Mac]) -> list[Change]:
    """Shared items precede all, in the reverse order of their removal. Then ENI by ENI."""
    places = {mac: place for place, mac in enumerate(macs)}

    def place(change: Change) -> tuple[int, int]:
        if change.mac is None:
            return -1, -turn_of(change.item)
        return places[change.mac], change.item.rank

    return sorted(additions, key=place)


class _Present:
    """The present items, by identity. An owned item leaves it when an ENI wants the item."""

    def __init__(self, found: InPlace) -> None:
        self._ours: dict[tuple[object, ...], tuple[Item, ...]] = {}
        for item in dict.fromkeys(found.ours):
            identity = item.identity
            self._ours[identity] = (*self._ours.get(identity, ()), item)
        self._foreign = {item.identity: item for item in found.foreign}
        self._adjustable = {item.identity: item for item in found.adjustable}

    @property
    def left(self) -> Iterator[Item]:
        """Owned items that no ENI wanted."""
        return (item for same in self._ours.values() for item in same)

    def step_to(
        self, item: Item, identity: tuple[object, ...], mac: Mac | None
    ) -> Change | Conflict | None:
        """The change or conflict that leads to ``item``; None if it is in place."""
        same = self._ours.pop(identity, ())
        taken = item if item in same else next(iter(same), None)
        if len(same) > 1:
            self._ours[identity] = tuple(
                other for other in same if other is not taken and other != taken
            )
        if taken == item:
            return None
        present = taken if taken is not None else self._adjustable.get(identity)
        if present is not None:
            replaced = Change(Action.REPLACE, item, mac, before=present)
            return replaced if present != item else None
        foreign = self._foreign.get(identity)
        if foreign is None:
            return Change(Action.ADD, item, mac)
        return None if satisfies(foreign, item) else Conflict(mac or Mac(""), item, foreign)


def satisfies(present: Item, wanted: Item) -> bool:
    """Whether something foreign already does what ``wanted`` would."""
    return present == wanted or (isinstance(present, Serving) and present.serves(wanted))
