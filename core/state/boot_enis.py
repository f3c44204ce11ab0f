# SPDX-License-Identifier: Apache-2.0
"""Whether an ENI was attached at boot: decided once for each attachment, kept for the boot.

/run/ec2net/at-boot.json has the ENIs of the boot with their link indices. ``ec2net early`` creates
the file before a network manager starts; otherwise the first pass does. The kernel gives a link
index once (dev_index_reserve in net/core/dev.c), so an ENI that is detached and attached again is a
new attachment. A link that visits another network namespace keeps its index, and its attachment.

Until IMDS lists an ENI, only the time of its attachment distinguishes the host's ENIs from a CNI's.
ec2net must remember this time. IMDS does not publish it, EC2 reuses PCI addresses, and the kernel
reports no age of a link.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import LinkRef
from ec2net.core.state import codec
from ec2net.core.state.run_dir import RunDir

_FILE = "at-boot.json"

SETTLING = 10.0
"""Seconds from ``early`` in which a link that comes is still the boot's: a driver probes one device
after the other, and ``early`` waits for the first of them only."""

Links: TypeAlias = Mapping[Mac, tuple[Link, ...]]
"""All links with an ENI's MAC."""


@dataclass(frozen=True, slots=True)
class AtBoot:
    """The record. ``until``: what comes before that (monotonic clock, seconds) belongs to it."""

    until: float
    links: Mapping[Mac, frozenset[int]] = field(default_factory=dict)
    """The indices of their links."""

    def attached(self, mac: Mac, links: tuple[Link, ...], now: float) -> Attached:
        known = self.links.get(mac, frozenset())
        if now < self.until or any(link.index in known for link in links):
            return Attached.BOOT
        return Attached.LATER

    def with_links(self, links: Mapping[Mac, Collection[Link | LinkRef]]) -> "AtBoot":
        """With these ENIs as the boot's."""
        found = {mac: frozenset(link.index for link in same) for mac, same in links.items()}
        older = {mac: self.links.get(mac, frozenset()) for mac in found}
        return replace(self, links={**self.links, **{m: found[m] | older[m] for m in found}})


def when_attached(boot: AtBoot | None, links: Links, now: float) -> dict[Mac, Attached]:
    """When each of these ENIs was attached. Without a record all are there since boot."""
    if boot is None:
        return dict.fromkeys(links, Attached.BOOT)
    return {mac: boot.attached(mac, same, now) for mac, same in links.items()}


def record(run: RunDir, links: Links, now: float) -> None:
    """The record of ``early``, if there is none yet. Raises ``StateError``.

    Without an ENI no record is begun: the host's ENIs may be pending.
    """
    if links and read(run) is None:
        write(run, AtBoot(now + SETTLING).with_links(links))


def read(run: RunDir) -> AtBoot | None:
    return codec.read(run, _FILE, AtBoot)


def after(boot: AtBoot | None, links: Mapping[Mac, Collection[LinkRef]]) -> AtBoot | None:
    """The record with these ENIs as the boot's. Without an ENI there is none to begin."""
    return (boot or AtBoot(0.0)).with_links(links) if links else boot


def write(run: RunDir, boot: AtBoot | None) -> None:
    """Raises ``StateError``."""
    if boot is not None:
        codec.write(run, _FILE, boot)
