# SPDX-License-Identifier: Apache-2.0
"""Write files, let networkd read them, and make the live changes as the leases come.

networkd is asked to reload only when a file of an attached link changed or was not read; it then
configures that link and no other.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from ec2net.backends.networkd import files
from ec2net.backends.networkd.files import NetworkFile
from ec2net.backends.networkd.lease import Lease, held_until
from ec2net.backends.networkd.reload import reload
from ec2net.backends.networkd.unread import Unread, UnreadFiles
from ec2net.core.backend import Applied, Failure, Host
from ec2net.core.deadline import Deadline
from ec2net.core.errors import DeadlineExceeded, Ec2netError
from ec2net.core.identity import Mac
from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.apply import Broken
from ec2net.core.plan import Action, Change, Plan

_log = logging.getLogger("ec2net.networkd")

LEASE_SHARE = 0.8
"""Of what is left of a pass: the changes that follow a lease need time, too."""

_RTMGRP_IPV4_IFADDR = 0x10

Live: TypeAlias = Callable[[Plan, Broken], Applied]
"""Makes changes of kernel objects."""


def apply(
    plan: Plan, host: Host, live: Live, leases: Mapping[Mac, Lease], deadline: Deadline
) -> Applied:
    """``leases``: the first IPv4 address of each ENI that the plan is for."""
    broken: Broken = {}
    given, steps = _settle_files(plan, UnreadFiles(host.run), broken, deadline)
    rest = [c for c in plan.changes if not isinstance(c.item, NetworkFile | Unread)]
    waiting = held_until(leases, rest)
    if waiting:
        there = host.kernel.addresses()
        waiting = {mac: held for mac, held in waiting.items() if leases[mac].address not in there}
    late = {id(change) for held in waiting.values() for change in held}
    steps.append(live(Plan(tuple(c for c in rest if id(c) not in late)), broken))
    limit = deadline.within(
        min(host.patience, LEASE_SHARE * deadline.remaining()), "waiting for leases"
    )
    expected = {
        mac: leases[mac]
        for mac in waiting
        if (leases[mac].ours or mac in given) and (mac, 0) not in broken and (mac, 4) not in broken
    }
    for mac in _arrivals(expected, host.kernel, limit):
        steps.append(live(Plan(tuple(waiting.pop(mac))), broken))
    for mac, held in waiting.items():
        broken.setdefault((mac, 4), leases[mac].missing(limit.seconds))
        steps.append(live(Plan(tuple(held)), broken))
    return Applied(
        tuple(change for step in steps for change in step.done),
        tuple(failure for step in steps for failure in step.failed),
    )


def _settle_files(
    plan: Plan, unread: UnreadFiles, broken: Broken, deadline: Deadline
) -> tuple[Collection[Mac | None], list[Applied]]:
    """Write and remove files and let networkd read them: the ENIs concerned, and what was done.

    Files of links that are gone concern networkd no more.
    """
    changes = [c for c in plan.changes if isinstance(c.item, NetworkFile)]
    due = [replace(c, mac=c.item.mac) for c in plan.changes if isinstance(c.item, Unread)]
    attached = [change for change in changes if change.mac is not None]
    done: list[Change] = []
    failed: list[Failure] = []
    try:
        if attached:
            unread.note(c.item for c in attached if isinstance(c.item, NetworkFile))
    except Ec2netError as error:
        failed = [Failure(change, error) for change in attached]
        changes = [change for change in changes if change not in attached]
    for change in changes:
        try:
            _make(change)
        except Ec2netError as error:
            failed.append(Failure(change, error))
        else:
            done.append(change)
    given = [change for change in done if change.mac is not None] + due
    done = [change for change in done if change not in given]
    if given:
        try:
            reload(deadline)
            unread.clear()
        except Ec2netError as error:
            failed += [Failure(change, error) for change in given]
        else:
            done += given
    broken |= {(failure.change.mac, 0): failure.error for failure in failed}
    return {change.mac for change in given}, [Applied(tuple(done), tuple(failed))]


def _make(change: Change) -> None:
    """Raises ``StateError``."""
    assert isinstance(change.item, NetworkFile)
    _log.debug("%s %s", change.action.value, change.item.describe())
    if change.action is Action.REMOVE:
        files.remove(change.item)
    else:
        files.write(change.item)


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
