# SPDX-License-Identifier: Apache-2.0
"""Wait for leases of a network manager's DHCP client: addresses that ec2net's routes name as
source."""

import logging
from collections.abc import Collection

from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, AnyAddress, Route
from ec2net.core.model.plan import Action, Change
from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.live")

_ADDRESS_GROUPS = 0x10 | 0x100
"""RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR."""


def await_sources(
    changes: Collection[Change], macs: Collection[Mac | None], kernel: Kernel, limit: Deadline
) -> None:
    """Wait until the links have the addresses that routes of these ENIs prefer.

    Not coming is no error here: the route that needs it says so.
    """
    coming = {c.item.interface.ip for c in changes if isinstance(c.item, Address)}
    needed: set[AnyAddress] = {
        change.item.source
        for change in changes
        if change.mac in macs
        and change.action is not Action.REMOVE
        and isinstance(change.item, Route)
        and change.item.source is not None
        and change.item.source not in coming
    }
    if not needed:
        return
    with KernelEvents(_ADDRESS_GROUPS) as events:
        try:
            events.wait_for(lambda: needed <= kernel.addresses(), limit)
        except DeadlineExceeded:
            missing = ", ".join(sorted(map(str, needed - kernel.addresses())))
            _log.warning("no lease of %s arrived within %g s", missing, limit.seconds)
