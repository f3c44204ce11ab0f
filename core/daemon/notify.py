# SPDX-License-Identifier: Apache-2.0
"""Notifications for the service manager: a datagram to $NOTIFY_SOCKET (sd_notify(3))."""

import math
import os
import socket
import time


class ServiceManager:
    """Does nothing without $NOTIFY_SOCKET: the daemon does not run as a unit then.

    The daemon never waits for the service manager. If the socket is full, the next feeding of the
    watchdog sends the text again.
    """

    def __init__(self) -> None:
        # Taken from the environment, so that no child inherits it.
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        usec = os.environ.pop("WATCHDOG_USEC", "")
        self.watchdog: float | None = int(usec) / 1e6 if usec.isdecimal() and int(usec) else None
        """Seconds after which it takes this process for stuck."""
        self._fed = -math.inf
        self._status = ""
        self._unsaid: dict[str, str] = {}

    def ready(self, status: str) -> None:
        self._notify("READY=1")
        self.status(status)

    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._notify(f"STATUS={text}")

    def reloading(self) -> None:
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._notify("STOPPING=1")

    @property
    def hungry_at(self) -> float:
        """When the watchdog is to be fed at the latest, by the monotonic clock."""
        return self._fed + self.watchdog / 2 if self.watchdog is not None else math.inf

    @property
    def hungry(self) -> bool:
        """Whether it is to be fed now, or a message is to be sent again."""
        return bool(self._unsaid) or time.monotonic() >= self.hungry_at

    def alive(self) -> None:
        """Feed the watchdog. Only the working loop may do so."""
        self._fed = time.monotonic()
        self._notify("WATCHDOG=1")
        for line in list(self._unsaid.values()):
            self._notify(line)

    def allow(self, seconds: float) -> None:
        """Let no loop be taken for stuck that takes less than this."""
        if self.watchdog is not None and self.watchdog < seconds:
            self.watchdog = seconds
            self._notify(f"WATCHDOG_USEC={int(seconds * 1e6)}")

    def extend(self, seconds: float) -> None:
        """Let a start, or a stop, take so long from now: more than the unit's where that is less."""
        self._notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        name = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        flags = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        key = lines[0].partition("=")[0]
        self._unsaid.pop(key, None)
        try:
            with socket.socket(socket.AF_UNIX, flags) as to:
                to.sendto("\n".join(lines).encode(), name)
        except BlockingIOError:
            if key in ("READY", "STATUS"):
                self._unsaid[key] = "\n".join(lines)
        except OSError:
            pass  # no process listens any more
