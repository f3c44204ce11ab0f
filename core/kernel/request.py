# SPDX-License-Identifier: Apache-2.0
"""One request over rtnetlink and its answer: a change, or the look-up of one route.

The bodies are pyroute2's message classes; its ``IPRoute`` with an event loop of its own is not
needed for that, and costs a process 13 MiB and 100 ms more (docs/performance.md).
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ec2net.core.kernel import pyroute, wire

# include/uapi/linux/netlink.h
NLM_F_ACK = 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

_SECONDS = 5.0
"""Of a bound that is never met: the kernel answers before the call for the request returns."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message to be sent. ``fields`` are those of its structure, ``attributes`` by name."""

    message: str
    """pyroute2's class, and the module that has it."""
    kind: int
    """RTM_..."""
    flags: int
    fields: dict[str, int]
    attributes: Sequence[tuple[str, Any]]


class Requests:
    """A socket for requests."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_SECONDS)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, request: Request) -> Any | None:
        """The answer, decoded; None for a change that was made. Raises ``OSError``."""
        self._sequence += 1
        self._socket.send(encoded(request, self._sequence))
        while True:  # ends by the kernel's answer, or by the socket's timeout
            data = self._socket.recv(wire.BUFFER)
            for kind, _, sequence, raw in wire.messages(data):
                if sequence != self._sequence:
                    continue  # to a request that was given up
                if kind == wire.NLMSG_ERROR:
                    wire.check(raw)
                    return None
                answer = pyroute.message_class(request.message)(raw)
                answer.decode()
                return answer


def encoded(request: Request, sequence: int) -> bytes:
    """As it goes to the kernel."""
    message = pyroute.message_class(request.message)()
    message.update(request.fields)
    message["attrs"] = [list(pair) for pair in request.attributes]
    message["header"]["type"] = request.kind
    message["header"]["flags"] = wire.NLM_F_REQUEST | request.flags
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)
