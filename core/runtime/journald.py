# SPDX-License-Identifier: Apache-2.0
"""Messages with fields for systemd's journal, by its native protocol: one datagram for each.

The protocol is described in systemd's docs/JOURNAL_NATIVE_PROTOCOL.md; nothing is needed for it.
The stream that systemd makes of stderr carries no fields (``ENI_ID``, ``ACTION``). stderr stays the
way for what the journal does not take at once: no message waits, and none is lost.
"""

import fcntl
import logging
import socket
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.runtime.deadline import Deadline

SOCKET = Path("/run/systemd/journal/socket")

_IDENTIFIER = "ec2net"

_TAKEN_WITHIN = 0.2
"""Seconds that the end of the process waits for the journal to have read the last message."""


class JournalHandler(logging.Handler):
    """Sends what a record's ``fields`` hold (``extra={"fields": {...}}``) along with its message.

    If the journal does not take a message, because its queue is full or it does not run, the
    message goes to ``otherwise`` without fields.
    """

    def __init__(self, otherwise: logging.Handler, path: Path = SOCKET) -> None:
        """Raises ``OSError`` if there is no journal."""
        super().__init__()
        self._otherwise = otherwise
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)  # with its traceback, if it has one
        except (TypeError, ValueError):  # an invalid log call must not fail its caller
            self.handleError(record)
            return
        fields: Mapping[str, str] = getattr(record, "fields", {})
        datagram = message(
            {
                "MESSAGE": text,
                "PRIORITY": str(LEVELS.get(record.levelno, 6)),
                "SYSLOG_IDENTIFIER": _IDENTIFIER,
                "LOGGER": record.name,
                **fields,
            }
        )
        try:
            self._socket.send(datagram)
        except OSError:
            self._otherwise.handle(record)

    def close(self) -> None:
        """The journal finds the unit of a message by the sender's process. It should have read the
        last message before that process ends. In the lab the journal knew the unit of every message
        of a hundred passes in on-demand mode."""
        with suppress(OSError, DeadlineExceeded):
            deadline = Deadline(_TAKEN_WITHIN, "the journal")
            while self._unread():  # ends by deadline
                deadline.sleep(0.002)
        self._socket.close()
        super().close()

    def _unread(self) -> bool:
        """SIOCOUTQ (unix(7)): whether something waits to be read by the other side."""
        if self._socket.fileno() < 0:
            return False
        queued = fcntl.ioctl(self._socket, termios.TIOCOUTQ, struct.pack("=i", 0))
        return bool(struct.unpack("=i", queued)[0])


def message(fields: Mapping[str, str]) -> bytes:
    """One entry as a datagram. Names are of A-Z, 0-9 and ``_``."""
    return b"".join(_field(name, value.encode(errors="replace")) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


LEVELS = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Levels of syslog (sd-daemon(3))."""
