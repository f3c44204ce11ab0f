# SPDX-License-Identifier: Apache-2.0
"""Connections that stay: one from each address of some ENIs to the outside."""

import socket
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import Self

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

ANSWER_LIMIT = 30.0
"""Seconds for an exchange on a machine however busy; a lost segment is repeated after 0.2 to 3 s."""

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Sessions:
    """As a context manager; every connection is open at its start."""

    def __init__(
        self, vpc: SimulatedVpc, enis: Iterable[Eni], but: Collection[object] = ()
    ) -> None:
        """``but``: from all addresses except for these."""
        self._vpc = vpc
        self._sources = [a for eni in enis for a in eni.addresses() if a not in but]
        self._stack = ExitStack()
        self._pairs: dict[object, tuple[socket.socket, socket.socket]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listeners = {
                version: stack.enter_context(self._listener(version)) for version in _FAMILIES
            }
            for source in self._sources:
                listener = listeners[source.version]
                client = stack.enter_context(
                    self._vpc.guest.socket(_FAMILIES[source.version], socket.SOCK_STREAM)
                )
                client.settimeout(ANSWER_LIMIT)
                client.bind((str(source), 0))
                client.connect(listener.getsockname()[:2])
                server, _ = listener.accept()
                server.settimeout(ANSWER_LIMIT)
                self._pairs[source] = (client, stack.enter_context(server))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return len(self._pairs)

    def broken(self) -> list[str]:
        """The addresses whose connection no longer works in both directions, and the reason."""
        found = []
        for source, (client, server) in self._pairs.items():
            try:
                for one, other in ((client, server), (server, client)):
                    one.sendall(b"x")
                    assert other.recv(1) == b"x", "closed"
            except (OSError, AssertionError) as error:
                found.append(f"{source}: {error}")
        return found

    def _listener(self, version: int) -> socket.socket:
        listener = self._vpc.outside.namespace.socket(_FAMILIES[version], socket.SOCK_STREAM)
        listener.settimeout(ANSWER_LIMIT)
        listener.bind((str(self._vpc.outside.address(version)), 0))
        listener.listen(64)
        return listener
