# SPDX-License-Identifier: Apache-2.0
"""``ec2net refresh`` pokes the daemon: a stream socket in the state directory, root's alone.

A connection asks for a poll. The answer is one JSON object, sent when that poll has ended. The daemon
waits for no client: it drops one that does not read its answer.

A client sends a line for a daemon of an earlier version, which requires it. This daemon reads the
line after its answer, if it came. close() with the line unread ends the client's read with
ECONNRESET (unix(7)), after the answer.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ec2net.core.model.errors import DeadlineExceeded, Ec2netError, StateError
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import make_folder
from ec2net.core.state.run_dir import RunDir

_NAME = "control"
_REQUEST = b"refresh\n"

CLIENTS = 16
"""Waiting clients at a time; the daemon rejects more."""

SEND_SECONDS = 1.0
"""To send an answer of some 100 KB; a client reads at once."""


ANSWER_MAX = 32 << 20
"""Bytes of an answer: as much as a state file has at most."""


class ControlSocket:
    """The daemon's end, as a context manager."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.path / _NAME
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Raises ``StateError``. The caller is the only daemon: a socket that exists is an old one."""
        try:
            make_folder(self._path.parent)
            self._path.unlink(missing_ok=True)
            self._listening = socket.socket(
                socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
            self._listening.bind(_address(self._path))
            self._path.chmod(0o600)
            self._own = self._path.stat()
            self._listening.listen(CLIENTS)
        except OSError as error:
            raise StateError(f"cannot listen on {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._listening.close()
        with suppress(OSError):
            if os.path.samestat(self._path.stat(), self._own):
                self._path.unlink()  # else it belongs to another daemon: the directory was deleted

    def fileno(self) -> int:
        """Readable when a client connects."""
        return self._listening.fileno()

    def poked(self) -> bool:
        """Whether a client wants a poll now; the daemon keeps the clients until it answers."""
        before = len(self._clients)
        while True:  # ends when the queue is empty
            try:
                client, _ = self._listening.accept()
            except OSError:
                return len(self._clients) > before
            if len(self._clients) >= CLIENTS:
                client.close()
                continue
            client.setblocking(False)
            self._clients.append(client)

    @property
    def waiting(self) -> bool:
        """Whether a client waits for an answer."""
        return bool(self._clients)

    def answer(self, document: dict[str, Any]) -> None:
        """To all who wait."""
        clients, self._clients = self._clients, []
        if not clients:
            return
        data = json.dumps(document).encode()
        for client in clients:
            with client, suppress(OSError):
                client.settimeout(SEND_SECONDS)
                client.sendall(data)
                client.setblocking(False)
                client.recv(len(_REQUEST))  # the line of an earlier version's client


def poke(run: RunDir, deadline: Deadline) -> dict[str, Any] | None:
    """Ask the daemon for a poll and wait for its end; None if there is none to ask.

    Raises ``Ec2netError`` if it does not answer within the deadline.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as daemon:
        daemon.setblocking(False)
        try:
            daemon.connect(_address(run.path / _NAME))
        except (OSError, ValueError):
            return None
        with suppress(OSError):  # answered already, by a poll that was running
            daemon.send(_REQUEST)
        data = b""
        try:
            while True:  # ends by deadline
                deadline.wait(daemon.fileno())
                part = daemon.recv(1 << 16)
                if not part:
                    break
                data += part
                if len(data) > ANSWER_MAX:
                    return None  # not the daemon
        except DeadlineExceeded as error:
            raise Ec2netError(
                "the daemon does not answer",
                subject="ec2net.service",
                remedy="see 'systemctl status ec2net.service'; the watchdog ends a daemon "
                "that is stuck",
            ) from error
        except ConnectionResetError:
            pass  # what was read may be a whole answer
        except OSError:
            return None
    try:
        document = json.loads(data)
    except ValueError:
        return None  # it ended meanwhile
    return document if isinstance(document, dict) else None


def _address(path: Path) -> str:
    """A socket's address has 108 bytes at most; a long path can still be reached by its folder."""
    if len(os.fsencode(path)) < 108:
        return str(path)
    return os.path.relpath(path)
