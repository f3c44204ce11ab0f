# SPDX-License-Identifier: Apache-2.0
"""A candidate that gives tokens and no keys is left for one that gives both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from imds_server import META, PRIMARY, Fault, ImdsServer, hang, raw, reset, running, status

from ec2net.core.imds.answer import Answer
from ec2net.core.imds.client import ImdsClient
from ec2net.core.imds.proof import BAD_KEYS, MACS_PATH, Doubt, is_proof
from ec2net.core.imds.reader import read_facts
from ec2net.core.model.facts import Absent, Unknown, Value
from ec2net.core.model.identity import Mac
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

pytestmark = pytest.mark.library

MAC = META + "mac"

NO_KEYS = {
    "404": status(404),
    "403": status(403),
    "401": status(401),
    "500": status(500),
    "503, wait": status(503, Retry_After="1"),
    "302": status(302),
    "a page of HTML": status(200, "<html><body>Sign in</body></html>"),
    "nothing": status(200, ""),
    "not ASCII": status(200, "\u00e9"),
    "without a length": raw(b"HTTP/1.1 200 OK\r\n\r\nhello"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "reset": reset,
    "silence": hang,
}


@pytest.fixture
def good() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


@pytest.fixture
def bad() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


def within(seconds: float = 60) -> Deadline:
    return Deadline(seconds, "the test")


@pytest.mark.parametrize("fault", NO_KEYS.values(), ids=NO_KEYS)
def test_an_endpoint_without_keys_is_dropped_and_the_other_is_remembered(
    bad: ImdsServer, good: ImdsServer, tmp_path: Path, fault: Fault
) -> None:
    bad.faults["*"] = fault
    every = [*bad.candidates, *good.candidates]
    with ImdsClient(every, state=RunDir(tmp_path)) as client:
        facts = read_facts(client, [Mac.parse(PRIMARY)], {}, None, within())
    assert facts.primary == Value(Mac.parse(PRIMARY))
    assert isinstance(facts.enis[0].local_ipv4s, Value)
    bad.requests.clear()
    with ImdsClient(every, state=RunDir(tmp_path)) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)
    assert bad.requests == []


@pytest.mark.parametrize("fault", NO_KEYS.values(), ids=NO_KEYS)
def test_a_remembered_endpoint_that_lost_its_keys_is_forgotten(
    bad: ImdsServer, good: ImdsServer, tmp_path: Path, fault: Fault
) -> None:
    with ImdsClient(bad.candidates, state=RunDir(tmp_path)) as client:
        client.get(MAC, within())
    bad.faults["*"] = fault
    every = [*good.candidates, *bad.candidates]
    with ImdsClient(every, state=RunDir(tmp_path)) as client:
        assert client.get(MACS_PATH, within()) != Absent()
        assert client.get(MAC, within()) == Value(PRIMARY)
    bad.requests.clear()
    with ImdsClient(every, state=RunDir(tmp_path)) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)
    assert bad.requests == []


def test_an_endpoint_is_dropped_after_bad_answers_in_a_row(
    bad: ImdsServer, good: ImdsServer
) -> None:
    with ImdsClient([*bad.candidates, *good.candidates]) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)
        bad.faults["*"] = status(403)
        path = f"{MACS_PATH}{PRIMARY}/local-ipv4s"
        readings = [client.get(path, within()) for _ in range(BAD_KEYS)]
    assert [isinstance(reading, Unknown) for reading in readings] == [True] * (BAD_KEYS - 1) + [
        False
    ]


def test_an_absent_key_does_not_drop_the_endpoint(good: ImdsServer) -> None:
    with running() as other, ImdsClient([*good.candidates, *other.candidates]) as client:
        for _ in range(2 * BAD_KEYS):
            assert client.get(META + "nothing", within()) == Absent()
        assert other.connections == 0
        assert good.paths() == [META + "nothing", MACS_PATH] + [META + "nothing"] * 5


def test_without_a_better_endpoint_the_others_are_tried_once_in_a_pass(bad: ImdsServer) -> None:
    with running() as other, ImdsClient([*bad.candidates, *other.candidates]) as client:
        bad.faults["*"] = other.faults["*"] = status(404)
        for _ in range(5):
            assert client.get(MAC, within()) == Absent()
        assert other.paths() == [MACS_PATH]
        client.new_pass()
        client.get(MAC, within())
        assert other.paths() == [MACS_PATH] * 2


@pytest.mark.parametrize(
    ("status", "body", "proof"),
    [
        (200, f"{PRIMARY}/\n06:00:00:00:00:02/", True),
        (200, "", False),
        (200, "<html>", False),
        (200, "\u00e9", False),
        (404, PRIMARY, False),
    ],
)
def test_a_listing_of_macs_proves_the_endpoint(status: int, body: str, proof: bool) -> None:
    assert is_proof(Answer(status, body.encode())) is proof


def test_keys_that_an_eni_lost_raise_no_doubt() -> None:
    doubt = Doubt()
    assert not doubt.raised(MAC, Value(PRIMARY))
    assert not any(doubt.raised("latest/meta-data/x", Absent()) for _ in range(9))
    assert doubt.raised(MACS_PATH, Absent())
