# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT as an interruption of deadlines.

Before the first change they end the operation at once; from then on the pass is finished
within its deadline, since half an apply may cut the host off IMDS.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from ec2net.core.model.errors import Stopped
from ec2net.core.runtime.deadline import Deadline

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """An ``Interruption``, in force while used as a context manager. Main thread only.

    With ``reload``, SIGHUP is noted as well; it ends nothing. ``stopping`` is called when the
    operation is to end, which may take as long as a pass.
    """

    def __init__(
        self, *, reload: bool = False, stopping: Callable[[], None] = lambda: None
    ) -> None:
        self._stopping = stopping
        self.received: signal.Signals | None = None
        self.hangup = False
        """Whether SIGHUP came; who acts on it sets it back."""
        self._wanted = (*_SIGNALS, signal.SIGHUP) if reload else _SIGNALS
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._wanted:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.hangup = True
        else:
            self.received = signal.Signals(number)
            self._stopping()

    def deadline(self, seconds: float, what: str) -> Deadline:
        """A deadline that these signals interrupt."""
        return Deadline(seconds, what, interruptions=[self])

    def fileno(self) -> int:
        return self._reader

    def check(self) -> None:
        """Raise ``Stopped`` if a signal came. The pipe stays readable: every later wait ends too."""
        if self.received is None:
            self._drain()
        if self.received is not None:
            raise Stopped(f"stopped by {self.received.name} before anything was changed")

    def _drain(self) -> None:
        """Take the bytes of signals that end nothing out of the pipe."""
        with suppress(BlockingIOError):
            os.read(self._reader, 512)
        if self.received is not None:  # a signal arrived meanwhile, and its byte was among them
            os.write(self._writer, b"\0")
