# SPDX-License-Identifier: Apache-2.0
"""Whether an ENI was there when the host booted: decided once per attachment, kept for the boot.

/run/ec2net/at-boot.json has the ENIs of the boot with their link indices. ``ec2net early`` begins
it, before a network manager starts; where it did not run, the first pass does. The kernel gives a
link index once (dev_index_reserve in net/core/dev.c), so an ENI that is detached and comes back is
another attachment; one that visits another network namespace keeps its index, and stays the boot's.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import LinkRef
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
    indices: Mapping[Mac, frozenset[int]] = field(default_factory=dict)

    def attached(self, mac: Mac, links: tuple[Link, ...], now: float) -> Attached:
        known = self.indices.get(mac, frozenset())
        if now < self.until or any(link.index in known for link in links):
            return Attached.BOOT
        return Attached.LATER


def when_attached(run: RunDir, links: Links, now: float) -> dict[Mac, Attached]:
    """When each of these ENIs was attached. Without a record all are there since boot."""
    record = _read(run) or AtBoot(math.inf)
    return {mac: record.attached(mac, same, now) for mac, same in links.items()}


def record(run: RunDir, links: Links, now: float) -> None:
    """The record of ``early``, if there is none yet. Raises ``StateError``.

    Without an ENI nothing is begun: the host's own may be on their way.
    """
    if links and _read(run) is None:
        indices = {mac: frozenset(link.index for link in same) for mac, same in links.items()}
        _write(run, AtBoot(now + SETTLING, indices))


def remember(run: RunDir, links: Mapping[Mac, Collection[LinkRef]]) -> None:
    """Store that these ENIs are the boot's. Raises ``StateError``."""
    record = _read(run) or AtBoot(0.0)
    indices = dict(record.indices)
    for mac, same in links.items():
        indices[mac] = indices.get(mac, frozenset()) | {link.index for link in same}
    if indices != record.indices:
        _write(run, AtBoot(record.until, indices))


def _write(run: RunDir, record: AtBoot) -> None:
    links = {str(mac): sorted(found) for mac, found in record.indices.items()}
    run.write(_FILE, {"until": record.until, "links": links})


def _read(run: RunDir) -> AtBoot | None:
    data = run.read(_FILE)
    try:
        if data is None:
            return None
        return AtBoot(
            float(data["until"]),
            {Mac.parse(mac): frozenset(map(int, of)) for mac, of in data["links"].items()},
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None  # not written by this version: as if there were none
