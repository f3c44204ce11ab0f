# SPDX-License-Identifier: Apache-2.0
"""What is ours, by its mark, and for which ENI; the plan of one backend follows from it. Pure.

Routes, rules and (Linux 5.18) addresses carry the protocol number of their maker. Where the kernel or
pyroute2 cannot mark an address, and for settings of links, ``core/state/journal.py`` is the mark.
While several links have an ENI's MAC, the ENI owns what is on each of them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeGuard

from ec2net.core.decide.compare import make_plan
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Address,
    KernelObject,
    LinkSetting,
    ReplyMarks,
    Route,
    RouteKind,
    Rule,
    Setting,
)
from ec2net.core.model.plan import InPlace, Item, Owned, Plan
from ec2net.core.model.snapshot import Found, Snapshot


def marked(snapshot: Snapshot, protocol: int) -> tuple[KernelObject, ...]:
    """Addresses, routes and rules that carry our protocol number."""
    return tuple(found.item for found in snapshot.objects if _is_marked(found, protocol))


def unmarked(snapshot: Snapshot, protocol: int) -> tuple[KernelObject, ...]:
    """Those that somebody else made."""
    return tuple(found.item for found in snapshot.objects if not _is_marked(found, protocol))


def _is_marked(found: Found[KernelObject], protocol: int) -> bool:
    """A kind of route that we never make (blackhole, multipath) is not ours, whatever its mark."""
    if isinstance(found.item, Route) and found.item.kind is RouteKind.OTHER:
        return False
    return found.protocol == protocol


def owners(ours: Iterable[Item], host: HostIntent, foreign: Iterable[Item] = ()) -> dict[Item, Mac]:
    """For which ENI each item of ours is: by its link, its table, or (main-first) its source.

    The rule that tells a source's table may be somebody else's, who was quicker with it. By which
    the host's IPv4 fails (``ipv4_fast_failure``), is the primary's.
    """
    by_index = {link.index: eni.mac for eni in host.enis for link in eni.links}
    primary = by_index.get(host.primary_link.index) if host.primary_link is not None else None
    macs = set(by_index.values())
    by_table = {
        **{eni.table: eni.mac for eni in host.enis if eni.table is not None and eni.links},
        **{intent.table: intent.mac for intent in host.ready},
    }
    ours = tuple(ours)
    for item in ours:
        if (
            isinstance(item, Route)
            and not _is_guard(item)
            and item.table not in (MAIN_TABLE, LOCAL_TABLE)
        ):
            by_table.setdefault(item.table, by_index.get(item.link.index, Mac("")))
    by_source = {
        item.source: by_table[item.table]
        for item in (*foreign, *ours)
        if isinstance(item, Rule) and item.table in by_table and item.mark is None
    }
    found = {}
    for item in ours:
        mac: Mac | None = None
        if isinstance(item, Rule):
            mac = by_table.get(item.table)
            mac = mac or (primary if item.fails_ipv4 else by_source.get(item.source))
        elif _is_guard(item):
            mac = by_table.get(item.table)
        elif isinstance(item, Route | Address | LinkSetting | ReplyMarks):
            mac = by_index.get(item.link.index)
        elif isinstance(item, Owned):
            mac = item.owner if item.owner in macs else None
        if mac is not None and mac.text:
            found[item] = mac
    return found


def _is_guard(item: Item) -> TypeGuard[Route]:
    """A table's last route (``core/live/guard.py``): it has no link, and stays when that goes."""
    return isinstance(item, Route) and item.kind is RouteKind.UNREACHABLE


def held(owned: Mapping[Item, Mac], macs: Collection[Mac]) -> frozenset[Item]:
    """The items of these ENIs: what stays although no intent wants it."""
    return frozenset(item for item, mac in owned.items() if mac in macs)


def plan_for(
    host: HostIntent,
    mine: set[Mac],
    wanted: Mapping[Mac, tuple[Item, ...]],
    found: InPlace,
    without: frozenset[Mac],
) -> Plan:
    """The plan of one backend; of what nobody wants, only what surely is nobody's goes."""
    found = replace(found, ours=(*found.ours, *_unjournaled(found, host, without)))
    owned = owners(found.ours, host, found.foreign)
    past = _of_earlier_attachments(host, owned)
    stays = {
        eni.mac
        for eni in host.enis
        if eni.mac not in without
        and (eni.mac not in mine or (eni.mac not in past and _keeps(eni.mac, host, wanted)))
    }
    waiting = [eni for eni in host.enis if eni.mac not in without and _waits(eni)]
    keep = held(owned, stays) | _doubtful(found.ours, owned, waiting)
    keep -= _overtaken(owned, host, mine)
    return make_plan(wanted, found, keep=keep, owners=owned)


def _of_earlier_attachments(host: HostIntent, owned: Mapping[Item, Mac]) -> set[Mac]:
    """Ignored ENIs that came later, with nothing of ours on their links: they came back.

    What is left of before are the rules, and a guard, which do not go with a link.
    """
    on_links = {m for item, m in owned.items() if not (isinstance(item, Rule) or _is_guard(item))}
    return {
        eni.mac
        for eni in host.enis
        if eni.standing is Standing.IGNORED
        and eni.attached is Attached.LATER
        and eni.mac not in on_links
    }


def _unjournaled(
    found: InPlace, host: HostIntent, without: Collection[Mac]
) -> tuple[LinkSetting, ...]:
    """Names that were given to an ENI whose journal was lost, as its group tells, to take them back.

    What other settings were before is lost with the journal: they stay.
    """
    foreign = {item for item in found.foreign if isinstance(item, LinkSetting)}
    return tuple(
        name
        for intent in host.ready
        if intent.mac in without
        and LinkSetting(intent.link, Setting.GROUP, intent.link_group) in foreign
        for altname in intent.altnames
        if (name := LinkSetting(intent.link, Setting.ALTNAME, altname)) in foreign
    )


def _overtaken(
    owned: Mapping[Item, Mac], host: HostIntent, mine: Collection[Mac]
) -> frozenset[Item]:
    """Rules of ``ipv4_fast_failure`` that stop to be right: they go in a pass for another ENI too."""
    last = {intent.mac: intent.no_ipv4 for intent in host.ready if not intent.unread}
    return frozenset(
        item
        for item, mac in owned.items()
        if isinstance(item, Rule)
        and item.fails_ipv4
        and mac in mine
        and item not in last.get(mac, (item,))
    )


def _waits(eni: EniOutcome) -> bool:
    """Whether it is there, and nothing says yet what is wanted of it.

    An ignored link that IMDS never told of is none that anything was made for.
    """
    if eni.standing is Standing.IGNORED and eni.eni_id is None:
        return False
    return bool(eni.links) and eni.intent is None and eni.standing is not Standing.NO_ADDRESS


def _doubtful(
    ours: Iterable[Item], owned: Mapping[Item, Mac], waiting: Collection[EniOutcome]
) -> frozenset[Item]:
    """Rules without an owner that may be for one of these ENIs.

    They lead to an empty table, since the kernel flushes that when the link is set down, and the
    ENI's number is not known; or to main, and somebody took away the partner that would tell.
    The rules of a gone ENI stay with them, until a pass knows the number.
    """
    rules = {item for item in ours if isinstance(item, Rule)}
    paired = {rule.source for rule in rules if rule.table != MAIN_TABLE}
    no_number = any(eni.table is None for eni in waiting)
    return frozenset(
        rule
        for rule in rules
        if rule not in owned and (no_number or (waiting and rule.source not in paired))
    )


def _keeps(mac: Mac, host: HostIntent, wanted: Mapping[Mac, tuple[Item, ...]]) -> bool:
    """Whether nothing of an ENI may be removed: not planned for now, or not read completely."""
    eni = host.of(mac)
    if eni is None or eni.standing is Standing.NO_ADDRESS:
        return False
    intent: EniIntent | None = eni.intent
    return mac not in wanted or (intent is not None and bool(intent.unread))
