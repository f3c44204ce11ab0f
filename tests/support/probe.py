# SPDX-License-Identifier: Apache-2.0
"""Connections every 20 ms in a thread, to see whether traffic ever has a gap."""

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import sent_again
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

EVERY = 0.02
LONGEST = 0.25
"""Seconds between two rounds that still pass for "every 20 ms" where others use the machine, too (up
to 0.11 s were seen at a load of 8 on two processors)."""
PATIENCE = 10.0
"""Seconds for a handshake on a machine however busy. A lost SYN is a loss as soon as the kernel sends
it again, after 1 s."""

_STREAM_LIMIT = 30.0
"""Seconds for a word; a reset or a route that is gone is an error at once."""
_WORD = b"word"

_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection ends with a reset, and its port is free at once."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A connection that failed."""

    seconds: float
    """After the start."""
    source: str
    destination: str
    reason: str


class Probe:
    """Connects from ``namespace`` by pairs of source and destination, as a context manager.

    Threads are started inside the namespace, and stay there (setns(2) concerns a thread).
    """

    def __init__(self, namespace: Namespace, pairs: Iterable[tuple[object, object]]) -> None:
        self._namespace = namespace
        self._pairs = [(str(source), str(destination)) for source, destination in pairs]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.gaps: list[Gap] = []
        self.made = 0
        self.longest = 0.0
        """Seconds between two rounds: the longest gap in the traffic that can stay unnoticed."""

    def __enter__(self) -> Self:
        self._namespace.call(self._thread.start)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * PATIENCE)

    def _run(self) -> None:
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            due = last = began
            while not self._stop.is_set() or selector.get_map():  # patience ends the rest
                now = time.monotonic()
                if now >= due and not self._stop.is_set():
                    self.longest = max(self.longest, now - last)
                    last = now
                    for pair in self._pairs:
                        self._begin(selector, pair, now - began)
                    due = max(due + EVERY, now)
                # The time of the request, not of the end: this thread may have waited for the
                # processor.
                asked = time.monotonic() - began
                for key, _ in selector.select(max(0.001, due - time.monotonic())):
                    self._end(selector, key)
                for key in list(selector.get_map().values()):
                    assert isinstance(key.fileobj, socket.socket)
                    if sent_again(key.fileobj):
                        self._lose(key.data, "a packet was lost")
                        self._close(selector, key)
                    elif asked - key.data[1] > PATIENCE:
                        self._lose(key.data, "no answer")
                        self._close(selector, key)

    def _begin(self, selector: selectors.BaseSelector, pair: tuple[str, str], now: float) -> None:
        family = socket.AF_INET6 if ":" in pair[1] else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.made += 1
        try:
            connection.bind((pair[0], 0))
            connection.connect((pair[1], echo.PORT))
        except BlockingIOError:
            selector.register(connection, selectors.EVENT_WRITE, (pair, now))
        except OSError as error:
            self._lose((pair, now), error.strerror or str(error))
            connection.close()
        else:
            connection.close()

    def _end(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        assert isinstance(key.fileobj, socket.socket)
        code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose(key.data, os.strerror(code))
        elif sent_again(key.fileobj):
            self._lose(key.data, "a packet was lost")
        self._close(selector, key)

    def _close(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        selector.unregister(key.fileobj)
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()

    def _lose(self, data: tuple[tuple[str, str], float], reason: str) -> None:
        (source, destination), now = data
        self.gaps.append(Gap(round(now, 3), source, destination, reason))


class Traffic:
    """Probes in both directions between the outside and the present single addresses of ENIs."""

    def __init__(self, vpc: SimulatedVpc, enis: Iterable[Eni], but: Iterable[object] = ()) -> None:
        own = [a for eni in enis for a in eni.addresses() if a not in but]
        pairs = [(vpc.outside.address(address.version), address) for address in own]
        self._probes = (
            Probe(vpc.outside.namespace, pairs),
            Probe(vpc.guest, [(address, outside) for outside, address in pairs]),
        )

    def __enter__(self) -> Self:
        for probe in self._probes:
            probe.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for probe in self._probes:
            probe.__exit__()

    @property
    def gaps(self) -> list[Gap]:
        """Valid after the end."""
        return [gap for probe in self._probes for gap in probe.gaps]

    @property
    def longest(self) -> float:
        """Seconds between two rounds of connections, at most."""
        return max(probe.longest for probe in self._probes)

    @property
    def made(self) -> int:
        """Connections tried in the direction that was tried least."""
        return min(probe.made for probe in self._probes)


class Streams:
    """A long connection from the outside to each single address of ENIs, as they are now."""

    def __init__(self, vpc: SimulatedVpc, enis: Iterable[Eni], but: Iterable[object] = ()) -> None:
        self._vpc = vpc
        own = [address for eni in enis for address in eni.addresses()]
        self._addresses = [address for address in own if address not in but]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []

    def __enter__(self) -> Self:
        for address in self._addresses:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            listener = self._vpc.guest.call(lambda family=family: socket.socket(family))  # type: ignore[misc]
            with listener:
                listener.bind((str(address), 0))
                listener.listen()
                port = listener.getsockname()[1]
                client = self._vpc.outside.namespace.call(
                    lambda to=(str(address), port): socket.create_connection(to, _STREAM_LIMIT)  # type: ignore[misc]
                )
                server, _ = listener.accept()
                server.settimeout(_STREAM_LIMIT)
                self._pairs.append((client, server))
        return self

    def __exit__(self, *_: object) -> None:
        for pair in self._pairs:
            for end in pair:
                end.close()

    def exchange(self) -> None:
        """A word in each direction on each; a reset, or an answer that is late, is an error."""
        for client, server in self._pairs:
            for one, other in ((client, server), (server, client)):
                one.sendall(_WORD)
                assert other.recv(len(_WORD)) == _WORD
