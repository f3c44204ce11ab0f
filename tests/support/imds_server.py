# SPDX-License-Identifier: Apache-2.0
"""A real IMDS over a real socket, with every fault that a test needs."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from ec2net.core.imds.endpoint import Candidate, Endpoint

PRIMARY = "06:00:00:00:00:01"
SECOND = "06:00:00:00:00:02"
META = "latest/meta-data/"
MACS = META + "network/interfaces/macs/"

Fault = Callable[["Handler"], bool]
"""Answers a request instead of the server, or returns false to let it answer."""


def eni(mac: str, index: int, **keys: str) -> dict[str, str]:
    """The keys of an ENI with one address, as a tree; ``keys`` with underscores for dashes."""
    values = {
        "mac": mac,
        "interface-id": f"eni-0000000{index}",
        "device-number": str(index),
        "local-ipv4s": f"10.0.{index}.10",
        "subnet-ipv4-cidr-block": f"10.0.{index}.0/24",
        **{key.replace("_", "-"): value for key, value in keys.items()},
    }
    return {f"{MACS}{mac}/{key}": value for key, value in values.items()}


class ImdsServer:
    def __init__(self) -> None:
        self.tree: dict[str, str] = {}
        self.listings: dict[str, str] = {}
        """Listings that lie; the others follow from the tree."""
        self.faults: dict[str, Fault] = {}
        """Faults by path; "*" covers every path without a fault."""
        self.requests: list[tuple[str, str]] = []
        self.agents: set[str] = set()
        self.connections = 0
        self.tokens: set[str] = set()
        self.token_uses: int | None = None
        """After so many uses a token is expired."""
        self.uses_left: dict[str, int | None] = {}
        self.token_ttl = "21600"
        self.closing = threading.Event()
        self.asked = threading.Event()
        """Set by the first request."""
        self._http = _Server(("127.0.0.1", 0), Handler)
        self._http.imds = self
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return (Candidate(Endpoint.parse(f"http://127.0.0.1:{self.port}")),)

    def paths(self, method: str = "GET") -> list[str]:
        return [path for verb, path in self.requests if verb == method]

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def lookup(self, path: str) -> str | None:
        if path in self.listings:
            return self.listings[path]
        if not path.endswith("/"):
            return self.tree.get(path)
        names: dict[str, None] = {}
        for key in self.tree:
            if key.startswith(path):
                head, slash, _ = key[len(path) :].partition("/")
                names[head + slash] = None
        return "\n".join(names) or None


@contextmanager
def running() -> Iterator[ImdsServer]:
    server = ImdsServer()
    server.tree = {META + "mac": PRIMARY, **eni(PRIMARY, 0), **eni(SECOND, 1)}
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    imds: ImdsServer

    def server_bind(self) -> None:
        """HTTPServer without its reverse lookup of the address."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.imds.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that disconnect are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    @property
    def imds(self) -> ImdsServer:
        return self.server.imds

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        if self._observe():
            return
        token = f"token-{len(self.imds.tokens)}"
        self.imds.tokens.add(token)
        self.imds.uses_left[token] = self.imds.token_uses
        self.answer(200, token, **{"X-aws-ec2-metadata-token-ttl-seconds": self.imds.token_ttl})

    def do_GET(self) -> None:
        if self._observe():
            return
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        left = self.imds.uses_left.get(token)
        if token not in self.imds.tokens or left == 0:
            self.answer(401, "")
            return
        if left is not None:
            self.imds.uses_left[token] = left - 1
        text = self.imds.lookup(self.path[1:])
        self.answer(404 if text is None else 200, text or "")

    def answer(self, status: int, body: str | bytes, **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _observe(self) -> bool:
        path = self.path[1:]
        self.imds.requests.append((self.command, path))
        self.imds.agents.add(self.headers.get("User-Agent", ""))
        self.imds.asked.set()
        fault = self.imds.faults.get(path) or (
            self.imds.faults.get("*") if self.command == "GET" else None
        )
        return fault is not None and fault(self)


def status(code: int, body: str = "", **headers: str) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.answer(code, body, **headers)
        return True

    return fault


def times(count: int, fault: Fault) -> Fault:
    """``fault`` for the first ``count`` requests."""
    left = [count]

    def limited(handler: Handler) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fault(handler)

    return limited


def in_turn(*faults: Fault) -> Fault:
    """One for each request; then none."""
    left = list(faults)

    def next_one(handler: Handler) -> bool:
        return bool(left) and left.pop(0)(handler)

    return next_one


def every_second(fault: Fault) -> Fault:
    count = [0]

    def alternating(handler: Handler) -> bool:
        count[0] += 1
        return count[0] % 2 == 1 and fault(handler)

    return alternating


def hang(handler: Handler) -> bool:
    handler.imds.closing.wait(30)
    handler.close_connection = True
    return True


def drip(head: bytes, data: bytes, interval: float = 0.05) -> Fault:
    """Send ``head`` at once, then ``data`` one byte at a time without end: no read waits long."""

    def fault(handler: Handler) -> bool:
        handler.wfile.write(head)
        position = 0
        while not handler.imds.closing.wait(interval):
            handler.wfile.write(data[position : position + 1])
            position = (position + 1) % len(data)
        handler.close_connection = True
        return True

    return fault


def raw(data: bytes) -> Fault:
    """These bytes, and the connection is closed."""

    def fault(handler: Handler) -> bool:
        handler.wfile.write(data)
        handler.close_connection = True
        return True

    return fault


def reset(handler: Handler) -> bool:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()
    handler.close_connection = True
    return True
