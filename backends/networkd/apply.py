# SPDX-License-Identifier: Apache-2.0
"""Bring the rules, let networkd read its files, and make the other live changes as leases come.

networkd is asked to reload only when a file of an attached link changed or was not read; it then
configures that link and no other.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ec2net.backends.networkd import files
from ec2net.backends.networkd.defaults import are_in_force, withhold
from ec2net.backends.networkd.files import NetworkFile
from ec2net.backends.networkd.lease import Lease, held_until
from ec2net.backends.networkd.reload import RETRY_SECONDS, reload
from ec2net.backends.networkd.unread import Unread, UnreadFiles
from ec2net.core.plugins.api import (
    Action,
    Applied,
    Broken,
    Change,
    Deadline,
    DeadlineExceeded,
    Ec2netError,
    Failure,
    Host,
    Kernel,
    KernelEvents,
    Mac,
    Plan,
    changes_ahead,
    guard_routes,
    guarded,
    lift_guards,
    put_guards,
)

_log = logging.getLogger("ec2net.networkd")

LEASE_SECONDS = 1.0
"""In one pass, which holds the host lock; leases take some 0.1 s. ``start`` retries."""
LEASE_SHARE = 0.5
"""Share of the remaining time of a pass: the changes that follow a lease need time, too."""

UP_SECONDS = 2.0
"""For networkd to bring a link up that it has a file for; it takes milliseconds."""

_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10

Live: TypeAlias = Callable[[Plan, Broken], Applied]
"""Makes changes of kernel objects."""


@dataclass(slots=True)
class _Pass:
    """The changes done and failed so far, and the changes of each ENI that are left out for that."""

    live: Live
    deadline: Deadline
    done: list[Change] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    broken: Broken = field(default_factory=dict)

    def make(self, changes: Iterable[Change]) -> None:
        """Live changes."""
        part = Plan(tuple(changes))
        if part:
            made = self.live(part, self.broken)
            self.done += made.done
            self.failed += made.failed

    def fail(self, change: Change, error: Ec2netError, *, alone: bool = False) -> None:
        """``alone``: nothing else of the ENI builds on it."""
        self.failed.append(Failure(change, error))
        if change.mac is not None and not alone:
            self.broken[change.mac, 0] = error

    def is_broken(self, mac: Mac | None) -> bool:
        return (mac, 0) in self.broken or (mac, 4) in self.broken


def apply(
    plan: Plan, host: Host, live: Live, leases: Mapping[Mac, Lease], deadline: Deadline
) -> Applied:
    """``leases``: the first IPv4 address of each ENI that the plan is for, and that networkd leases."""
    work = _Pass(live, deadline)
    kernel = host.kernel
    changes = [c for c in plan.changes if not isinstance(c.item, NetworkFile | Unread)]
    given = _given(plan)
    ahead = changes_ahead(changes, given)
    guards = guard_routes(changes, given)
    put_guards(guards, kernel)
    work.make(ahead)
    _settle_files(plan, given, leases, host, work)
    coming = {leases[mac].link.index for mac in given if mac in leases and not work.is_broken(mac)}
    _await_up(coming, kernel, deadline.within(min(UP_SECONDS, host.patience), "waiting for links"))
    made = frozenset(ahead)
    rest = [change for change in changes if change not in made]
    waiting = held_until(leases, rest)
    if waiting:
        there = kernel.addresses()
        waiting = {mac: held for mac, held in waiting.items() if leases[mac].address not in there}
    late = frozenset(change for held in waiting.values() for change in held)
    work.make(change for change in rest if change not in late)
    seconds = min(LEASE_SECONDS, host.patience, LEASE_SHARE * deadline.remaining())
    limit = deadline.within(seconds, "waiting for leases")
    expected = {
        mac: leases[mac]
        for mac in waiting
        if (leases[mac].ours or mac in given) and not work.is_broken(mac)
    }
    for mac in _arrivals(expected, kernel, limit):
        work.make(waiting.pop(mac))
    for mac, held in waiting.items():
        work.broken.setdefault((mac, 4), leases[mac].missing(limit.seconds))
        work.make(held)
    lift_guards(guards, {(mac, 4) for mac in waiting}, kernel)
    return Applied(tuple(work.done), tuple(work.failed))


def apply_while_down(plan: Plan, host: Host, live: Live, deadline: Deadline) -> Applied:
    """Write the files, which networkd reads when it starts, and make every live change now.

    ``networkctl reload`` would start it (D-Bus activation), though a user may have stopped it.
    """
    work = _Pass(live, deadline)
    noted = {change.mac for change in plan.changes if change.mac is not None}
    work.done += _write_files(plan, noted, UnreadFiles(host.run), work)
    rest = [change for change in plan.changes if not isinstance(change.item, NetworkFile | Unread)]
    with guarded(rest, host.kernel):
        work.make(rest)
    return Applied(tuple(work.done), tuple(work.failed))


def _given(plan: Plan) -> set[Mac]:
    """The ENIs that networkd is about to read something new for."""
    given = {change.mac for change in plan.changes if isinstance(change.item, NetworkFile)}
    given |= {change.item.mac for change in plan.changes if isinstance(change.item, Unread)}
    return {mac for mac in given if mac is not None}


def _settle_files(
    plan: Plan, given: Collection[Mac], leases: Collection[Mac], host: Host, work: _Pass
) -> None:
    """Write and remove files, and let networkd read them; those of gone links concern it no more.

    An ENI that waits for no lease does not wait for a reload either.
    """
    unread = UnreadFiles(host.run)
    due = [replace(c, mac=c.item.mac) for c in plan.changes if isinstance(c.item, Unread)]
    again = bool(due)
    for change in _write_files(plan, given, unread, work):
        (due if change.mac in given else work.done).append(change)
    if due:
        try:
            if not are_in_force(host.environment):
                # before networkd reads them: as at boot, where the package was installed later
                withhold()
            reload(
                work.deadline.within(RETRY_SECONDS, "networkctl reload") if again else work.deadline
            )
            unread.clear()
        except Ec2netError as error:
            for change in due:
                work.fail(change, error, alone=change.mac not in leases)
        else:
            work.done += due


def _write_files(
    plan: Plan, given: Collection[Mac | None], unread: UnreadFiles, work: _Pass
) -> list[Change]:
    """The changes of files that were made. Those of ``given`` ENIs are noted as unread before."""
    made = []
    for change in plan.changes:
        if not isinstance(change.item, NetworkFile):
            continue
        try:
            if change.mac in given:
                unread.note([change.item])
            _make(change.action, change.item)
        except Ec2netError as error:
            work.fail(change, error)
        else:
            made.append(change)
    return made


def _make(action: Action, file: NetworkFile) -> None:
    """Raises ``StateError``."""
    _log.debug("%s %s", action.value, file.describe())
    if action is Action.REMOVE:
        files.remove(file)
    else:
        files.write(file)


def _await_up(links: Collection[int], kernel: Kernel, limit: Deadline) -> None:
    """The kernel takes no route through a link that is down. Not coming up is no error here: the
    route that needs it says so."""
    if not links:
        return
    with KernelEvents(_RTMGRP_LINK) as events, suppress(DeadlineExceeded):
        events.wait_for(
            lambda: all(link.up for link in kernel.links() if link.index in links), limit
        )


def _arrivals(expected: Mapping[Mac, Lease], kernel: Kernel, limit: Deadline) -> Iterator[Mac]:
    """Each ENI when its first address is there, until the limit."""
    left = dict(expected)
    if not left:
        return
    with KernelEvents(_RTMGRP_IPV4_IFADDR) as events:
        while left:  # ends by deadline
            there = kernel.addresses()
            arrived = [mac for mac, lease in left.items() if lease.address in there]
            for mac in arrived:
                del left[mac]
                yield mac
            if not arrived:
                try:
                    limit.wait(events.fileno())
                except DeadlineExceeded:
                    return
                events.drain()
