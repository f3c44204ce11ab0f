# SPDX-License-Identifier: Apache-2.0
"""How the time of a race is divided among the candidates that connect."""

import socket

import pytest

from ec2net.core.imds import race as module
from ec2net.core.imds.answer import TransportError
from ec2net.core.imds.bounded_socket import BoundedSocket
from ec2net.core.imds.endpoint import Candidate, Endpoint
from ec2net.core.imds.race import NobodyAnswers, race
from ec2net.core.runtime.deadline import Deadline


def test_the_first_candidate_has_half_of_the_time_and_the_others_share_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The preferred candidate may be slow, and the last one must have time as well."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 3600.0)
    deadline = Deadline(600, "the race")
    left = [deadline.remaining()]
    """Seconds before the race and in each probe."""
    shares: list[float] = []

    def probe(connection: BoundedSocket, share: Deadline) -> None:
        connection.close()
        shares.append(share.seconds)
        left.append(deadline.remaining())
        raise TransportError("no token")

    with socket.create_server(("0.0.0.0", 0)) as listening:
        port = listening.getsockname()[1]
        ways = [Candidate(Endpoint.parse(f"http://127.0.0.{n}:{port}")) for n in range(1, 5)]
        with pytest.raises(NobodyAnswers):
            race(ways, probe, deadline)
    parts = (2, 3, 2, 1)
    bounds = zip(left[1:], parts, shares, left, strict=False)
    assert all(after / n <= share <= before / n for after, n, share, before in bounds)
    assert len(shares) == len(parts)
