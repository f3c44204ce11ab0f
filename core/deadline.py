# SPDX-License-Identifier: Apache-2.0
"""The one bound on every wait.

A ``Deadline`` is made at the top of an operation and handed down; each wait takes what is
left of it. All waiting goes through :meth:`Deadline.wait`, one poll(2) that also watches
what may end the operation early (a signal, the link's disappearance), so a waiting process
makes no periodic system calls and is never deaf.
"""

import select
import time
from collections.abc import Iterable
from typing import Protocol

from ec2net.core.errors import DeadlineExceeded


class Interruption(Protocol):
    """Something that may end an operation early, watched in every wait."""

    def fileno(self) -> int:
        """A descriptor that turns readable when there is something to look at."""

    def check(self) -> None:
        """Consume what is readable; raise an ``Ec2netError`` if the operation must end."""


class Deadline:
    """A point in monotonic time, what the operation is called, and what may interrupt it."""

    def __init__(
        self, seconds: float, what: str = "operation", *, interruptions: Iterable[Interruption] = ()
    ) -> None:
        self.what = what
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._interruptions = tuple(interruptions)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def expired(self) -> bool:
        return self.remaining() <= 0

    @property
    def interruptions(self) -> tuple[Interruption, ...]:
        """What is watched, for a wait that another event loop makes."""
        return self._interruptions

    def within(self, seconds: float, what: str) -> "Deadline":
        """A part of this deadline: ends after ``seconds`` or with its parent, whichever is first."""
        return Deadline(min(seconds, self.remaining()), what, interruptions=self._interruptions)

    def watching(self, *interruptions: Interruption) -> "Deadline":
        """The same end, with more that may interrupt it."""
        return Deadline(
            self.remaining(), self.what, interruptions=(*self._interruptions, *interruptions)
        )

    def shielded(self) -> "Deadline":
        """The same end, deaf to interruptions: from the first change on, a pass is finished."""
        return Deadline(self.remaining(), self.what)

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
        own_end = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        if fd >= 0:
            poll.register(fd, events)
        watched = {interruption.fileno(): interruption for interruption in self._interruptions}
        for watched_fd in watched:
            poll.register(watched_fd, select.POLLIN)
        while True:  # ends by deadline: each round takes what is left of it
            left = self.remaining()
            if own_end is not None:
                left = min(left, max(0.0, own_end - time.monotonic()))
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


def readable(descriptors: Iterable[int], seconds: float) -> frozenset[int]:
    """Those of ``descriptors`` that can be read, as soon as one can; none after ``seconds``."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = max(0.0, seconds)
    return frozenset(fd for fd, _ in poll.poll(int(left * 1000) + (1 if left else 0)))
