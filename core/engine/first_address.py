# SPDX-License-Identifier: Apache-2.0
"""The start of ec2net at a boot: it acts after the network manager has given the first address.

Its units start directly after the network manager, so that Python's imports (0.2 s) do not follow the
lease. Before the first address IMDS cannot answer.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

from ec2net.core.decide.candidate import eni_links
from ec2net.core.decide.intent import EniIntent
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.pass_plan import View
from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.live.observe import snapshot_of
from ec2net.core.model.errors import DeadlineExceeded, Ec2netError
from ec2net.core.model.objects import Address
from ec2net.core.model.plan import Action, Change
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.last_pass import last_pass

SECONDS = 5.0
"""For the first address. Without an address until then, ec2net acts as at any other time."""

TICK = 0.1
"""Seconds between two checks for the first address: the daemon's filter of events may not know the
link yet."""

IPV6_ALONE = 0.2
"""Seconds in which an IPv4 address may follow. IMDS answers by IPv6 only if that is enabled."""

IMDS_SECONDS = 1.0
"""From the first address: for IMDS to describe the primary ENI. The boot waits no longer for it."""

LEAST_IMDS_SECONDS = 0.5
"""For each reading of IMDS."""

_GROUPS = 0x10 | 0x100
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (include/uapi/linux/rtnetlink.h)."""


def prepare(engine: Engine) -> None:
    """Do a pass's imports and a first reading of the kernel, while the network manager starts."""
    import_module("ec2net.core.imds.transport")
    _ = engine.backends
    with suppress(Ec2netError):  # the pass reports it
        snapshot_of(engine.kernel, engine.config.drivers, engine.run)


class FirstAddress:
    """Whether the first ENI has an address.

    The first ENI is the probable primary one, as in ``ec2net early``. Through another ENI, or with
    the address of another ENI, a question to IMDS would not pass the VPC's source check.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ipv6_alone: float | None = None

    def is_given(self, now: float) -> bool:
        """``now``: of the monotonic clock. Raises ``KernelError``."""
        versions = self._versions()
        if 4 in versions:
            return True
        if 6 in versions and self._ipv6_alone is None:
            self._ipv6_alone = now
        return self._ipv6_alone is not None and now - self._ipv6_alone >= IPV6_ALONE

    def _versions(self) -> set[int]:
        """The IP versions of the first ENI's addresses, without link-local ones."""
        kernel = self._engine.kernel
        enis = eni_links(kernel.links(), self._engine.config.drivers)
        first = min((link.index for same in enis.values() for link in same), default=None)
        states = [one for one in kernel.address_states({}) if one.link.index == first]
        return {one.interface.version for one in states if not one.interface.ip.is_link_local}


def wait(engine: Engine, limit: Deadline) -> None:
    """Until the first address, or ``limit``. Raises what interrupts the deadline, ``KernelError``."""
    prepare(engine)
    first = FirstAddress(engine)
    with KernelEvents(_GROUPS) as events:
        while not first.is_given(time.monotonic()) and not limit.expired():
            with suppress(DeadlineExceeded):
                limit.within(min(TICK, limit.remaining()), limit.what).wait(events.fileno())
            events.drain()


def primary_is_complete(view: View, done: Iterable[Change]) -> bool:
    """Whether the primary ENI has its addresses after the changes of a pass, so that a boot may go on."""
    primary = next((intent for intent in view.host.ready if intent.primary), None)
    return primary is not None and has_addresses(primary, view.snapshot, done)


def has_addresses(intent: EniIntent, snapshot: Snapshot, done: Iterable[Change] = ()) -> bool:
    """Whether every address of the ENI is on its link, by a snapshot and the changes after it."""
    items = [found.item for found in snapshot.addresses]
    items += [
        change.item
        for change in done
        if isinstance(change.item, Address) and change.action is not Action.REMOVE
    ]
    there = {(item.link.index, item.interface.ip) for item in items}
    return all((intent.link.index, source.ip) in there for source in intent.sources)


class Boot:
    """When the daemon acts until its READY=1. Times are of the monotonic clock, in seconds."""

    def __init__(self, engine: Engine, began: float) -> None:
        self._first = FirstAddress(engine)
        self._began = began
        self.restarted = last_pass(engine.run) is not None
        """Whether a pass has ended in this boot before."""
        self._begun = self.restarted  # a restart waits for no address
        self._given: float | None = began if self.restarted else None
        self._again = began

    def due(self, now: float) -> bool:
        """Whether to run a pass. Raises ``KernelError``."""
        if self._given is None and self._first.is_given(now):
            self._given = now
            self._again = min(self._again, now)
        if not self._begun:
            if self._given is None and now < self._began + SECONDS:
                self._again = now + TICK
                return False
            self._begun, self._again = True, now
        return self._again <= now

    def stir(self, now: float) -> None:
        """An ENI got an address, which the pass may have missed."""
        self._again = now

    def retry(self, now: float, first: float, share: float) -> None:
        """The pass left something pending: run the next one after a share of the time so far."""
        self._again = now + max(first, share * (now - (self._given or self._began)))

    @property
    def next(self) -> float:
        """When to wake up without an event."""
        return self._again

    def imds_seconds(self, now: float) -> float:
        """How long a pass may read IMDS."""
        return max(LEAST_IMDS_SECONDS, IMDS_SECONDS - (now - (self._given or now)))

    def is_imds_late(self, now: float) -> bool:
        """Whether the boot waits for IMDS no longer. Without an address, IMDS cannot answer."""
        return self._given is not None and now - self._given >= IMDS_SECONDS
