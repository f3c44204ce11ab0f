# SPDX-License-Identifier: Apache-2.0
"""Drift: noticed by a pass, logged once, kept for ``explain``.

An item has drifted if it was in place, is still wanted, and is missing or different now. Items that
became wanted or unwanted since have not. /run/ec2net/drift/MAC.json therefore has the fingerprints
of the items in place after the last pass, and the drift so far. It holds for one attachment. A
change in the plan alone proves no drift: most changes follow from news of IMDS.

The author of a change is unknown. The kernel's dumps do not have it. An event has at most a netlink
port, which need not be a process, and a pass in on-demand mode gets no events. Known are the object
in its place, other tools on the link, and the kernel's own changes when a link is set down
(``suspects``).
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace

from ec2net.core.decide.intent import EniIntent
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.verify import differences
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import Manager, link_manager
from ec2net.core.host.other_tools import Danger, recognise
from ec2net.core.model.facts import Link
from ec2net.core.model.fingerprint import fingerprint
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, KernelObject, LaterAddress, LinkSetting, Setting
from ec2net.core.model.plan import Action, Change, Conflict, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.clock import now
from ec2net.core.state.drift_record import (
    BY_OTHERS,
    NOT_MADE,
    OBSERVED,
    REPAIRED,
    Drift,
    Drifts,
    Record,
    seconds_between,
)

_log = logging.getLogger("ec2net.drift")

STORY = 8
"""Drifts of one ENI that are remembered: the last ones."""
SHOWN = 6
"""Items of one drift that are named."""
REMINDER = 600.0
"""Seconds after which a repeated drift is logged again."""
GIVEN = 90.0
"""Seconds after a new file or setting for a network manager in which no drift is logged: ec2net
intends the manager's changes then, such as the new leases of systemd-networkd 252."""
_DOWN = (Manager.NETWORKD_NOT_UP, Manager.NETWORKMANAGER_NOT_UP)
_MARK = 16
"""Characters of a fingerprint that are kept."""


def follow(
    view: View,
    done: Collection[Change],
    back: Collection[Mac | None],
    environment: Environment,
) -> tuple[Drifts, dict[Mac, Record]]:
    """Compare with what was in place before. Also gives the records that differ now.

    ``done``: what this pass made; ``back``: ENIs that are as they were, since their changes were
    rolled back. Pure, but for the time.
    """
    latest: dict[Mac, Drift] = {}
    news: list[tuple[Mac, Drift]] = []
    records: dict[Mac, Record] = {}
    plans = view.plan.by_eni()
    made: defaultdict[Mac | None, list[Change]] = defaultdict(list)
    for change in done:
        made[change.mac].append(change)
    for intent in view.host.ready:
        mac = intent.mac
        before = view.memory.drift_of(mac, intent.link.index)
        own = plans.get(mac, Plan())
        after = _after(before, intent, own, made[mac], mac in back, view, environment)
        if after is None:
            continue
        if after != before:
            records[mac] = after
        if after.story:
            latest[mac] = after.story[-1]
            if _is_news(before.story, latest[mac]):
                news.append((mac, latest[mac]))
    return Drifts(latest, tuple(news)), records


def unconfirmed(view: View) -> frozenset[Change]:
    """Further addresses that were in place and are missing, where nothing else of their ENI is.

    A user or keepalived removed them. IMDS may be about to drop them, so they come back only when IMDS
    was read after that: else an address would be on two hosts for an instant.
    """
    found: set[Change] = set()
    plans = view.plan.by_eni()
    for intent in view.host.ready:
        own = plans.get(intent.mac, Plan())
        in_place = view.memory.drift_of(intent.mac, intent.link.index).in_place
        further = {Address(intent.link, interface) for interface in intent.further}
        if not own.conflicts and all(
            change.action is Action.ADD
            and change.item in further
            and _mark(change.item) in in_place
            for change in own.changes
        ):
            found.update(own.changes)
    for change in found:
        _log.info("%s is missing: the next reading of IMDS confirms it", change.item.describe())
    return frozenset(found)


def _after(
    before: Record,
    intent: EniIntent,
    own: Plan,
    done: Collection[Change],
    back: bool,
    view: View,
    environment: Environment,
) -> Record | None:
    """The record of one ENI after the pass; None if the pass did nothing about the ENI."""
    made = {_mark(change.item) for change in done if change.action is not Action.REMOVE}
    if intent.mac in view.wanted:
        after = _next(before, intent, own, made, view, environment)
        if back:
            after = replace(after, in_place=before.in_place, intended=before.intended)
        if not all(isinstance(change.item, KernelObject) for change in done):
            after = replace(after, given=now())
        return after
    if intent.mac in view.without:
        return replace(before, in_place=frozenset(), intended=0)
    gone = {_mark(change.item) for change in done if change.action is Action.REMOVE}
    if gone and not back:
        return replace(before, in_place=before.in_place - gone)  # shared with another ENI
    return None


def _next(
    before: Record,
    intent: EniIntent,
    own: Plan,
    made: set[str],
    view: View,
    environment: Environment,
) -> Record:
    # every difference, whether the item was ever in place or not
    if intent.mac in view.observed_only:
        return replace(before, story=_told(before.story, own, set(), intent, view, environment))
    told_of = before.in_place
    if before.given and 0 <= seconds_between(before.given, now()) < GIVEN:
        told_of = frozenset()
    link = view.snapshot.link(intent.link.index)
    if link is not None and link_manager(link, environment) in _DOWN:
        # the pass reports the link as down; networkd 252 releases IPv6 leases
        told_of = frozenset()
    drifted = Plan(
        tuple(
            change
            for change in own.changes
            if told_of and change.action is not Action.REMOVE and _mark(change.item) in told_of
        ),
        tuple(found for found in own.conflicts if _mark(found.item) in told_of),
    )
    in_place, intended = before.in_place, view.intended.of(intent.mac, view.wanted[intent.mac])
    changing = bool(own.changes or own.conflicts)
    if changing or intended != before.intended:
        missing = set(_marks(own)) - made
        wanted = frozenset(_mark(_as_it_stays(item)) for item in view.wanted[intent.mac])
        if changing or not wanted <= in_place:
            in_place = (wanted - missing) | (in_place & missing & wanted)
        else:  # the pass reads less, for example while a driver resets: that is no news
            intended = before.intended
    told = _told(before.story, drifted, made, intent, view, environment)
    return replace(before, in_place=in_place, intended=intended, story=told)


def _told(
    story: tuple[Drift, ...],
    drifted: Plan,
    made: Collection[str],
    intent: EniIntent,
    view: View,
    environment: Environment,
) -> tuple[Drift, ...]:
    """The story with what this pass noticed, which is at its end."""
    items = _marks(drifted)
    last = story[-1] if story else None
    lasts = bool(drifted.conflicts) or not all(item in made for item in items)
    if last is not None and last.open:
        if last.items == items and lasts:
            return story
        if not items or last.items == items:
            repair = REPAIRED if items else BY_OTHERS
            return (*story[:-1], replace(last, last=now(), repair=repair, open=False))
        story = (*story[:-1], replace(last, open=False))  # the ENI continues with another link
    if not items:
        return story
    link = view.snapshot.link(intent.link.index)
    observed = intent.mac in view.observed_only
    again = next((drift for drift in story if drift.items == items), None)
    drift = Drift(
        what=_words(drifted)[:SHOWN],
        items=items,
        noticed=again.noticed if again else now(),
        last=now(),
        times=again.times + 1 if again else 1,
        known=suspects(drifted, link, view.snapshot, environment) if link is not None else (),
        repair=OBSERVED if observed else NOT_MADE if lasts else REPAIRED,
        open=lasts,
    )
    return (*(old for old in story if old is not again), drift)[-STORY:]


def _words(drifted: Plan) -> tuple[str, ...]:
    """As ``verify`` has them."""
    found = [finding.describe() for finding in differences(drifted)]
    return (*found, *(conflict.describe() for conflict in drifted.conflicts))


def _is_news(before: tuple[Drift, ...], drift: Drift) -> bool:
    """Whether it began or ended, or comes again after a while."""
    old = next((old for old in before if old.items == drift.items), None)
    return (
        old is None
        or (old.open and not drift.open)
        or seconds_between(old.last, drift.last) > REMINDER
    )


def _mark(item: Item) -> str:
    return fingerprint(None, (item,))[:_MARK]


def _as_it_stays(item: Item) -> Item:
    """An address that is moved behind the first one is an address like others afterwards."""
    return Address(item.link, item.interface) if isinstance(item, LaterAddress) else item


def _marks(plan: Plan) -> tuple[str, ...]:
    items = {change.item for change in plan.changes} | {found.item for found in plan.conflicts}
    return tuple(sorted(map(_mark, items)))


_MAKERS = {2: "kernel", 3: "ip", 4: "static", 9: "ra", 16: "dhcp"}
"""Names of protocol numbers, as ip-route(8) has them; 3 (boot) is what ``ip`` gives by default."""


def suspects(
    drifted: Plan, link: Link, snapshot: Snapshot, environment: Environment
) -> tuple[str, ...]:
    """Hints at the cause, the strongest first; empty if there are none.

    ``environment`` has the links of all ENIs.
    """
    found = [*_replacements(drifted.conflicts, snapshot)]
    if any(_set_down(change.item) for change in drifted.changes):
        found.append(f"{link.name} was set down, which removed its routes")
    manager = link_manager(link, environment)
    if manager in (Manager.NETWORKD, Manager.NETWORKMANAGER, Manager.SEVERAL):
        found.append(f"{link.name} is managed by {manager.value}")
    for tool in recognise(environment):
        if tool.danger is not Danger.NONE and (tool.links is None or link.name in tool.links):
            found.append(f"{tool.tool}: {tool.trace}")
    return tuple(dict.fromkeys(found))


def _replacements(conflicts: Collection[Conflict], snapshot: Snapshot) -> Iterator[str]:
    """By the protocol number of what stands there now."""
    makers: dict[Item, int] = {found.item: found.protocol for found in snapshot.objects}
    for conflict in conflicts:
        if protocol := makers.get(conflict.foreign):
            name = f" ({_MAKERS[protocol]})" if protocol in _MAKERS else ""
            yield f"the object in its place has protocol {protocol}{name}"


def _set_down(item: Item) -> bool:
    return isinstance(item, LinkSetting) and item.setting is Setting.UP
