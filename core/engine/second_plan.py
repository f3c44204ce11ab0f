# SPDX-License-Identifier: Apache-2.0
"""Which ENIs a pass plans for once more, since a change that it made changed what can be planned. Pure.

- An MTU that rises to 1280 brings IPv6 back on the link (addrconf_notify, net/ipv6/addrconf.c).
  Until then there is no IPv6 to plan for.
- A new first IPv4 address comes behind the addresses that its link has (__inet_insert_ifa,
  net/ipv4/devinet.c). Only then ec2net can move those behind the first.
- A network manager that brings up an ENI adds routes to main, which may take the primary ENI's traffic.
- A pass for one ENI may find such routes. The rules against them are the primary ENI's.
"""

from collections.abc import Collection
from dataclasses import replace

from ec2net.core.decide.copies import is_no_matter
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import IPV6_MTU_MIN
from ec2net.core.model.objects import MAIN_TABLE, Address, LinkSetting, Route, Setting
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.report import PassReport
from ec2net.core.state.drift_record import Drifts


def planned_again(view: View, report: PassReport) -> frozenset[Mac]:
    """The ENIs of which ``report`` says that such a change was made."""
    return frozenset(
        change.mac
        for change in report.done
        if change.mac is not None
        and change.action is not Action.REMOVE
        and (_brings_ipv6(change) or _is_first_of_several(change, view))
    )


def uncorrected(view: View) -> frozenset[Mac]:
    """The primary ENI, if it lacks rules that correct main, and the pass does not plan for it."""
    present = {found.item for found in view.snapshot.rules}
    return frozenset(
        intent.mac
        for intent in view.host.ready
        if intent.mac not in view.wanted and not present.issuperset(intent.corrections)
    )


def followers(view: View, after: Snapshot, protocol: int) -> frozenset[Mac]:
    """The ENIs for which main's foreign routes count, if these routes changed during the pass."""
    if _foreign(view.snapshot, protocol) == _foreign(after, protocol):
        return frozenset()
    return frozenset(i.mac for i in view.host.ready if i.follows_main or i.correctable)


def _foreign(snapshot: Snapshot, protocol: int) -> frozenset[Route]:
    return frozenset(
        found.item
        for found in snapshot.routes
        if found.item.table == MAIN_TABLE
        and found.protocol != protocol
        and not is_no_matter(found.item.destination)
    )


def _brings_ipv6(change: Change) -> bool:
    item, before = change.item, change.before
    return (
        isinstance(item, LinkSetting)
        and isinstance(before, LinkSetting)
        and item.setting is Setting.MTU
        and int(before.value) < IPV6_MTU_MIN <= int(item.value)
    )


def _is_first_of_several(change: Change, view: View) -> bool:
    item, outcome = change.item, view.host.of(change.mac) if change.mac else None
    if not isinstance(item, Address) or outcome is None or outcome.intent is None:
        return False
    there = view.snapshot.addresses_on(item.link.index)
    return item.interface.ip == outcome.intent.first(4) and any(
        found.item.interface.version == 4 for found in there
    )


def together(first: PassReport, second: PassReport, macs: Collection[Mac]) -> PassReport:
    """The report of a pass that made two plans, the second one for ``macs`` alone."""
    known = {str(problem) for problem in first.problems}
    news = tuple(problem for problem in second.problems if str(problem) not in known)
    others = tuple(found for found in first.plan.conflicts if found.mac not in macs)
    return replace(
        second,
        plan=Plan((*first.plan.changes, *second.plan.changes), (*others, *second.plan.conflicts)),
        done=(*first.done, *second.done),
        failed=(*first.failed, *second.failed),
        findings=(*(f for f in first.findings if f.mac not in macs), *second.findings),
        problems=(*first.problems, *news),
        requests=first.requests,
        undone=(*first.undone, *second.undone),
        held={**first.held, **second.held},
        waiting=first.waiting | second.waiting,
        drifts=Drifts(
            {**first.drifts.latest, **second.drifts.latest},
            (*first.drifts.news, *second.drifts.news),
        ),
        there={**first.there, **second.there},
    )
