# SPDX-License-Identifier: Apache-2.0
"""The HTTP/1.1 side of the IMDS double: one thread per connection, keep-alive, able to misbehave."""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_HEAD_LIMIT = 16384
"""Bytes of a request's head; more is not a client of IMDS."""
_IDLE_LIMIT = 60.0
"""Seconds after which a connection on which nothing happens is closed."""
_JOIN_LIMIT = 5.0
"""Seconds that closing waits for each thread; their sockets are shut down by then."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as read; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    source: Address


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and how it is to be sent. ``status`` 0: no answer at all."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds_per_byte: float = 0.0
    headers_at_once: bool = False
    share: float = 1.0
    """Share of the body that is sent before the connection is closed."""
    reset: bool = False
    delay: float = 0.0
    """Seconds before anything is sent."""


class Answering(Protocol):
    """The source of the answers."""

    def reply(self, request: HttpRequest) -> Reply:
        """The answer to a request; called from many threads."""


class HttpServer:
    """Serves listening sockets until closed."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._listeners: list[socket.socket] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="imds", daemon=True)
        self._thread.start()

    def serve(self, listeners: Iterable[socket.socket]) -> None:
        """Answer on these listening sockets, which the server owns from now on."""
        for listener in listeners:
            listener.setblocking(False)
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ)

    def kill(self, family: socket.AddressFamily) -> None:
        """Make the endpoints of a family dead: connecting is refused, open connections end."""
        for listener in self._listeners:
            if listener.family == family:
                self._selector.unregister(listener)
                # Ends the listening state, keeps the address (Linux: tcp_disconnect).
                listener.shutdown(socket.SHUT_RDWR)
        self._end_connections(lambda connection: connection.family == family)

    def revive(self, family: socket.AddressFamily) -> None:
        """Undo :meth:`kill`."""
        for listener in self._listeners:
            if listener.family == family:
                listener.listen()
                self._selector.register(listener, selectors.EVENT_READ)

    def drop_connections(self) -> None:
        """End all open connections, as a server may at any time."""
        self._end_connections(lambda connection: True)

    def close(self) -> None:
        """End everything and wait for the threads."""
        self._stopping.set()
        self._wake.close()
        self._thread.join(_JOIN_LIMIT)
        self.drop_connections()
        with self._lock:
            threads = list(self._connections.values())
        for thread in threads:
            thread.join(_JOIN_LIMIT)
        for listener in self._listeners:
            listener.close()
        self._woken.close()
        self._selector.close()

    def _end_connections(self, chosen: Callable[[socket.socket], bool]) -> None:
        with self._lock:
            for connection in self._connections:
                if chosen(connection):
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    connection, peer = key.fileobj.accept()
                    source = ip_address(peer[0].partition("%")[0])
                    self._begin(connection, source)

    def _begin(self, connection: socket.socket, source: Address) -> None:
        thread = threading.Thread(
            target=self._converse, args=(connection, source), name="imds-client", daemon=True
        )
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def _converse(self, connection: socket.socket, source: Address) -> None:
        connection.settimeout(_IDLE_LIMIT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = b""
        try:
            while not self._stopping.is_set():
                request, buffer = _read_request(connection, buffer, source)
                if request is None:
                    break
                reply = self._answering.reply(request)
                if not self._send(connection, reply):
                    break
                if request.headers.get("connection", "").lower() == "close":
                    break
        except (OSError, ValueError):
            pass  # the client disconnected or sent no HTTP: no error of the server
        finally:
            with self._lock:
                del self._connections[connection]
            connection.close()

    def _send(self, connection: socket.socket, reply: Reply) -> bool:
        """Send an answer; false if the connection is over."""
        if reply.delay and self._client_left(connection, reply.delay):
            return False
        if reply.reset:
            # Lingering for 0 s makes close() send RST (socket(7)).
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        if reply.status == 0:
            self._client_left(connection, _IDLE_LIMIT)
            return False
        head = _head(reply)
        body = reply.body[: int(len(reply.body) * reply.share)]
        if reply.seconds_per_byte == 0:
            connection.sendall(head + body)
            return reply.share == 1
        slow = head + body
        if reply.headers_at_once:
            connection.sendall(head)
            slow = body
        for index in range(len(slow)):
            connection.sendall(slow[index : index + 1])
            if self._client_left(connection, reply.seconds_per_byte):
                return False
        return reply.share == 1

    def _client_left(self, connection: socket.socket, seconds: float) -> bool:
        """Wait; true at once if the client closes the connection or the server ends."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                if not selector.select(left):
                    return False
                if not connection.recv(1, socket.MSG_PEEK) or self._stopping.is_set():
                    return True
                # A pipelined request waits in the buffer: nothing to watch for any more.
                return self._stopping.wait(end - time.monotonic())
        return False


def _head(reply: Reply) -> bytes:
    reason = HTTPStatus(reply.status).phrase
    headers = {
        "Content-Type": "text/plain",
        "Server": "EC2ws",
        **reply.headers,
        "Content-Length": str(len(reply.body)),
    }
    lines = [f"HTTP/1.1 {reply.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _read_request(
    connection: socket.socket, buffer: bytes, source: Address
) -> tuple[HttpRequest | None, bytes]:
    """The next request (None at the end of the connection) and what was read beyond it."""
    while b"\r\n\r\n" not in buffer:
        data = connection.recv(4096)
        if not data:
            return None, b""
        buffer += data
        if len(buffer) > _HEAD_LIMIT:
            raise ValueError("the head is too long")
    head, _, buffer = buffer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    while len(buffer) < length:
        data = connection.recv(4096)
        if not data:
            return None, b""
        buffer += data
    return HttpRequest(method, path, headers, source), buffer[length:]
