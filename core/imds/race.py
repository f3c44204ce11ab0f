# SPDX-License-Identifier: Apache-2.0
"""A race of connects: one of up to dozens of candidates answers, the others may be black holes.

Like RFC 8305 (happy eyeballs): connects start in order of preference, staggered, the next at
once when one fails. Connecting is not enough to win: the probe (a token) decides.
"""

import select
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ec2net.core.imds.answer import ConnectFailed, ImdsDisabled, TransportError
from ec2net.core.imds.bounded_socket import BoundedSocket
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.imds.unread import several
from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.runtime.deadline import Deadline

T = TypeVar("T")

STAGGER_SECONDS = 0.1
"""A healthy IMDS accepts in a millisecond, so that one SYN is all that is normally sent."""

PROBE_SECONDS = 1.0
"""At most this for a candidate that connects but may never answer. The first has at most half of
the time, the others share the rest evenly. Repeated halving would leave the last of eight
candidates 5 ms."""

_NAMED = 4
"""The number of candidates that the summary names per reason."""


class NobodyAnswers(Exception):
    """No candidate passed its probe; ``str`` says which failed how, in one line."""

    def __init__(self, failures: Mapping[Candidate, str]) -> None:
        super().__init__(_summary(failures))
        self.failures = failures


def race(
    candidates: Sequence[Candidate],
    probe: Callable[[BoundedSocket, Deadline], T],
    deadline: Deadline,
) -> T:
    """The result of ``probe`` for the first candidate that connects and passes it.

    ``probe`` owns the connected socket and has a share of ``deadline``. It raises
    ``TransportError`` or ``DeadlineExceeded`` to let the next one try, and ``ImdsDisabled`` if this
    endpoint will not answer by any other way either. Raises ``NobodyAnswers``, or ``ImdsDisabled``
    if the last one raised it.
    """
    runners = _Race(candidates, deadline)
    try:
        return runners.run(probe)
    finally:
        runners.close()


class _Race:
    def __init__(self, candidates: Sequence[Candidate], deadline: Deadline) -> None:
        self._deadline = deadline
        self._waiting = list(candidates)
        self._order = {candidate: index for index, candidate in enumerate(candidates)}
        # All have started after half of the time, whatever their number.
        self._stagger = min(STAGGER_SECONDS, deadline.remaining() / 2 / max(1, len(candidates)))
        self._due = time.monotonic()
        self._epoll = select.epoll()  # pollable itself: one descriptor for Deadline.wait
        self._running: dict[int, BoundedSocket] = {}
        self._failures: dict[Candidate, str] = {}
        self._disabled: ImdsDisabled | None = None

    def close(self) -> None:
        for connection in self._running.values():
            connection.close()
        self._epoll.close()

    def run(self, probe: Callable[[BoundedSocket, Deadline], T]) -> T:
        while (self._waiting or self._running) and not self._deadline.expired():
            now = time.monotonic()
            if self._waiting and now >= self._due:
                self._start()
                continue
            pause = self._due - now if self._waiting else self._deadline.remaining()
            if not self._deadline.wait(self._epoll.fileno(), select.POLLIN, seconds=pause):
                continue
            connection = self._connected()
            if connection is None:
                continue
            share = self._deadline.within(
                min(PROBE_SECONDS, self._deadline.remaining() / self._shares()),
                f"asking {connection.candidate} for a token",
            )
            try:
                return probe(connection, share)
            except (TransportError, DeadlineExceeded) as error:
                self._fail(connection.candidate, str(error))
            except ImdsDisabled as error:
                self._rule_out(connection.candidate, error)
        if self._disabled is not None:
            raise self._disabled
        for connection in self._running.values():
            self._failures[connection.candidate] = "timed out"
        for candidate in self._waiting:
            self._failures[candidate] = "no time left to retry"
        raise NobodyAnswers(self._failures)

    def _shares(self) -> int:
        """The number of parts into which the remaining time is divided for a probe."""
        if not self._failures:
            return 2
        return len(self._waiting) + len(self._running) + 1

    def _start(self) -> None:
        candidate = self._waiting.pop(0)
        self._due += self._stagger
        try:
            connection = BoundedSocket(candidate, self._deadline)
            try:
                connection.start_connect()
            except ConnectFailed:
                connection.close()
                raise
        except ConnectFailed as error:
            self._fail(candidate, str(error))
            return
        self._running[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLOUT)

    def _connected(self) -> BoundedSocket | None:
        """The best that is connected now, handed out; drops those that failed."""
        ready = []
        for descriptor, _ in self._epoll.poll(0):
            connection = self._running[descriptor]
            try:
                connection.end_connect()
            except ConnectFailed as error:
                self._drop(connection)
                connection.close()
                self._fail(connection.candidate, str(error))
            else:
                ready.append(connection)
        if not ready:
            return None
        best = min(ready, key=lambda connection: self._order[connection.candidate])
        self._drop(best)  # the others stay, and are reported again
        return best

    def _drop(self, connection: BoundedSocket) -> None:
        self._epoll.unregister(connection.fileno())
        del self._running[connection.fileno()]

    def _fail(self, candidate: Candidate, reason: str) -> None:
        self._failures[candidate] = reason
        self._due = min(self._due, time.monotonic())

    def _rule_out(self, candidate: Candidate, error: ImdsDisabled) -> None:
        self._disabled = error
        self._fail(candidate, error.problem)
        self._waiting = [one for one in self._waiting if one.endpoint != candidate.endpoint]
        for connection in list(self._running.values()):
            if connection.candidate.endpoint == candidate.endpoint:
                self._drop(connection)
                connection.close()


def _summary(failures: Mapping[Candidate, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for candidate, reason in failures.items():
        by_reason.setdefault(reason, []).append(str(candidate))
    parts = (f"{several(names, _NAMED)}: {reason}" for reason, names in by_reason.items())
    return "; ".join(parts) or "there is no endpoint to try"
