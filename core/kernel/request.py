# SPDX-License-Identifier: Apache-2.0
"""One request over rtnetlink and its answer: a change, or the look-up of one route.

The bodies are pyroute2's message classes; its ``IPRoute`` with an event loop of its own is not
needed for that, and costs a process 13 MiB and 100 ms more (docs/performance.md).
"""

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ec2net.core.kernel import pyroute, wire

# include/uapi/linux/netlink.h
NLM_F_ACK = 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

_BODIES = {kind.message: kind.body for kind in (wire.ADDRESSES, wire.ROUTES, wire.RULES)}
"""Size of the structure between header and attributes."""

_SECONDS = 5.0
"""A bound that is never reached: the kernel answers before the call for the request returns."""


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
    raw: bytes = b""
    """Further attributes, as bytes of whole attributes."""


class Requests:
    """A socket for requests."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_SECONDS)
        for option in (wire.NETLINK_CAP_ACK, wire.NETLINK_EXT_ACK):
            self._socket.setsockopt(wire.SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, request: Request, *, after: Request | None = None) -> bytes | None:
        """The answer's message; None for a change that was made. Raises ``OSError``.

        ``after`` goes to the kernel in the same call, just before, and its answer is not waited for.
        """
        data = b""
        if after is not None:
            self._sequence += 1
            data = encoded(after, self._sequence)
            data += bytes(-len(data) % 4)  # NLMSG_ALIGN
        self._sequence += 1
        self._socket.send(data + encoded(request, self._sequence))
        while True:  # ends by the kernel's answer, or by the socket's timeout
            data = self._socket.recv(wire.BUFFER)
            for kind, _, sequence, raw in wire.messages(data):
                if sequence != self._sequence:
                    continue  # the answer to an earlier or abandoned request
                if kind == wire.NLMSG_ERROR:
                    wire.check(raw)
                    return None
                return raw


def encoded(request: Request, sequence: int) -> bytes:
    """The request as bytes for the kernel."""
    message = _encoded(request, sequence)
    if not request.raw:
        return message
    whole = message + bytes(-len(message) % 4) + request.raw
    return len(whole).to_bytes(4, sys.byteorder) + whole[4:]


def _encoded(request: Request, sequence: int) -> bytes:
    """Without ``raw``.

    pyroute2 encodes the first request of a shape; later ones are copies with other values. A pass
    over the largest instance makes 20,000 requests of some hundred shapes.
    """
    shape = (
        request.message,
        request.kind,
        request.flags,
        *request.fields.items(),
        *((name, type(value)) for name, value in request.attributes),
    )
    try:
        template = _templates[shape]
    except KeyError:
        if len(_templates) >= _SHAPES:
            _templates.clear()
        template = _templates[shape] = _template(request)
    except TypeError:  # a nested attribute: rare, and none has many of them
        template = None
    if template is None:
        return _by_pyroute(request, sequence)
    return _filled(*template, request, sequence)


_SHAPES = 1024
"""Templates that are kept: two for each link, some for each kind of route and rule."""

_templates: dict[tuple[object, ...], tuple[bytes, list[tuple[int, int]]] | None] = {}
"""By shape: a message, and offset and length of each attribute's value; None: no copy is possible.
"""

_SEQUENCE_OFFSET = 8


def _by_pyroute(request: Request, sequence: int) -> bytes:
    message = pyroute.message_class(request.message)()
    message.update(request.fields)
    message["attrs"] = [list(pair) for pair in request.attributes]
    message["header"]["type"] = request.kind
    message["header"]["flags"] = wire.NLM_F_REQUEST | request.flags
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


def _template(request: Request) -> tuple[bytes, list[tuple[int, int]]] | None:
    """None unless what is filled in is, to the last byte, what pyroute2 makes of it."""
    message = _by_pyroute(request, 0)
    body = _BODIES.get(request.message)
    if body is None:
        return None
    slots = [
        (offset + wire.ATTRIBUTE.size, length - wire.ATTRIBUTE.size)
        for _, offset, length in wire.attributes_from(message, wire.HEADER.size + body)
    ]
    try:
        same = len(slots) == len(request.attributes) and message == _filled(
            message, slots, request, 0
        )
    except (OSError, ValueError, OverflowError):
        return None
    return (message, slots) if same else None


def _filled(
    message: bytes, slots: Sequence[tuple[int, int]], request: Request, sequence: int
) -> bytes:
    """Raises ``OSError``, ``ValueError`` or ``OverflowError`` for a value that does not fit."""
    filled = bytearray(message)
    filled[_SEQUENCE_OFFSET : _SEQUENCE_OFFSET + 4] = sequence.to_bytes(4, sys.byteorder)
    for (start, size), (_, value) in zip(slots, request.attributes, strict=True):
        if isinstance(value, int):
            raw = value.to_bytes(size, sys.byteorder)
        else:
            raw = socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)
        if len(raw) != size:
            raise ValueError(f"{value} is not of {size} bytes")
        filled[start : start + size] = raw
    return bytes(filled)
