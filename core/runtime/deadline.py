# SPDX-License-Identifier: Apache-2.0
"""The one bound on every wait.

A ``Deadline`` is made at the top of an operation and handed down; each wait takes what is
left of it. All waiting goes through :meth:`Deadline.wait`, one poll(2). It also watches events
that may end the operation early (a signal, the link's disappearance). A waiting process makes no
periodic system calls and notices every such event. An onlooker gets each wait, and may
interrupt it from time to time (``core/runtime/progress.py``).
"""

import math
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

from ec2net.core.model.errors import DeadlineExceeded


class Interruption(Protocol):
    """Something that may end an operation early, watched in every wait."""

    def fileno(self) -> int:
        """A descriptor that becomes readable at an event."""

    def check(self) -> None:
        """Consume what is readable; raise an ``Ec2netError`` if the operation must end."""


class Onlooker(Protocol):
    """The object that gets each wait of the thread."""

    def begin(self) -> None:
        """A wait begins; it may be over at once."""

    def look(self, what: str, seconds: float) -> float:
        """A wait for ``what`` that ends in ``seconds``. Returns the time until the next call, at
        the latest."""

    def end(self) -> None:
        """The wait that began is over."""


class Deadline:
    """A point in monotonic time, with the operation's name and what may interrupt it."""

    onlooker: ClassVar[Onlooker | None] = None
    """The onlooker of all waits in this process; None: no onlooker."""

    def __init__(
        self, seconds: float, what: str = "operation", *, interruptions: Iterable[Interruption] = ()
    ) -> None:
        self.what = what
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._interruptions = tuple(interruptions)
        self._part: tuple[str, float] | None = None
        """Name and end of the largest part with a name of its own that this is in."""

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def expired(self) -> bool:
        return self.remaining() <= 0

    @property
    def interruptions(self) -> tuple[Interruption, ...]:
        """The watched events, for a wait in another event loop."""
        return self._interruptions

    def within(self, seconds: float, what: str) -> "Deadline":
        """A part of this deadline: ends after ``seconds`` or with its parent, whichever is
        first."""
        part = Deadline(min(seconds, self.remaining()), what, interruptions=self._interruptions)
        part._part = self._part or ((what, part._end) if what != self.what else None)
        return part

    def named(self, what: str) -> "Deadline":
        """The part that lasts as long, by the name of what is waited for in it."""
        return self.within(self.remaining(), what)

    def watching(self, *interruptions: Interruption) -> "Deadline":
        """The same end, with more that may interrupt it."""
        return self._same((*self._interruptions, *interruptions))

    def shielded(self) -> "Deadline":
        """The same end, deaf to interruptions: from the first change on, a pass is finished."""
        return self._same(())

    def _same(self, interruptions: Iterable[Interruption]) -> "Deadline":
        same = Deadline(self.remaining(), self.what, interruptions=interruptions)
        same._part = self._part
        return same

    @contextmanager
    def looked_at(self) -> Iterator[Callable[[], float]]:
        """For the time of a wait of any kind: the onlooker gets the outermost part that has a name.

        The given function is called at the beginning, and again after the seconds that it returns.
        """
        onlooker = self.onlooker
        if onlooker is None:
            yield _never
            return
        what, end = self._part or (self.what, self._end)
        onlooker.begin()
        try:
            yield lambda: onlooker.look(what, max(0.0, end - time.monotonic()))
        finally:
            onlooker.end()

    def check(self) -> None:
        """Raise if an interruption is due or the time is used up. Does not wait."""
        self.wait(seconds=0)
        if self.expired():
            raise self.exceeded()

    def exceeded(self) -> DeadlineExceeded:
        """The error to raise when the time is used up."""
        return DeadlineExceeded(f"{self.what} did not end within {self.seconds:.3g} s")

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``, or until the deadline, which raises ``DeadlineExceeded``."""
        if seconds >= self.remaining():
            self.wait(seconds=self.remaining())
            raise self.exceeded()
        self.wait(seconds=seconds)

    def wait(
        self, fd: int = -1, events: int = select.POLLIN, *, seconds: float | None = None
    ) -> bool:
        """Wait until ``fd`` has one of ``events`` (true), or ``seconds`` went by (false).

        Without ``seconds`` the wait lasts until the deadline and then raises
        ``DeadlineExceeded``. An interruption raises its own error.
        """
        if seconds == 0:
            return self._wait(fd, events, seconds, _never)
        with self.looked_at() as look:
            return self._wait(fd, events, seconds, look)

    def _wait(self, fd: int, events: int, seconds: float | None, look: Callable[[], float]) -> bool:
        own_end = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        if fd >= 0:
            poll.register(fd, events)
        watched = {interruption.fileno(): interruption for interruption in self._interruptions}
        for watched_fd in watched:
            poll.register(watched_fd, select.POLLIN)
        while True:  # ends by deadline: each round uses the remaining time
            left = self.remaining()
            if own_end is not None:
                left = min(left, max(0.0, own_end - time.monotonic()))
            left = min(left, look())
            # Round up: poll(2) counts in whole milliseconds and a 0 would spin.
            ready = poll.poll(int(left * 1000) + (1 if left > 0 else 0))
            for ready_fd, _ in ready:
                if ready_fd in watched:
                    watched[ready_fd].check()
            if any(ready_fd == fd for ready_fd, _ in ready):
                return True
            if own_end is not None and time.monotonic() >= own_end:
                return False
            if self.expired():
                if own_end is not None:
                    return False
                raise self.exceeded()


def _never() -> float:
    return math.inf


def readable(descriptors: Iterable[int], seconds: float) -> frozenset[int]:
    """The readable ones of ``descriptors``, as soon as there is one; none after ``seconds``."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = max(0.0, seconds)
    return frozenset(fd for fd, _ in poll.poll(int(left * 1000) + (1 if left else 0)))
