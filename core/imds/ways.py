# SPDX-License-Identifier: Apache-2.0
"""Every way to IMDS, tried: which of them answer. The client takes the first and knows no others."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ec2net.core.imds.answer import ConnectFailed, TransportError
from ec2net.core.imds.bounded_socket import BoundedSocket, connect
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.imds.race import NobodyAnswers, race
from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.runtime.deadline import Deadline

HOP_SECONDS = 0.7
"""For one answer: a lost packet is sent again after 0.2 s and 0.6 s."""

# include/uapi/linux/in.h, in6.h: packets with a lower TTL are dropped.
_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73

_TTL_SECONDS = "1"
"""No request uses these tokens."""


class Outcome(Enum):
    """The outcome of a request for a token."""

    ANSWERS = "answers"
    DISABLED = "disabled"
    """403: IMDS is turned off for this instance."""
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Way:
    """One candidate; ``reason`` explains its silence."""

    candidate: Candidate
    outcome: Outcome
    reason: str = ""


class _Noted(TransportError):
    """Not an error: the race continues with the next candidate."""


def try_all(
    candidates: Sequence[Candidate], deadline: Deadline, *, user_agent: str
) -> tuple[Way, ...]:
    """Ask each for a token, all at once. Lasts until ``deadline`` if one of them is a black hole.

    Raises what interrupts the deadline.
    """
    heard: dict[Candidate, Outcome] = {}

    def ask(connection: BoundedSocket, share: Deadline) -> None:
        status = _token_status(connection, share, user_agent)
        if status in (200, 403):
            kind = Outcome.ANSWERS if status == 200 else Outcome.DISABLED
            heard[connection.candidate] = kind
        raise _Noted(f"HTTP {status}")

    failures = {}
    try:
        race(candidates, ask, deadline)
    except NobodyAnswers as error:
        failures = dict(error.failures)
    return tuple(
        Way(one, heard[one]) if one in heard else Way(one, Outcome.SILENT, failures.get(one, ""))
        for one in candidates
    )


def reaches_further(candidate: Candidate, deadline: Deadline, *, user_agent: str) -> bool:
    """Whether answers would survive one more hop, to a container on a bridge.

    The hop limit (``http-put-response-hop-limit``) is the TTL of the answer to a PUT. TCP sockets
    cannot read it, but they can drop packets with less than 2. Loss looks the same.
    """
    share = deadline.within(HOP_SECONDS, "checking the hop limit")
    try:
        connection = connect(candidate, share)
    except (ConnectFailed, DeadlineExceeded):
        return False
    try:
        connection.setsockopt(*_at_least_two(connection))
        return _token_status(connection, share, user_agent) == 200
    except (TransportError, DeadlineExceeded):
        return False
    finally:
        connection.close()


def _at_least_two(connection: socket.socket) -> tuple[int, int, int]:
    if connection.family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, 2
    return socket.IPPROTO_IP, _IP_MINTTL, 2


def _token_status(connection: BoundedSocket, share: Deadline, user_agent: str) -> int:
    """The status of the answer to a PUT for a token. Raises ``TransportError``, ``DeadlineExceeded``.

    Closes the connection.
    """
    from ec2net.core.imds.transport import Transport

    transport = Transport(connection, user_agent=user_agent)
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": _TTL_SECONDS}
    try:
        return transport.request("PUT", "latest/api/token", headers, share).status
    finally:
        transport.close()
