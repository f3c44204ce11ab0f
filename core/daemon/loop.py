# SPDX-License-Identifier: Apache-2.0
"""The daemon's loop: wait for the kernel, a timer, a signal or a client, and do what is due.

One thread does everything and alone feeds the watchdog, so a stuck loop is noticed. Every slow call
has a deadline, and ``allowance`` is more than their sum. A thread per ENI could outlive its ENI:
766 detached ENIs left 1787 processes of amazon-ec2-net-utils behind
(https://github.com/amazonlinux/amazon-ec2-net-utils/issues/148).
"""

import math
import random
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

from ec2net.core.daemon.control import ControlSocket
from ec2net.core.daemon.eni_state import FIRST_RETRY, RETRY_SHARE
from ec2net.core.daemon.events import HostEvents
from ec2net.core.daemon.notify import ServiceManager
from ec2net.core.daemon.passes import Passes
from ec2net.core.daemon.published import Published
from ec2net.core.daemon.schedule import Kind, Schedule, Work
from ec2net.core.decide.candidate import eni_links
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.first_address import Boot, prepare, primary_is_complete
from ec2net.core.engine.pass_plan import View
from ec2net.core.host import udev
from ec2net.core.host.missed_events import show, unseen
from ec2net.core.kernel.link_events import KernelEvents, link_name
from ec2net.core.kernel.nft_events import NftEvents
from ec2net.core.kernel.router_solicitation import solicit_router
from ec2net.core.model.errors import Ec2netError, ImdsError, KernelError, Stopped
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Change
from ec2net.core.model.problem_code import code_of
from ec2net.core.report.eni_state import State
from ec2net.core.runtime.deadline import readable
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state.config_in_force import Workplace

PATIENCE = 0.5
"""Seconds that a backend may wait for a link or a lease, which usually take 0.1 s. The daemon does
nothing else meanwhile. The kernel reports a link or lease that arrives later."""

SOLICIT_SECONDS = 1.0
"""Between router solicitations through the primary ENI's link, for ``timeouts.link``."""

RETRY_LINKS = 1.0
"""Seconds until the daemon requests the links again after the kernel failed to list them (such as
ENOBUFS)."""

MARGIN = 30.0
"""Seconds of the watchdog's time beyond all deadlines of one round of the loop."""


class Loop:
    """Serves until a signal; made anew when the configuration was read anew."""

    def __init__(
        self,
        place: Workplace,
        engine: Engine,
        signals: StopSignals,
        control: ControlSocket,
        service: ServiceManager,
        published: Published,
        refresh_ways: Callable[[Engine], None],
        check_sole: Callable[[], None],
        *,
        booting: bool,
    ) -> None:
        """``refresh_ways`` gives the engine's IMDS client the present links; ``check_sole`` raises
        ``StateError`` if another daemon could run at the same time. ``booting``: the service
        manager waits for the primary ENI; not so after a reload.
        """
        self._config = place.config
        self._engine = engine
        self._signals = signals
        self._control = control
        self._service = service
        self._refresh_ways = refresh_ways
        self._check_sole = check_sole
        self._began = time.monotonic()
        self._schedule = Schedule(place.config.resident, self._began, random.uniform)
        self._passes = Passes(place, engine, signals, self._schedule, control, published)
        self._known: dict[int, Mac] = {}
        """ENI links that were begun with, by index."""
        self._unnamed: dict[int, float] = {}
        """Links that udev is not done with: until when it is waited for."""
        self._names: frozenset[tuple[int, str]] = frozenset()
        """The ENI links, by index: ec2net can ask IMDS through each."""
        self._missed: float | None = None
        """When to request the links again after the kernel failed to list them."""
        self._ready = not booting
        self._boot = Boot(engine, self._began)
        engine.after_changes = None if self._ready else self._changed
        self._solicit = self._began if booting else math.inf
        """Not before this time the primary's router is asked to advertise itself."""

    @property
    def is_ready(self) -> bool:
        """Whether READY=1 was sent."""
        return self._ready

    @property
    def allowance(self) -> float:
        """Seconds that one round of the loop may take: two passes, each as long as can be."""
        return 2 * self._config.pass_seconds + MARGIN

    def serve(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP. Raises ``StateError`` when it is not the only one."""
        self._service.allow(self.allowance)
        # READY follows the pass in which the time for the link ends.
        self._service.extend(self._config.timeouts.link + self.allowance)
        if self._ready:
            self._service.ready(self._passes.summary())
        numbers = self._config.numbers
        with (
            HostEvents(numbers.protocol, self._config.drivers, numbers.tables) as events,
            udev.udev_events() as named,
            ExitStack() as stack,
        ):
            tables = self._nft_events(stack)
            with suppress(OSError):  # a replaced route is then noticed by the next poll
                events.follow()
            try:
                self._arrivals(events)
                if not self._ready and not self._boot.restarted:
                    prepare(self._engine)
                while True:  # ends by a signal
                    if self._service.hungry:
                        self._service.alive()
                    # first: a client that pokes after the reload expects the new configuration
                    if self._hung_up():
                        return
                    self._work()
                    if self._hung_up():  # a signal that a pass has handled wakes up no wait
                        return
                    self._wait(events, named, tables)
            except Stopped:
                return

    def _nft_events(self, stack: ExitStack) -> NftEvents | None:
        """Only for ``published_ports``; each pass reports a kernel without nftables."""
        if not self._config.publishes_ports:
            return None
        with suppress(OSError):
            return stack.enter_context(NftEvents())
        return None

    def _hung_up(self) -> bool:
        """Whether a signal asks for a reload. Raises ``Stopped``."""
        self._signals.check()
        return self._signals.hangup  # after the check, which takes its byte away

    def _work(self) -> None:
        """The work that is due, if any."""
        self._passes.note_fight()
        now = time.monotonic()
        if work := self._due(now):
            self._service.alive()
            if work.kind is Kind.POLL:
                self._check_sole()
                self._show_unseen(self._known)
            self._passes.do(work)
            if not self._ready:
                self._go_on(time.monotonic())
            self._ask_router(time.monotonic())
            self._service.status(self._passes.summary())

    def _due(self, now: float) -> Work | None:
        """Until READY at a boot, passes for the primary ENI alone if the host has several ENIs.

        A restart need not hurry, and a network manager may await changes of all ENIs together.
        """
        if self._ready or self._control.waiting:
            return self._schedule.due(self._passes.tracks.values(), now)
        try:
            if not self._boot.due(now):
                return None
        except KernelError as error:
            self._passes.complain(str(error), code_of(error))
        self._passes.imds_seconds = seconds = self._boot.imds_seconds(now)
        if len(self._known) > 1 and not self._boot.restarted:
            self._engine.new_pass()
            with suppress(ImdsError):  # the poll reports it
                limit = self._signals.deadline(seconds / 2, "the primary ENI")
                if (mac := self._engine.primary(limit)) is not None:
                    return Work(Kind.ENIS, frozenset({mac}))
        return Work(Kind.POLL)

    def _changed(self, view: View, done: tuple[Change, ...]) -> None:
        """The boot goes on as soon as the primary ENI has its addresses; the rest follows."""
        if not self._ready and primary_is_complete(view, done):
            self._be_ready()

    def _go_on(self, now: float) -> None:
        """Ready when the primary has a state, or IMDS does not describe it; else the next pass."""
        track = self._passes.tracks.get(self._passes.primary or Mac(""))
        settled = track is not None and track.state is not State.PENDING
        unread = not self._passes.planned or self._passes.failures > 0
        late = unread and self._boot.is_imds_late(now)
        if (settled and not self._passes.failures) or late:
            self._be_ready()
        else:
            self._boot.retry(now, FIRST_RETRY, RETRY_SHARE)

    def _ask_router(self, now: float) -> None:
        """While the primary ENI waits for a router's advertisement after the boot."""
        link = self._passes.awaits_router
        if link is None or not self._solicit <= now < self._began + self._config.timeouts.link:
            return
        self._solicit = now + SOLICIT_SECONDS
        with suppress(KernelError):  # systemd-networkd asks, only later
            solicit_router(link)

    def _be_ready(self) -> None:
        self._ready = True
        self._passes.imds_seconds = None
        self._service.ready(self._passes.summary())
        self._schedule.routed(time.monotonic())  # the existing configuration is verified as well

    def _wait(self, events: HostEvents, named: KernelEvents, tables: NftEvents | None) -> None:
        """Until something is due or happens, or the watchdog wants to be fed."""
        waits = [s.fileno() for s in (events, named, self._control, self._signals)]
        waits += [tables.fileno()] if tables is not None else []
        woken = readable(waits, self._next() - time.monotonic())
        now = time.monotonic()
        links = any(end <= now for end in self._link_times())
        if named.fileno() in woken:
            named.drain()
            links = links or bool(self._unnamed)
        if events.fileno() in woken:
            changes = events.taken()
            links = links or changes.links
            if changes.routing:
                self._schedule.routed(now)
            if changes.addresses:
                self._boot.stir(now)
            waiting = any(track.stirs for track in self._passes.tracks.values())
            if changes.links or changes.drift or (changes.addresses and waiting):
                self._schedule.changed(now)
            if changes.routes:
                self._schedule.rerouted(now)
        if tables is not None and tables.fileno() in woken and tables.removed():
            self._schedule.changed(now)
        if self._control.fileno() in woken and self._control.poked():
            if self._engine.listings is not None:
                self._engine.listings.clear()  # a client expects all keys to be read
            self._passes.verify_all()
            self._schedule.poke(now)
        if links:
            self._arrivals(events)
        if not self._ready and now - self._began >= self._config.timeouts.link:
            self._be_ready()  # boot continues; the daemon still waits for the primary

    def _next(self) -> float:
        """When to wake up if nothing happens."""
        ends = [*self._link_times(), self._service.hungry_at]
        if self._ready:
            ends.append(self._schedule.next(self._passes.tracks.values()))
        else:
            ends += [self._boot.next, self._began + self._config.timeouts.link]
        return min(ends)

    def _link_times(self) -> list[float]:
        """When to request the links again without an event."""
        return [*self._unnamed.values(), *([] if self._missed is None else [self._missed])]

    def _arrivals(self, events: HostEvents) -> None:
        """Begin with ENIs whose links are new, and forget links that are gone."""
        self._missed = None
        try:
            links = eni_links(self._engine.kernel.links(), self._config.drivers)
        except Ec2netError as error:
            self._passes.complain(str(error), code_of(error))
            self._missed = time.monotonic() + RETRY_LINKS
            return
        there = {link.index: mac for mac, same in links.items() for link in same}
        events.watch(there.keys())
        late = [index for index, end in self._unnamed.items() if end <= time.monotonic()]
        new = frozenset(mac for index, mac in there.items() if self._is_new(index, mac))
        self._show_unseen(late)
        for index in self._known.keys() - there.keys():
            mac = self._known.pop(index)
            self._forget(mac)
            self._passes.link_left(mac)
            self._schedule.changed(time.monotonic())
        for index in [i for i in self._unnamed if i not in there or i in self._known]:
            del self._unnamed[index]
        names = frozenset((link.index, link.name) for same in links.values() for link in same)
        if names != self._names:
            self._names = names
            self._renew_ways()
        if new:
            for mac in new:
                self._forget(mac)
            if self._passes.tracks:  # the first pass covers all ENIs
                self._passes.do(Work(Kind.ENIS, new))

    def _renew_ways(self) -> None:
        """A link may have come or been renamed. Without the news the ways of before are tried."""
        try:
            self._refresh_ways(self._engine)
        except Ec2netError as error:
            self._passes.complain(str(error), code_of(error))

    def _is_new(self, index: int, mac: Mac) -> bool:
        """Whether to begin with this link now."""
        if index in self._known:
            return False
        if udev.is_running() and not udev.is_done_with(index):
            now = time.monotonic()
            if now < self._unnamed.setdefault(index, now + udev.SECONDS):
                return False
        self._known[index] = mac
        return True

    def _show_unseen(self, links: Iterable[int]) -> None:
        """Make udev process those of these links that it missed."""
        names = [name for index in links if (name := link_name(index)) is not None]
        if lost := unseen(names):
            show(lost, self._signals.deadline(udev.SECONDS, "udev"))

    def _forget(self, mac: Mac) -> None:
        """An ENI that comes (back) may be another device: its keys are listed anew."""
        if self._engine.listings is not None:
            self._engine.listings.pop(mac, None)
