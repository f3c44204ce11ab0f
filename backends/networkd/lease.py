# SPDX-License-Identifier: Apache-2.0
"""An ENI's first IPv4 address, which networkd leases, and what has to wait for it. Pure.

Further addresses before it would take its place as the first one, and the kernel refuses a route
whose source is not there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ec2net.core.plugins.api import (
    Action,
    Address,
    AnyAddress,
    Change,
    LinkRef,
    Mac,
    NotYet,
    Route,
    version_of,
)


@dataclass(frozen=True, slots=True)
class Lease:
    """``ours``: networkd leases it by an ec2net file; otherwise its origin is unknown.

    ``address`` is None for an ENI without IPv4.
    """

    link: LinkRef
    address: AnyAddress | None
    ours: bool

    def missing(self, seconds: float) -> NotYet:
        if self.ours:
            problem = f"its first address {self.address} got no lease within {seconds:.3g} s"
        else:
            problem = f"its first address {self.address} is missing"
        return NotYet(
            f"{problem}, and the other addresses must follow it",
            remedy=f"the next pass retries; see 'networkctl status {self.link}'",
        )


def held_until(leases: Mapping[Mac, Lease], changes: Iterable[Change]) -> dict[Mac, list[Change]]:
    """By ENI, the items that need its first IPv4 address: IPv4 addresses and routes, and every
    removal of IPv4, which comes last.

    If another tool brings the address, only routes that prefer it show that it must arrive.
    """
    held: dict[Mac, list[Change]] = {}
    for change in changes:
        if change.mac is None or version_of(change) != 4:
            continue
        if change.mac not in leases or leases[change.mac].address is None:
            continue
        if change.action is Action.REMOVE or isinstance(change.item, Address | Route):
            held.setdefault(change.mac, []).append(change)
    return {
        mac: found
        for mac, found in held.items()
        if any(change.action is not Action.REMOVE for change in found)
        and (leases[mac].ours or any(_prefers(change, leases[mac]) for change in found))
    }


def _prefers(change: Change, lease: Lease) -> bool:
    item = change.item
    return (
        isinstance(item, Route)
        and change.action is not Action.REMOVE
        and item.source == lease.address
    )
