# SPDX-License-Identifier: Apache-2.0
"""The present state: ec2net's file, and NetworkManager's view of the ENIs' links.

If NetworkManager does not answer, ec2net still serves the ENIs that it configured before, with live
changes alone. A link without an address is different. If another program gave it the first one,
NetworkManager would call the link external until the next boot.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from ec2net.backends.networkmanager import attempts, conf
from ec2net.backends.networkmanager.bus import BusError, Silence
from ec2net.backends.networkmanager.client import ABSENT, NetworkManager
from ec2net.backends.networkmanager.conf import ConfFile
from ec2net.backends.networkmanager.device import (
    EXTERNAL_REASON,
    NOT_MANAGED,
    Device,
    Routes,
    left_alone,
    routes,
    waits,
)
from ec2net.backends.networkmanager.items import Activation, AppliedMtu
from ec2net.backends.networkmanager.merge import Key, recorded
from ec2net.core.plugins.api import (
    Address,
    Deadline,
    Ec2netError,
    Environment,
    InPlace,
    Item,
    Link,
    LinkRef,
    LinkSetting,
    Mac,
    Manager,
    RunDir,
    Snapshot,
    link_manager,
)

MTU: Key = ("802-3-ethernet", "mtu")


@dataclass(frozen=True, slots=True)
class Seen:
    """The results of one observation of NetworkManager."""

    devices: dict[Mac, Device] = field(default_factory=dict)
    left_alone: dict[Mac, str] = field(default_factory=dict)
    waiting: dict[Mac, str] = field(default_factory=dict)
    activated: set[Mac] = field(default_factory=set)
    """ENIs whose activation in force is one of ec2net's."""
    file: ConfFile | None = None
    """The content at the path of ec2net's file."""
    live: set[Mac] = field(default_factory=set)
    """ENIs that ec2net brought up whole by netlink, which NetworkManager therefore calls external."""
    problem: Ec2netError | None = None
    """Why it did not answer; nothing of it is changed then."""


def look(manager: NetworkManager, run: RunDir, links: Collection[Link], deadline: Deadline) -> Seen:
    """Ask for each link."""
    seen = Seen(file=conf.in_place())
    for link in links:
        if link.mac is None:
            continue
        try:
            device = manager.device(link.name, deadline)
        except BusError as error:
            if not error.name or error.name in ABSENT:
                return Seen(file=seen.file, problem=_said(error))
            seen.waiting[link.mac] = str(error)  # of this one only
            continue
        except Silence as error:
            return Seen(file=seen.file, problem=_said(error))
        if device is not None and (reason := left_alone(device)):
            seen.left_alone[link.mac] = reason
        elif device is None or (reason := waits(device)):
            seen.waiting[link.mac] = waits(device)
        if device is not None:
            seen.devices[link.mac] = device
            if attempts.was_made(run, link.mac, device):
                seen.activated.add(link.mac)
    return seen


def without_it(
    seen: Seen,
    links: Collection[Link],
    snapshot: Snapshot,
    ours: Collection[Item],
    environment: Environment,
) -> None:
    """Let wait what NetworkManager, which does not answer, has not brought up yet, and what ec2net
    has not configured before: whether NetworkManager manages such an ENI is not known."""
    configured = {item.link.index for item in ours if isinstance(item, LinkSetting)}
    for link in links:
        if link.mac is None:
            continue
        if link_manager(link, environment) is Manager.LEFT_ALONE:
            seen.left_alone[link.mac] = NOT_MANAGED
        elif not _addresses(link, snapshot):
            seen.waiting[link.mac] = "only NetworkManager can bring it up, and it does not answer"
        elif link.index not in configured:
            seen.waiting[link.mac] = "only NetworkManager knows its state, and does not answer"


def serve_own(
    seen: Seen, links: Collection[Link], snapshot: Snapshot, ours: Collection[Item]
) -> None:
    """Serve the external links whose addresses are all ec2net's: it brought them up while no network
    manager would. They stay live, since an activation would take their addresses away."""
    own = {item for item in ours if isinstance(item, Address)}
    for link in links:
        if link.mac is None or seen.left_alone.get(link.mac) != EXTERNAL_REASON:
            continue
        here = _addresses(link, snapshot)
        if here and own.issuperset(here):
            del seen.left_alone[link.mac]
            seen.live.add(link.mac)


def _addresses(link: Link, snapshot: Snapshot) -> list[Address]:
    there = (found.item for found in snapshot.addresses_on(link.index))
    return [address for address in there if not address.interface.ip.is_link_local]


def _said(error: Ec2netError) -> Ec2netError:
    if isinstance(error, BusError) and error.name in ABSENT:
        return Ec2netError(
            "is not running",
            subject="NetworkManager",
            remedy="run: systemctl start NetworkManager; until then ec2net changes only the kernel",
        )
    return Ec2netError(
        f"does not answer: {error}",
        subject="NetworkManager",
        remedy="see 'systemctl status NetworkManager'; until then ec2net changes only the kernel",
    )


def in_place(seen: Seen, links: Collection[Link]) -> InPlace:
    """A file at ec2net's path without ec2net's header is foreign: it is reported, not replaced."""
    ours: list[Item] = []
    foreign: list[Item] = []
    adjustable: list[Item] = []
    if seen.file is not None:
        (ours if seen.file.ours else foreign).append(seen.file)
    for link in links:
        if link.mac is None or link.mac not in seen.devices or link.mac in seen.left_alone:
            continue
        device, ref = seen.devices[link.mac], LinkRef(link.index, link.name)
        where = routes(device)
        if where in (Routes.MAIN, Routes.PARKED, Routes.NONE):
            adjustable.append(Activation(ref, link.mac, where))
        if entry := recorded(device.applied).get(MTU):
            ours.append(AppliedMtu(ref, link.mac, int(entry.ours)))
    return InPlace(tuple(ours), tuple(foreign), tuple(adjustable))
