# SPDX-License-Identifier: Apache-2.0
"""A faithful double of EC2's instance metadata service, version 2, with faults on demand.

Works on any listening sockets: in a namespace of the simulated VPC, or on 127.0.0.1 for
tests that need no namespace. Behaviour after AWS, "Use the Instance Metadata Service".
"""

import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from ec2net.core.simulation.vpc import imds_tree
from ec2net.core.simulation.vpc.imds_answers import apply_faults, directory_names, error_reply
from ec2net.core.simulation.vpc.imds_faults import ActiveFault, Effect, Fault, TokenLife, TokenSpent
from ec2net.core.simulation.vpc.imds_server import Address, HttpRequest, HttpServer, Reply
from ec2net.core.simulation.vpc.imds_tree import Tree

TOKEN_PATH = "/latest/api/token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_RANGE = range(1, 21601)

_VERSION = re.compile(r"latest|\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Propagation:
    """How a fresh ENI becomes known to IMDS. Times in seconds after it was attached.

    None means: only when :meth:`ImdsDouble.settle` is called.
    """

    listed: float | None = 0.0
    """The MAC is listed, and readable, from then on."""
    settled: float | None = 0.0
    """Until then ``device-number`` reads 0 and ``network-card`` is missing."""
    late_keys: tuple[str, ...] = ()
    """Keys that are listed but answer 404 at first."""
    keys: float | None = 0.0
    """When the late keys become readable."""
    withheld: Mapping[str, float | None] = field(default_factory=dict)
    """Keys that are neither listed nor readable at first, each until its own time."""


SETTLED = Propagation()


@dataclass(frozen=True, slots=True)
class Logged:
    """One request: ``status`` 0 if it was never answered. ``time`` is monotonic, in seconds."""

    method: str
    path: str
    source: Address
    status: int
    time: float


@dataclass(eq=False)
class _Interface:
    keys: Tree
    propagation: Propagation
    since: float
    settled: bool = False
    released: set[str] = field(default_factory=set)
    """Keys that are withheld no longer, whatever their time."""

    def withholds(self, key: str, now: float) -> bool:
        after = self.propagation.withheld.get(key, 0.0)
        return key not in self.released and not self.past(after, now)

    def past(self, after: float | None, now: float) -> bool:
        return self.settled or (after is not None and now >= self.since + after)


class ImdsDouble:
    """IMDS for one instance. All methods may be called from any thread at any time."""

    def __init__(self, tree: Tree | None = None) -> None:
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._tree: Tree = {}
        self._interfaces: dict[str, _Interface] = {}
        self._tokens: dict[str, float] = {}
        self._faults: list[ActiveFault] = []
        self._log: list[Logged] = []
        self._server = HttpServer(self)
        if tree is not None:
            self.load(tree)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def serve(self, listeners: Iterable[socket.socket]) -> None:
        """Answer on these listening sockets; they are closed with the double."""
        self._server.serve(listeners)

    def serve_loopback(self) -> str:
        """Answer on a free port of 127.0.0.1; the base URL, without a trailing slash."""
        with socket.socket() as finder:
            # A port that the kernel chose is lost when listening ends, one that was asked for
            # is not (SOCK_BINDPORT_LOCK): bind once more to the port that it found.
            finder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            finder.bind(("127.0.0.1", 0))
            address = finder.getsockname()
            self.serve([socket.create_server(address)])
        return f"http://127.0.0.1:{address[1]}"

    def close(self) -> None:
        """Stop serving; ends hanging answers too."""
        self._server.close()

    # The state.

    def load(self, tree: Tree) -> None:
        """Replace everything by a recorded tree, rooted at ``/latest/meta-data/``."""
        fresh = imds_tree.copy(tree)
        macs = imds_tree.find(fresh, imds_tree.MACS)
        imds_tree.remove(fresh, imds_tree.MACS)
        with self._lock:
            self._tree = fresh
            self._interfaces = {
                mac: _Interface(keys, SETTLED, time.monotonic())
                for mac, keys in (macs.items() if isinstance(macs, dict) else ())
                if isinstance(keys, dict)
            }

    def tree(self) -> Tree:
        """The tree that a client could read now, rooted at ``/latest/meta-data/``; JSON-ready."""
        with self._lock:
            tree, unreadable = self._view()
        result = imds_tree.copy(tree)
        for path in unreadable:
            imds_tree.remove(result, path)
        return result

    def put(self, path: str, value: str | Tree) -> None:
        """Set a key outside ``network/interfaces/macs``, such as ``local-hostname``."""
        with self._lock:
            imds_tree.put(self._tree, path, value)

    def remove(self, path: str) -> None:
        """Remove a key outside ``network/interfaces/macs``."""
        with self._lock:
            imds_tree.remove(self._tree, path)

    def put_interface(self, mac: str, keys: Tree, propagation: Propagation | None = None) -> None:
        """Add an ENI, or change its keys (``propagation`` None: its clock goes on)."""
        with self._lock:
            known = self._interfaces.get(mac)
            if known is not None and propagation is None:
                known.keys = imds_tree.copy(keys)
            else:
                self._interfaces[mac] = _Interface(
                    imds_tree.copy(keys), propagation or SETTLED, time.monotonic()
                )

    def remove_interface(self, mac: str) -> None:
        with self._lock:
            self._interfaces.pop(mac, None)

    def settle(self, mac: str, *keys: str) -> None:
        """End the propagation of an ENI now, or only that of these withheld keys."""
        with self._lock:
            self._interfaces[mac].released.update(keys)
            self._interfaces[mac].settled |= not keys

    # The faults.

    def inject(self, effect: Effect | Fault) -> ActiveFault:
        """Switch a fault on (an effect alone: on every request); it counts its hits."""
        active = ActiveFault(effect if isinstance(effect, Fault) else Fault(effect))
        with self._lock:
            self._faults.append(active)
        return active

    def repair(self, fault: ActiveFault | None = None) -> None:
        """Switch one fault off, or all of them."""
        with self._lock:
            self._faults = [] if fault is None else [f for f in self._faults if f is not fault]

    @contextmanager
    def fault(self, effect: Effect | Fault) -> Iterator[ActiveFault]:
        """A fault for the length of a ``with`` block."""
        active = self.inject(effect)
        try:
            yield active
        finally:
            self.repair(active)

    def kill_endpoint(self, family: socket.AddressFamily) -> None:
        """Connections to the IPv4 or IPv6 endpoint are refused from now on."""
        self._server.kill(family)

    def revive_endpoint(self, family: socket.AddressFamily) -> None:
        self._server.revive(family)

    def drop_connections(self) -> None:
        """End all kept-alive connections."""
        self._server.drop_connections()

    def expire_tokens(self) -> None:
        """All tokens given so far are unknown from now on, as after a stop and start."""
        with self._lock:
            self._tokens.clear()

    # The requests.

    @property
    def requests(self) -> tuple[Logged, ...]:
        with self._lock:
            return tuple(self._log)

    def clear_log(self) -> None:
        with self._lock:
            self._log.clear()

    def count(self, path: str = "", *, method: str | None = None, status: int | None = None) -> int:
        """How many logged requests match (``path``: a regular expression)."""
        return sum(_matches(logged, path, method, status) for logged in self.requests)

    def wait_for(
        self, path: str = "", *, times: int = 1, timeout: float, method: str | None = None
    ) -> bool:
        """Wait until so many matching requests are in the log; false after ``timeout`` seconds."""

        def enough() -> bool:
            return sum(_matches(logged, path, method, None) for logged in self._log) >= times

        with self._grown:
            return self._grown.wait_for(enough, timeout)

    # Answering; called by the server.

    def reply(self, request: HttpRequest) -> Reply:
        with self._lock:
            struck = [
                active.fault.effect
                for active in self._faults
                if active.strikes(request.method, request.path, request.source)
            ]
            reply = apply_faults(self._answer(request, struck), struck)
            self._log.append(
                Logged(request.method, request.path, request.source, reply.status, time.monotonic())
            )
            self._grown.notify_all()
        return reply

    def _answer(self, request: HttpRequest, struck: list[Effect]) -> Reply:
        if request.path == TOKEN_PATH:
            return self._token(request, struck)
        if request.method != "GET":
            return error_reply(405)
        token = request.headers.get(TOKEN_HEADER.lower())
        expiry = self._tokens.get(token, 0.0) if token is not None else 0.0
        if expiry <= time.monotonic():
            return error_reply(401)
        if token is not None and any(isinstance(effect, TokenSpent) for effect in struck):
            del self._tokens[token]
        return self._read(request.path, struck)

    def _token(self, request: HttpRequest, struck: list[Effect]) -> Reply:
        if request.method != "PUT":
            return error_reply(405)
        if "x-forwarded-for" in request.headers:
            return error_reply(403)
        asked = request.headers.get(TTL_HEADER.lower(), "")
        if not asked.isascii() or not asked.isdigit() or int(asked) not in TTL_RANGE:
            return error_reply(400)
        life = float(asked)
        for effect in struck:
            if isinstance(effect, TokenLife):
                life = effect.seconds
        token = secrets.token_urlsafe(40) + "=="
        self._tokens[token] = time.monotonic() + life
        return Reply(200, token.encode(), {TTL_HEADER: asked})

    def _read(self, path: str, struck: list[Effect]) -> Reply:
        version, _, below = path.lstrip("/").partition("/")
        if not version:
            return Reply(200, b"latest")
        if not _VERSION.fullmatch(version):
            return error_reply(404)
        tree, unreadable = self._view()
        key = below.rstrip("/")
        whole: Tree = {"meta-data": tree}
        if dynamic := imds_tree.dynamic_tree(tree):
            whole["dynamic"] = dynamic
        node = imds_tree.find(whole, key)
        hidden = key.removeprefix("meta-data/") in unreadable
        if node is None or hidden or (isinstance(node, str) and below.endswith("/")):
            return error_reply(404)
        if isinstance(node, str):
            return Reply(200, node.encode())
        return Reply(200, "\n".join(directory_names(imds_tree.listing(node), struck)).encode())

    def _view(self) -> tuple[Tree, set[str]]:
        """The tree of this moment, and the paths that are listed but cannot be read."""
        now = time.monotonic()
        unreadable: set[str] = set()
        macs: Tree = {}
        for mac, interface in self._interfaces.items():
            delays = interface.propagation
            if not interface.past(delays.listed, now):
                continue
            keys: Tree = {
                key: value
                for key, value in interface.keys.items()
                if not interface.withholds(key, now)
            }
            if not interface.past(delays.settled, now):
                keys["device-number"] = imds_tree.UNSETTLED_DEVICE_NUMBER
                keys.pop("network-card", None)
            if not interface.past(delays.keys, now):
                unreadable.update(f"{imds_tree.MACS}/{mac}/{key}" for key in delays.late_keys)
            macs[mac] = keys
        tree: Tree = dict(self._tree)
        if macs:
            tree["network"] = {"interfaces": {"macs": macs}}
        return tree, unreadable


def _matches(logged: Logged, path: str, method: str | None, status: int | None) -> bool:
    return (
        re.search(path, logged.path) is not None
        and method in (None, logged.method)
        and status in (None, logged.status)
    )
