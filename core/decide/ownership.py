# SPDX-License-Identifier: Apache-2.0
"""Owned objects, by their mark, and their ENIs; the plan of one backend follows from them. Pure.

Routes, rules and (Linux 5.18) addresses carry the protocol number of their creator. If the kernel
or pyroute2 cannot mark an address, and for settings of links, ``core/state/journal.py`` is the
mark. While several links have an ENI's MAC, the ENI owns the objects on each of them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ec2net.core.decide.compare import make_plan
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.decide.rule_tree import still_used
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    KernelObject,
    LinkSetting,
    Rank,
    Route,
    Rule,
    Setting,
)
from ec2net.core.model.plan import InPlace, Item, Plan, clues_of, purpose_of
from ec2net.core.model.purpose import (
    OF_PRIMARY,
    Clue,
    Purpose,
    of_link,
    of_mac,
    of_source,
    of_subnet,
    of_table,
)
from ec2net.core.model.snapshot import Snapshot


def marked(snapshot: Snapshot, protocol: int) -> tuple[KernelObject, ...]:
    """Addresses, routes and rules that carry our protocol number."""
    return snapshot.by_maker(protocol)[0]


def unmarked(snapshot: Snapshot, protocol: int) -> tuple[KernelObject, ...]:
    """The foreign objects."""
    return snapshot.by_maker(protocol)[1]


_NOBODY = Mac("")
"""The owner of what leads to a link that is no ENI's."""


def owners(ours: Iterable[Item], host: HostIntent, foreign: Iterable[Item] = ()) -> dict[Item, Mac]:
    """The ENI of each owned item: by its link, its table, or (main-first) its source."""
    ours = tuple(ours)
    known = _told_by_items(_told_by_host(host), ours, foreign)
    told = ((item, next(filter(None, map(known.get, clues_of(item))), _NOBODY)) for item in ours)
    return {item: mac for item, mac in told if mac is not _NOBODY}


def _told_by_host(host: HostIntent) -> dict[Clue, Mac]:
    linked = [eni for eni in host.enis if eni.links]
    known = {of_link(link.index): eni.mac for eni in linked for link in eni.links}
    known |= {of_mac(eni.mac): eni.mac for eni in linked}
    known |= {of_table(eni.table): eni.mac for eni in linked if eni.table is not None}
    known |= {of_table(intent.table): intent.mac for intent in host.ready}
    for intent in host.ready:
        by_plugins = (r.destination for r in intent.main_routes if r.rank is Rank.DETOUR)
        known |= {of_subnet(one): intent.mac for one in (*intent.main_subnets, *by_plugins)}
    primary = host.primary_link
    if primary is not None and of_link(primary.index) in known:
        known[OF_PRIMARY] = known[of_link(primary.index)]
    return known


def _told_by_items(
    known: dict[Clue, Mac], ours: Collection[Item], foreign: Iterable[Item]
) -> dict[Clue, Mac]:
    """A route identifies the ENI of its table or of the subnet in main, a rule the ENI of its source.

    Another program may have made that rule before ec2net did.
    """
    for item in ours:
        if not isinstance(item, Route) or item.purpose is Purpose.GUARD:
            continue
        owner = known.get(of_link(item.link.index), _NOBODY)
        if item.rank is Rank.SUBNET:
            known.setdefault(of_subnet(item.destination), owner)
        if item.table not in (MAIN_TABLE, LOCAL_TABLE):
            known.setdefault(of_table(item.table), owner)
    for item in (*foreign, *ours):
        if not isinstance(item, Rule) or item.purpose is Purpose.ANSWERS:
            continue
        if not item.source.prefixlen:
            continue
        if of_table(item.table) in known:
            known[of_source(item.source)] = known[of_table(item.table)]
    return known


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
    """The plan of one backend; an unwanted item is removed only if no other ENI may own it."""
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
    keep |= _detours(found.ours, (*keep, *(item for items in wanted.values() for item in items)))
    if any(eni.links and eni.standing is Standing.PENDING for eni in host.enis):
        keep |= _subnets_in_main(found.ours)
    staying = None
    if without:
        others = held(owned, {eni.mac for eni in host.enis} - without)
        staying = {*keep, *others, *(i for items in wanted.values() for i in items)}
    keep |= still_used(found.ours, staying) | _shared_by_others(host, owned, wanted, without)
    return make_plan(wanted, found, keep=keep, owners=owned)


def _shared_by_others(
    host: HostIntent,
    owned: Mapping[Item, Mac],
    wanted: Collection[Mac],
    without: Collection[Mac],
) -> frozenset[Item]:
    """The rules of no single ENI that other ENIs need, whatever their backends.

    A pass that removes ENIs may plan for no other: there, only ENIs with rules in the tree count.
    """
    need = {intent.mac for intent in host.ready} - {*wanted, *without}
    if without:
        need &= {mac for item, mac in owned.items() if purpose_of(item) is Purpose.TREE}
    made = (intent.made_rules for intent in host.ready if intent.mac in need)
    return frozenset(rule for rules in made for rule in rules if rule.shared)


def _detours(ours: Iterable[Item], staying: Iterable[Item]) -> frozenset[Item]:
    """Main's routes through the primary ENI to subnets that main goes on to show on-link.

    Several ENIs may have one subnet; without such a route theirs would take the primary's traffic.
    """
    routes = {item for item in ours if isinstance(item, Route)}
    shown = {
        item.destination
        for item in staying
        if isinstance(item, Route) and item.rank is Rank.SUBNET and item in routes
    }
    return frozenset(r for r in routes if r.rank is Rank.DETOUR and r.destination in shown)


def _subnets_in_main(ours: Iterable[Item]) -> frozenset[Item]:
    """Main's routes to subnets. Whether they are intended depends on all ENIs, so an unreadable key
    of one ENI must not remove those of another."""
    routes = (item for item in ours if isinstance(item, Route))
    return frozenset(r for r in routes if r.rank in (Rank.DETOUR, Rank.SUBNET))


def _of_earlier_attachments(host: HostIntent, owned: Mapping[Item, Mac]) -> set[Mac]:
    """Ignored later ENIs without an owned object on their links: they were attached again.

    Rules, and a guard, remain of the former attachment: they do not disappear with a link.
    """
    later = {
        eni.mac
        for eni in host.enis
        if eni.standing is Standing.IGNORED and eni.attached is Attached.LATER
    }
    if later:
        later -= {mac for item, mac in owned.items() if not purpose_of(item).outlives_link}
    return later


def _unjournaled(
    found: InPlace, host: HostIntent, without: Collection[Mac]
) -> tuple[LinkSetting, ...]:
    """Names that ec2net gave to an ENI whose journal was lost; the link's group tells. They are
    removed.

    The former values of other settings are lost with the journal: these settings stay.
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
    """Rules that are wrong once another ENI has IPv4: a pass for that ENI removes them too."""
    right = {intent.mac: intent.every_rule for intent in host.ready if not intent.unread}
    return frozenset(
        item
        for item, mac in owned.items()
        if mac in mine
        and purpose_of(item) is Purpose.NO_IPV4
        and item not in right.get(mac, (item,))
    )


def _waits(eni: EniOutcome) -> bool:
    """Whether the link exists and its intent is still unknown.

    For an ignored link that IMDS never listed, ec2net created nothing.
    """
    if eni.standing is Standing.IGNORED and eni.eni_id is None:
        return False
    return bool(eni.links) and eni.intent is None and eni.standing is not Standing.NO_ADDRESS


def _doubtful(
    ours: Iterable[Item], owned: Mapping[Item, Mac], waiting: Collection[EniOutcome]
) -> frozenset[Item]:
    """Rules without an owner that may be for one of these ENIs.

    They may lead to an empty table (the kernel flushes it when the link is set down) while the
    ENI's number is unknown. Or they lead to main, and the partner that names the table was removed.
    The rules of a detached ENI stay with them, until a pass knows the number.
    """
    if not waiting:
        return frozenset()
    rules = [item for item in ours if isinstance(item, Rule)]
    paired = {rule.source for rule in rules if rule.table != MAIN_TABLE}
    no_number = any(eni.table is None for eni in waiting)
    return frozenset(
        rule for rule in rules if rule not in owned and (no_number or rule.source not in paired)
    )


def _keeps(mac: Mac, host: HostIntent, wanted: Mapping[Mac, tuple[Item, ...]]) -> bool:
    """Whether nothing of an ENI may be removed: not planned for now, or not read completely."""
    eni = host.of(mac)
    if eni is None or eni.standing is Standing.NO_ADDRESS:
        return False
    intent: EniIntent | None = eni.intent
    return mac not in wanted or (intent is not None and bool(intent.unread))
