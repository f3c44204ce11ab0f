# SPDX-License-Identifier: Apache-2.0
"""When each kind of work is due. Pure: callers give the time (monotonic, seconds) and events.

Five kinds of work, by their cost: a *poll* reads IMDS's keys and everything of the kernel; a reading
of the *listings* of keys, half an interval later, finds new keys; a *look* reads only the kernel, and a
*verification* also asks the kernel for ways; single ENIs are read while something of them is pending.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from ec2net.core.config.settings import ResidentSettings
from ec2net.core.daemon.eni_state import EniTrack
from ec2net.core.daemon.poll_interval import RepairBudget, poll_interval
from ec2net.core.model.identity import Mac

VERIFY_SOON = 1.0
"""Seconds from the first foreign change to the verification: tools make several changes at once."""
VERIFY_PAUSE = 10.0
"""Seconds between two verifications that foreign changes cause: a container host makes many."""
VERIFY_AT_ONCE = 6
"""Such verifications that need not wait. Leases and advertisements at boot cause about three, and a VPN
that starts then is reported at once all the same."""
ROUTES_SECONDS = 10.0
"""Between two looks for changed routes of others: a routing daemon changes them all the time."""
ROUTES_AT_ONCE = 3
"""Looks for changed routes that need not wait: a network manager adds routes of a new ENI over some
seconds, and each may take the primary ENI's traffic."""


class Kind(Enum):
    """The scope of a pass."""

    POLL = "poll"
    LISTINGS = "listings"
    LOOK = "look"
    VERIFY = "verify"
    ENIS = "enis"


@dataclass(frozen=True, slots=True)
class Work:
    """``macs`` are the ENIs that it is for; empty unless the kind is ENIS."""

    kind: Kind
    macs: frozenset[Mac] = frozenset()


class _Burst:
    """Some pieces of work at once, and after them one in ``seconds``: a leaky bucket."""

    def __init__(self, at_once: int, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._depth = (at_once - 1) * seconds
        self.free = now - self._depth
        """The next piece not before this time."""

    def take(self, now: float) -> None:
        self.free = max(self.free, now - self._depth) + self._seconds


class Schedule:
    """The next time of each kind."""

    def __init__(
        self, settings: ResidentSettings, now: float, uniform: Callable[[float, float], float]
    ) -> None:
        self._settings = settings
        self._uniform = uniform
        self._budget = RepairBudget(settings.repairs, now)
        self._poll = now
        self._listings: float | None = None
        self._look: float | None = None
        self._verify: float | None = None
        self._verifications = _Burst(VERIFY_AT_ONCE, VERIFY_PAUSE, now)
        self._routes: float | None = None
        self._looks_for_routes = _Burst(ROUTES_AT_ONCE, ROUTES_SECONDS, now)
        self._fighting = False

    def poke(self, now: float) -> None:
        """A client wants everything to be read, now."""
        self._poll = now

    def routed(self, now: float) -> None:
        """Another tool changed a rule or a route that can take an ENI's traffic."""
        if self._verify is None:
            self._verify = max(now + VERIFY_SOON, self._verifications.free)

    def changed(self, now: float) -> None:
        """The kernel reported that an owned object or a link is gone."""
        if self._look is not None:
            return
        wait = self._budget.wait(now)
        self._fighting = wait > 0
        self._look = now + max(self._settings.debounce, wait)

    def rerouted(self, now: float) -> None:
        """Others changed main's routes through ENIs."""
        if self._routes is None:
            self._routes = max(now + self._settings.debounce, self._looks_for_routes.free)

    def fighting(self, now: float) -> bool:
        """Whether a repair waits because the budget is used up, or would."""
        if self._look is None and not self._budget.wait(now):
            self._fighting = False
        return self._fighting

    def due(self, tracks: Iterable[EniTrack], now: float) -> Work | None:
        """The most comprehensive work that is due; what it covers is due no more."""
        verify = self._verify is not None and self._verify <= now
        looks = [time for time in (self._look, self._routes) if time is not None and time <= now]
        if self._poll <= now or looks or verify:
            if self._routes is not None:
                self._looks_for_routes.take(now)
            self._look = self._routes = None
            if self._poll <= now:
                return Work(Kind.POLL)
            if not verify:
                return Work(Kind.LOOK)
            self._verify = None
            self._verifications.take(now)
            return Work(Kind.VERIFY)
        macs = frozenset(t.mac for t in tracks if t.again is not None and t.again <= now)
        if macs:
            return Work(Kind.ENIS, macs)
        if self._listings is not None and self._listings <= now:
            self._listings = None
            return Work(Kind.LISTINGS)
        return None

    def next(self, tracks: Iterable[EniTrack]) -> float:
        """When something will be due, if nothing happens before."""
        times = [
            self._poll,
            self._look,
            self._verify,
            self._routes,
            self._listings,
            *(track.again for track in tracks),
        ]
        return min(time for time in times if time is not None)

    def polled(self, now: float, *, failures: int, quiet: bool) -> None:
        """A poll has ended."""
        interval = poll_interval(
            self._settings.poll, failures=failures, quiet=quiet, uniform=self._uniform
        )
        self._poll = now + interval
        self._listings = now + interval / 2 if not failures else None

    def retry(self, at: float) -> None:
        """Poll again at that time already."""
        self._poll = min(self._poll, at)

    def repaired(self, now: float) -> None:
        """A look found something to do."""
        self._budget.take(now)
