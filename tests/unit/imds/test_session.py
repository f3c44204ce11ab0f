# SPDX-License-Identifier: Apache-2.0
"""Which candidate a session keeps after a request that failed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from imds_server import META, PRIMARY, ImdsServer, reset, running, times

from ec2net.core.imds.client import ImdsClient
from ec2net.core.model.facts import Absent, Value
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

pytestmark = pytest.mark.library

MAC = META + "mac"


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


def within() -> Deadline:
    return Deadline(10, "the test")


@pytest.mark.parametrize(
    ("answered", "tokens"),
    [
        pytest.param(True, 1, id="it answered in this pass: it is connected again"),
        pytest.param(False, 2, id="it has not: another one is looked for"),
    ],
)
def test_a_candidate_with_a_kept_token_stays_once_it_has_answered(
    server: ImdsServer, tmp_path: Path, answered: bool, tokens: int
) -> None:
    """A search costs a token and, where no other candidate answers, two seconds of the pass."""
    with ImdsClient(server.candidates, state=RunDir(tmp_path)) as earlier:
        earlier.get(MAC, within())
    with ImdsClient(server.candidates, state=RunDir(tmp_path)) as client:
        if answered:
            assert client.get(META + "nothing", within()) == Absent()
        server.faults[MAC] = times(1, reset)
        assert client.get(MAC, within()) == Value(PRIMARY)
    assert len(server.paths("PUT")) == tokens
