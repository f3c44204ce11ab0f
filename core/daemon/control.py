# SPDX-License-Identifier: Apache-2.0
"""``ec2net refresh`` pokes the manager: a stream socket in the state directory, root's alone.

One line in (``refresh``), one JSON object out, when the poll that it asked for has ended. Nothing
here waits for a client: one that does not read what it asked for is dropped.
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
    """The manager's end, as a context manager."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.path / _NAME
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Raises ``StateError``. The caller is the sole manager: a socket that is there is old."""
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
                self._path.unlink()  # otherwise it is another daemon's: the directory was deleted

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

    def answer(self, document: dict[str, Any]) -> None:
        """To all who wait."""
        clients, self._clients = self._clients, []
        if not clients:
            return
        data = json.dumps(document).encode()
        for client in clients:
            with client, suppress(OSError):
                # With unread data, close() would discard what was sent (unix(7)).
                with suppress(BlockingIOError):  # the request of a slow client may be on its way
                    client.recv(len(_REQUEST))
                client.settimeout(SEND_SECONDS)
                client.sendall(data)


def poke(run: RunDir, deadline: Deadline) -> dict[str, Any] | None:
    """Ask the manager for a poll and wait for its end; None if there is none to ask.

    Raises ``Ec2netError`` if it does not answer within the deadline.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as manager:
        manager.setblocking(False)
        try:
            manager.connect(_address(run.path / _NAME))
        except (OSError, ValueError):
            return None
        with suppress(BrokenPipeError):  # answered already, by an earlier poll
            manager.send(_REQUEST)
        data = b""
        try:
            while True:  # ends by deadline
                deadline.wait(manager.fileno())
                part = manager.recv(1 << 16)
                if not part:
                    break
                data += part
                if len(data) > ANSWER_MAX:
                    return None  # no daemon of ec2net
        except DeadlineExceeded as error:
            raise Ec2netError(
                "the daemon does not answer",
                subject="ec2net.service",
                remedy="see 'systemctl status ec2net.service'; the watchdog ends a daemon "
                "that is stuck",
            ) from error
        except OSError:
            return None
    try:
        document = json.loads(data)
    except ValueError:
        return None  # the daemon ended meanwhile
    return document if isinstance(document, dict) else None


def _address(path: Path) -> str:
    """A socket's address has 108 bytes at most; a long path can still be reached by its folder."""
    if len(os.fsencode(path)) < 108:
        return str(path)
    return os.path.relpath(path)
