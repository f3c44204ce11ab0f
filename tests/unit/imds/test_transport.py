# SPDX-License-Identifier: Apache-2.0
"""A lost connection is opened again, and every exchange on it has limits of its own."""

import pytest
from imds_server import META, reset, running, times

from ec2net.core.imds.bounded_socket import ANSWER_LIMIT, BODY_LIMIT
from ec2net.core.imds.client import ImdsClient
from ec2net.core.model.facts import Value
from ec2net.core.runtime.deadline import Deadline

pytestmark = pytest.mark.library


def test_each_answer_on_a_reopened_connection_has_the_whole_allowance() -> None:
    key, text = META + "long", "x" * BODY_LIMIT
    with running() as server, ImdsClient(server.candidates) as client:
        server.tree[key] = text
        server.faults[key] = times(1, reset)
        for _ in range(ANSWER_LIMIT // BODY_LIMIT + 1):
            assert client.get(key, Deadline(20, "the test")) == Value(text)
        assert server.connections == 2
