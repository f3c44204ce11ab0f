# SPDX-License-Identifier: Apache-2.0
"""The present items, identified by mark and journal. Reads the snapshot and the journals only."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from ec2net.core.decide.ownership import marked, unmarked
from ec2net.core.kernel.session import NOT_ASKED, Asked, Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.facts import Link
from ec2net.core.model.numbers import IPV6_MTU_MIN
from ec2net.core.model.objects import Address, LinkSetting, Setting
from ec2net.core.model.plan import InPlace, Item, purpose_of
from ec2net.core.model.purpose import Purpose
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.run_dir import RunDir


def observe(
    snapshot: Snapshot, links: Collection[Link], kernel: Kernel, journals: Journals
) -> InPlace:
    """The marked objects of the whole host, and the settings of these links. Detached ENIs leave rules."""
    ours: list[Item] = list(marked(snapshot, kernel.protocol))
    foreign: list[Item] = []
    adjustable: list[Item] = []
    journaled: set[tuple[int, object]] = set()
    for link in links:
        if link.mac is None:
            continue
        journal = journals.read(link.mac, link.index)
        held = [found.item.interface for found in snapshot.addresses_on(link.index)]
        journals.compare(link.mac, journal, {*link.altnames, *held})
        # Also where addresses are marked: an older pyroute2, which cannot mark, may have added
        # them.
        journaled.update((link.index, address) for address in journal.addresses)
        for item in snapshot.settings(link):
            if item.setting is Setting.ALTNAME:
                (ours if item.value in journal.altnames else foreign).append(item)
            elif item.setting in journal.before and _can_be_given_back(item, journal, link):
                ours.append(item)
            elif item.setting is Setting.GROUP and item.value != 0:
                foreign.append(item)  # a user has assigned the group: ec2net does not take it
            else:
                adjustable.append(item)
    for other in unmarked(snapshot, kernel.protocol):
        mine = isinstance(other, Address) and (other.link.index, other.interface) in journaled
        (ours if mine else foreign).append(other)
    # Reply marks never exist without their rule, so ec2net hardly ever calls nft.
    if any(purpose_of(item) is Purpose.ANSWERS for item in ours):
        with suppress(KernelError):  # the marks count as missing: adding them shows the error
            ours += kernel.reply_marks()
    return InPlace(tuple(ours), tuple(foreign), tuple(adjustable))


def _can_be_given_back(item: LinkSetting, journal: Journal, link: Link) -> bool:
    """Not an earlier MTU that the device does not accept any more: each pass would fail with it.

    Nor one that would remove IPv6 from the link.
    """
    before = journal.before[item.setting]
    keeps_ipv6 = before >= IPV6_MTU_MIN or not link.ipv6
    return item.setting is not Setting.MTU or (link.accepts(before) and keeps_ipv6)


def snapshot_of(
    kernel: Kernel, drivers: Iterable[str], run: RunDir, asked: Asked = NOT_ASKED
) -> Snapshot:
    """The kernel's, in which addresses are marked. Raises ``KernelError``."""
    snapshot = kernel.snapshot(drivers, asked)
    if kernel.marks_addresses:
        return snapshot
    return with_journaled(snapshot, Journals(run), kernel.protocol)


def with_journaled(snapshot: Snapshot, journals: Journals, protocol: int) -> Snapshot:
    """Addresses as if they were marked, where they cannot be: those of the journals are."""
    ours = journals.addresses(snapshot.links)
    addresses = tuple(
        replace(found, protocol=protocol)
        if (found.item.link.index, found.item.interface) in ours
        else found
        for found in snapshot.addresses
    )
    return replace(snapshot, addresses=addresses)
