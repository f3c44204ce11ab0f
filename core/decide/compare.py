# SPDX-License-Identifier: Apache-2.0
"""The plan: items that are wanted, compared with items in place. Pure.

Only items that are marked ours are ever replaced or removed. A foreign item that does the same
counts as in place; one that stands in the way is a conflict.
"""

from collections.abc import Iterable, Mapping

from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Action, Change, Conflict, InPlace, Item, Plan, Serving


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
            if (other := claimed.get(item.identity)) is not None:
                if other != item:  # two ENIs cannot both have it, such as one metric in main
                    conflicts.append(Conflict(mac, item, other, wanted=True))
                continue
            claimed[item.identity] = item
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


def satisfies(present: Item, wanted: Item) -> bool:
    """Whether something foreign already does what ``wanted`` would."""
    return present == wanted or (isinstance(present, Serving) and present.serves(wanted))
