# SPDX-License-Identifier: Apache-2.0
"""Functional checks of a VPC's guest: real connections from and to every address."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from ipaddress import ip_address

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import (
    Address,
    Answer,
    Attempt,
    Failure,
    Tick,
    connect_all,
)
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.hosts import Host
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.source_check import Drop

CHECK_LIMIT = 10.0
"""Seconds for all connections of a check, which run at once. A lost packet ends one after 1 s."""

_CLAIM_PROTOCOL = 199
"""Route protocol of the routes by which checks claim delegated prefixes."""


class PrefixUse(Enum):
    """How the guest comes to answer for delegated prefixes during a check."""

    CLAIM = "claim"
    """The check adds a local route for each, as an application on the guest would."""
    AS_IS = "as is"
    """Nothing is added: containers hold them, or ec2net made the local routes."""


class Checks:
    """The checks; the namespaces come from :class:`~ec2net.core.simulation.vpc.simulated.SimulatedVpc`."""

    guest: Namespace
    outside: Host

    def drops(self) -> tuple[Drop, ...]:
        raise NotImplementedError

    def connect(
        self,
        namespace: Namespace,
        source: Address | str | None,
        destination: Address | str,
        *,
        port: int = echo.PORT,
        timeout: float = CHECK_LIMIT,
        patient: bool = False,
    ) -> Answer | Failure:
        """One TCP connection to an echo service: who it was seen as, or why it failed."""
        attempt = Attempt(
            None if source is None else ip_address(source), ip_address(destination), port
        )
        return connect_all(namespace, [attempt], timeout, patient=patient)[0]

    def check_out(
        self,
        *enis: Eni,
        to: Host | None = None,
        prefixes: PrefixUse = PrefixUse.CLAIM,
        timeout: float = CHECK_LIMIT,
        patient: bool = False,
    ) -> list[Tick]:
        """Connect from every address of the ENIs to ``to`` (the outside): it must see the source."""
        host = self.outside if to is None else to
        return self._check(
            enis,
            self.guest,
            [(link, own, own, host.address(own.version)) for link, own in _samples(enis)],
            prefixes,
            timeout,
            patient,
        )

    def check_in(
        self,
        *enis: Eni,
        of: Host | None = None,
        prefixes: PrefixUse = PrefixUse.CLAIM,
        timeout: float = CHECK_LIMIT,
        patient: bool = False,
    ) -> list[Tick]:
        """Connect from ``of`` (the outside) to every address of the ENIs: it must be what answers."""
        host = self.outside if of is None else of
        return self._check(
            enis,
            host.namespace,
            [(link, own, host.address(own.version), own) for link, own in _samples(enis)],
            prefixes,
            timeout,
            patient,
        )

    def _check(
        self,
        enis: Sequence[Eni],
        namespace: Namespace,
        cases: Sequence[tuple[str, Address, Address | None, Address | None]],
        prefixes: PrefixUse,
        timeout: float,
        patient: bool,
    ) -> list[Tick]:
        """``cases``: link, the address that is checked, source and destination."""
        before = self.drops()
        possible = [
            (link, own, Attempt(source, destination))
            for link, own, source, destination in cases
            if source is not None and destination is not None
        ]
        with self._claimed(enis if prefixes is PrefixUse.CLAIM else ()):
            outcomes = connect_all(
                namespace, [attempt for _, _, attempt in possible], timeout, patient=patient
            )
        ticks = [
            _tick(link, own, attempt, outcome)
            for (link, own, attempt), outcome in zip(possible, outcomes, strict=True)
        ]
        if all(tick.ok for tick in ticks):
            return ticks
        fresh = _fresh(before, self.drops())
        return [tick if tick.ok else _with_drops(tick, fresh) for tick in ticks]

    @contextmanager
    def _claimed(self, enis: Sequence[Eni]) -> Iterator[None]:
        routes = [
            f"local {prefix} dev lo table local proto {_CLAIM_PROTOCOL}"
            for eni in enis
            for prefix in eni.prefixes()
        ]
        self.guest.ip_each(f"route add {route}" for route in routes)
        try:
            yield
        finally:
            self.guest.ip_each(f"route del {route}" for route in routes)


def _samples(enis: Sequence[Eni]) -> list[tuple[str, Address]]:
    return [(eni.name, address) for eni in enis for address in eni.samples()]


def _tick(link: str, own: Address, attempt: Attempt, outcome: Answer | Failure) -> Tick:
    if isinstance(outcome, Failure):
        return Tick(link, own, False, outcome.reason)
    if outcome.seen != attempt.source:
        return Tick(link, own, False, f"the other end saw {outcome.seen}")
    if outcome.local != attempt.destination:
        return Tick(link, own, False, f"{outcome.local} answered")
    return Tick(link, own, True, f"in {outcome.seconds * 1000:.0f} ms")


def _fresh(before: Sequence[Drop], after: Sequence[Drop]) -> list[Drop]:
    known = {(drop.port, drop.source, drop.destination): drop.packets for drop in before}
    return [
        drop
        for drop in after
        if drop.packets > known.get((drop.port, drop.source, drop.destination), 0)
    ]


def _with_drops(tick: Tick, drops: Sequence[Drop]) -> Tick:
    ports = sorted({drop.port for drop in drops if drop.source == str(tick.address)})
    if not ports:
        return tick
    reason = f"{tick.reason}; the source check dropped its packets at {', '.join(ports)}"
    return Tick(tick.link, tick.address, False, reason)
