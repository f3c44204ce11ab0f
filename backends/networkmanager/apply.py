# SPDX-License-Identifier: Apache-2.0
"""Write the file, activate what needs it, set the MTU, let the live changes be made.

Each ENI for itself. After a silence nothing more is asked of NetworkManager in this pass: the
other ENIs' live changes are not to wait for it.
"""

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ec2net.backends.networkmanager import attempts, conf
from ec2net.backends.networkmanager.bus import BusError, Silence
from ec2net.backends.networkmanager.client import VERSION_ID_MISMATCH, NetworkManager
from ec2net.backends.networkmanager.conf import ConfFile
from ec2net.backends.networkmanager.device import Device, Routes
from ec2net.backends.networkmanager.items import Activation, AppliedMtu
from ec2net.backends.networkmanager.merge import merged
from ec2net.backends.networkmanager.observe import MTU
from ec2net.backends.networkmanager.profile import in_memory
from ec2net.backends.networkmanager.typed import Typed
from ec2net.core.plugins.api import (
    Action,
    Applied,
    Change,
    Deadline,
    Ec2netError,
    Failure,
    Host,
    Mac,
    Plan,
)

_log = logging.getLogger("ec2net.networkmanager")

ACTIVATION_SECONDS = 10.0
"""For a profile's activation until it has addresses: DHCPv4 asks again after 4 s if its first
request is lost (RFC 2131, 4.1), and then once more."""

REAPPLY_ATTEMPTS = 5
"""When others change the applied connection in between, each attempt starts from what they made."""


_ORDER = (ConfFile, Activation, AppliedMtu)
"""Forth and back: an activation takes what the file says, or says no more."""


@dataclass(slots=True)
class _Work:
    """The results of NetworkManager's changes."""

    done: list[Change] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    broken: dict[Mac, Ec2netError] = field(default_factory=dict)
    silence: Ec2netError | None = None
    activated: list[Activation] = field(default_factory=list)


def apply(
    plan: Plan,
    manager: NetworkManager,
    devices: dict[Mac, Device],
    host: Host,
    live: Callable[[Plan, Collection[Activation], Deadline], Applied],
    deadline: Deadline,
) -> Applied:
    """``live`` changes kernel objects after the necessary leases have arrived. It gets the
    activations, since each of them removes everything from its link."""
    own = [c for c in plan.changes if isinstance(c.item, _ORDER)]
    rest = [c for c in plan.changes if not isinstance(c.item, _ORDER)]
    work = _Work()
    for change in sorted(own, key=lambda change: _ORDER.index(type(change.item))):
        _make(change, manager, devices, host, work, deadline)
    skipped = [c for c in rest if c.mac is not None and c.mac in work.broken]
    kept = tuple(c for c in rest if c.mac is None or c.mac not in work.broken)
    made = live(replace(plan, changes=kept), work.activated, deadline)
    work.failed += [Failure(c, work.broken[c.mac]) for c in skipped if c.mac is not None]
    return Applied((*work.done, *made.done), (*work.failed, *made.failed))


def _make(
    change: Change,
    manager: NetworkManager,
    devices: dict[Mac, Device],
    host: Host,
    work: _Work,
    deadline: Deadline,
) -> None:
    item = change.item
    _log.debug("%s %s", change.action.value, item.describe())
    try:
        if work.silence is not None:
            raise work.silence
        match item:
            case ConfFile():
                _write(change, manager, deadline)
            case Activation() if change.action is not Action.REMOVE:
                _activate(item, change.before, manager, devices[item.mac], host, deadline)
                work.activated.append(item)
            case AppliedMtu():
                wanted = None if change.action is Action.REMOVE else item.value
                set_mtu(devices[item.mac].path, wanted, manager, deadline)
    except Ec2netError as error:
        if isinstance(error, Silence):
            work.silence = error
        work.failed.append(Failure(change, error))
        # With its routes in main an ENI's rules would misroute replies; without the MTU, or with
        # the earlier file, the rest still works.
        if isinstance(item, Activation) and change.mac is not None:
            work.broken[change.mac] = error
    else:
        work.done.append(change)


def _write(change: Change, manager: NetworkManager, deadline: Deadline) -> None:
    assert isinstance(change.item, ConfFile)
    if change.action is Action.REMOVE:
        conf.remove()
        with suppress(BusError):  # NetworkManager may be stopped, and the ENIs another backend's
            manager.reload_conf(deadline)
        return
    conf.write(change.item)
    try:
        manager.reload_conf(deadline)
    except Ec2netError:
        # An existing file counts as known: it must be planned again.
        if isinstance(change.before, ConfFile):
            conf.write(change.before)
        else:
            conf.remove()
        raise


def _activate(
    item: Activation,
    before: object,
    manager: NetworkManager,
    device: Device,
    host: Host,
    deadline: Deadline,
) -> None:
    if item.routes is Routes.NONE:
        # the inverse of an earlier addition: it is not foreign, and is removed with its link
        return
    limit = deadline.within(ACTIVATION_SECONDS, f"activating a connection on {item.link}")
    if isinstance(before, Activation) and before.routes is Routes.NONE:
        active = manager.add_and_activate(in_memory(item), device.path, limit)
    else:
        active = manager.activate(device.connection, device.path, limit)
    attempts.note(host.run, item.mac, active)
    manager.await_addresses(device.path, active, limit)


def set_mtu(device: str, value: int | None, manager: NetworkManager, deadline: Deadline) -> None:
    """One Reapply, and only if it changes something. Raises ``BusError`` or ``Silence``."""
    wanted = {} if value is None else {MTU: Typed("u", value)}
    for attempt in range(1, REAPPLY_ATTEMPTS + 1):
        settings, version = manager.applied(device, deadline)
        result = merged(settings, wanted)
        if not settings or result is None:
            return
        try:
            manager.reapply(device, result, version, deadline)
            return
        except BusError as error:
            if error.name != VERSION_ID_MISMATCH or attempt == REAPPLY_ATTEMPTS:
                raise
