# SPDX-License-Identifier: Apache-2.0
"""Make the changes of a plan, one request each; the ENIs are independent of each other.

ec2net journals a change before it if the kernel cannot mark the object. A kill at any point leaves
either nothing or something that the next pass recognises.
"""

import errno
import logging
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from ec2net.core.kernel.link_events import link_is_there
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import Ec2netError, KernelError, LinkGone
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Address,
    KernelItem,
    KernelObject,
    LinkSetting,
    Route,
    RouteKind,
    Rule,
    Setting,
)
from ec2net.core.model.plan import Action, Applied, Change, Failure, Plan, is_shared
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import RESTORED, Journal, Journals

_log = logging.getLogger("ec2net.live")


Broken: TypeAlias = dict[tuple[Mac | None, int], Ec2netError]
"""For each ENI and IP version (0: both), the error that ended its changes. Without an ENI: the error of
a rule that several ENIs need. With ``_IN_TREE``: why the tree still has rules of an ENI."""

_IN_TREE = Mac("")


def apply(
    plan: Plan,
    kernel: Kernel,
    journals: Journals,
    deadline: Deadline,
    broken: Broken | None = None,
) -> Applied:
    """Make the changes of a plan in the kernel, one by one.

    A failed addition ends the work on its ENI, so that nothing of the ENI is removed then.

    A failure of one IP version does not affect the other. ``broken`` has the former failures of the
    same pass, and gets new ones.
    """
    done: list[Change] = []
    failed: list[Failure] = []
    left: dict[object, Ec2netError] = {}
    """By identity, why an object still exists: objects that it needs stay as well."""
    broken = {} if broken is None else broken
    open_journals = _open(plan, kernel, journals, broken)
    for change in _ways_first(plan.changes):
        error = _end_of(change, broken)
        if error is None and deadline.expired():
            error = deadline.exceeded()
        if error is None:
            error = left.get(_live(change).reveals) or _make(change, kernel, open_journals)
        if error is None:
            done.append(change)
            continue
        failed.append(Failure(change, error))
        if change.action is Action.REMOVE:
            left[change.item.identity] = error
        _end_others(change, error, broken)
    _close(done, open_journals, journals)
    made = set(map(id, done))
    return Applied(tuple(change for change in plan.changes if id(change) in made), tuple(failed))


def _end_others(failed: Change, error: Ec2netError, broken: Broken) -> None:
    """Note the changes that are not made because ``failed`` was not."""
    mac, version = failed.mac, version_of(failed)
    removes = failed.action is Action.REMOVE
    if is_shared(failed.item):
        if not removes:
            broken.setdefault((None, version), error)
        return
    if removes and _is_of_tree(failed):
        broken.setdefault((_IN_TREE, version), error)
    if mac is not None and not _live(failed).optional:
        broken.setdefault((mac, version), error)


def _end_of(change: Change, broken: Broken) -> Ec2netError | None:
    """The error that ended the changes of this one's ENI.

    Without a rule that ENIs share, the earlier rules of all ENIs stay, and the tree gets none: every
    packet could reach them. The rules that lead packets past those of an ENI stay as long as these.
    """
    mac, version = change.mac, version_of(change)
    removes = change.action is Action.REMOVE
    if (removes and isinstance(change.item, Rule)) or _is_of_tree(change):
        error = broken.get((None, version))
        if error is None and removes and is_shared(change.item):
            error = broken.get((_IN_TREE, version))
        if error is not None:
            return error
    if mac is None:
        return None
    return broken.get((mac, _BOTH), broken.get((mac, version)))


def _is_of_tree(change: Change) -> bool:
    return isinstance(change.item, Rule) and change.item.in_tree


def _ways_first(changes: Sequence[Change]) -> Iterator[Change]:
    """Additions of routes in an ENI's table precede its rules, if the addresses are present.

    Without a rule such a route has no effect. A rule without the route would fail the traffic of an
    address that another tool served until now.
    """
    for _, group in groupby(changes, key=lambda change: change.mac):
        of_eni = list(group)
        coming = {version_of(change) for change in of_eni if _is_new(change, Address)}

        def turn(change: Change, coming: Collection[int] = coming) -> int:
            if _is_new(change, LinkSetting):
                return 0
            is_way = _is_new(change, Route) and _is_inert(change)
            return 1 if is_way and version_of(change) not in coming else 2

        yield from sorted(of_eni, key=turn)


def _is_new(change: Change, kind: type[KernelItem]) -> bool:
    return change.action is not Action.REMOVE and isinstance(change.item, kind)


def _is_inert(change: Change) -> bool:
    """Whether it is a route that is used by rules alone."""
    item = change.item
    if not isinstance(item, Route) or item.kind is not RouteKind.UNICAST:
        return False
    return item.table not in (MAIN_TABLE, LOCAL_TABLE) and not item.optional


def _open(
    plan: Plan,
    kernel: Kernel,
    journals: Journals,
    broken: Broken,
) -> dict[Mac, Journal]:
    """The journals of all links that the plan sets or addresses, written ahead of the changes."""
    found: dict[Mac, Journal] = {}
    for change in plan.changes:
        item, mac = change.item, change.mac
        if mac is None or not isinstance(item, LinkSetting | Address):
            continue
        if mac not in found:
            found[mac] = journals.read(mac, item.link.index)
        journal = found[mac]
        if change.action is Action.REMOVE:
            continue
        if isinstance(item, Address):
            journals.expect(mac, item.interface)
            if not kernel.marks_addresses:
                journal.addresses.add(item.interface)
        elif item.setting is Setting.ALTNAME:
            journals.expect(mac, str(item.value))
            journal.altnames.add(str(item.value))
        elif item.setting in RESTORED and isinstance(change.before, LinkSetting):
            journal.before.setdefault(item.setting, int(change.before.value))
    for mac, journal in found.items():
        try:
            journals.write(mac, journal)
        except Ec2netError as error:
            broken[mac, _BOTH] = (
                error  # without a journal no setting could be restored: leave the ENI unchanged
            )
    return found


def _close(done: list[Change], found: dict[Mac, Journal], journals: Journals) -> None:
    """Strike out what was removed."""
    touched = set()
    for change in done:
        item, mac = change.item, change.mac
        if change.action is not Action.REMOVE or mac is None or mac not in found:
            continue
        journal = found[mac]
        if isinstance(item, Address):
            journal.addresses.discard(item.interface)
        elif isinstance(item, LinkSetting) and item.setting is Setting.ALTNAME:
            journal.altnames.discard(str(item.value))
        elif isinstance(item, LinkSetting):
            journal.before.pop(item.setting, None)
        touched.add(mac)
    for mac in touched:
        try:
            journals.write(mac, found[mac])
        except Ec2netError as error:
            _log.warning("%s (the journal keeps one entry too many)", error)


_BOTH = 0
"""Stands for both IP versions, for a change that both need."""


def version_of(change: Change) -> int:
    """The IP version of a change: 4 or 6; 0 if both depend on the change."""
    return change.item.version if isinstance(change.item, KernelObject) else _BOTH


def _live(change: Change) -> KernelObject:
    assert isinstance(change.item, KernelObject), change.item
    return change.item


def _make(change: Change, kernel: Kernel, found: dict[Mac, Journal]) -> Ec2netError | None:
    """One change; the error if it failed."""
    item = _live(change)
    _log.debug("%s %s", change.action.value, item.describe())
    try:
        match change.action:
            case Action.ADD:
                _add(item, kernel)
            case Action.REPLACE:
                _replace(item, change.before, kernel)
            case Action.REMOVE:
                _remove(item, found.get(change.mac) if change.mac else None, kernel)
    except KernelError as error:
        gone = error.errno in (errno.ENODEV, errno.ENXIO, errno.ENETDOWN)
        # ENODEV also means that IPv6 is off on the link, or that its device resets.
        if gone and item.link is not None and not link_is_there(item.link.index):
            return LinkGone("the link was removed", subject=str(item.link))
        return error
    return None


def _add(item: KernelObject, kernel: Kernel) -> None:
    try:
        kernel.add(item)
    except KernelError as error:
        # Another tool added the same item first, or a dump did not show it.
        if error.errno != errno.EEXIST or not isinstance(item, Rule | Address):
            raise


def _replace(item: KernelObject, before: object, kernel: Kernel) -> None:
    if isinstance(item, Address) and isinstance(before, Address):
        if item.interface.version == 4 and item.interface != before.interface:
            kernel.add(item)
            kernel.remove(before)
        # the address is moved; or IPv6, which the kernel holds once, whatever the prefix length
        else:
            kernel.move(before, item)
        return
    kernel.replace(item)


def _remove(item: KernelObject, journal: Journal | None, kernel: Kernel) -> None:
    """Remove the item, or restore the former value of a setting."""
    if isinstance(item, LinkSetting) and item.setting is not Setting.ALTNAME:
        before = journal.before.get(item.setting) if journal is not None else None
        if before is not None:
            kernel.replace(LinkSetting(item.link, item.setting, before))
        return
    kernel.remove(item)
