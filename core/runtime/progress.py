# SPDX-License-Identifier: Apache-2.0
"""A long wait shows its reason and its remaining time: the onlookers of ``Deadline``.

A terminal shows one line, which disappears after the wait. Elsewhere each line is kept or mailed,
so a wait is one message, and only with ``--verbose``. Without it there is no onlooker, and nothing
wakes a waiting process.
"""

import logging
import math
import os
import select
import sys
import time
from contextlib import suppress
from typing import TextIO

from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.waiting")

PATIENCE = 1.0
"""Seconds without a message."""

LULL = 0.5
"""Seconds of work between two waits that are still felt as one."""

BLINK = 0.05
"""A wait that is shorter, as for each answer of IMDS, is not worth a line that goes at once."""

EACH = 1.0
"""Seconds between two updates of a terminal's line."""


def set_up() -> None:
    """Show the waits of this process from now on."""
    if sys.stderr.isatty():
        Deadline.onlooker = AtTerminal(sys.stderr)
    elif _log.isEnabledFor(logging.DEBUG):
        Deadline.onlooker = InLog()


def line(what: str, seconds: float) -> str:
    """``waiting for the host lock (28 s at most)``: whole seconds, never less than are left."""
    plain = "".join(char if char.isprintable() else "?" for char in what)
    return f"{plain} ({math.ceil(seconds)} s at most)"


class _Patient:
    """An ``Onlooker`` that says nothing until the wait is a long one."""

    def __init__(self) -> None:
        self._since = self._began = self._ended = -math.inf

    def begin(self) -> None:
        self._began = time.monotonic()
        if self._began - self._ended > LULL:
            self._since = self._began

    def look(self, what: str, seconds: float) -> float:
        early = max(self._since + PATIENCE, self._began + BLINK) - time.monotonic()
        return early if early > 0 else self.tell(what, seconds)

    def tell(self, what: str, seconds: float) -> float:
        """Report a long wait; returns the seconds until the next report."""
        raise NotImplementedError

    def end(self) -> None:
        self._ended = time.monotonic()


class InLog(_Patient):
    """One message for each thing that is waited for, however often."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def tell(self, what: str, seconds: float) -> float:
        if what not in self._told:
            self._told.add(what)
            _log.debug("%s", line(what, seconds))
        return math.inf


class AtTerminal(_Patient):
    """One line, written over each second, and wiped out before anything else is said."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._width = 0
        """Columns that are written now."""

    def tell(self, what: str, seconds: float) -> float:
        text = f"ec2net: {line(what, seconds)}"
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns or 80
            text = text[: columns - 1]  # a full line continues on the next
            self._write(f"\r{text.ljust(self._width)}")
            self._width = len(text)
        except OSError:  # the terminal was closed
            return math.inf
        return EACH

    def end(self) -> None:
        super().end()
        if self._width:
            width, self._width = self._width, 0
            with suppress(OSError):
                self._write(f"\r{' ' * width}\r")

    def _write(self, text: str) -> None:
        """Not to a terminal that was stopped (Ctrl-S): that would be a wait without an end.

        Nor from the background: a user types there, and ``stty tostop`` would stop the process.
        """
        ready = select.select([], [self._stream], [], 0)[1]
        if ready and _in_foreground(self._stream.fileno()):
            self._stream.write(text)
            self._stream.flush()


def _in_foreground(terminal: int) -> bool:
    """Also where the terminal is not the one that controls this process: no job control then."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True
