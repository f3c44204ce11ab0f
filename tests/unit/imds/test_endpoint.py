# SPDX-License-Identifier: Apache-2.0
import logging
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from imds_server import META, PRIMARY, ImdsServer, hang, reset, running, status, times
from patience import HANGS, told_bound

from ec2net.core.imds.answer import ConnectFailed, TransportError
from ec2net.core.imds.bounded_socket import BoundedSocket, connect
from ec2net.core.imds.client import ImdsClient
from ec2net.core.imds.endpoint import (
    ENDPOINT_VARIABLE,
    IPV4_ENDPOINT,
    IPV6_ENDPOINT,
    MODE_VARIABLE,
    Candidate,
    Endpoint,
    candidates,
    endpoints,
)
from ec2net.core.imds.race import NobodyAnswers, race
from ec2net.core.model.errors import ImdsError, LinkGone, UsageError
from ec2net.core.model.facts import Unknown, Value
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

pytestmark = pytest.mark.library

MAC = META + "mac"
TOKEN = "latest/api/token"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://169.254.169.254", "169.254.169.254"),
        ("http://169.254.169.254:80/", "169.254.169.254"),
        ("HTTP://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[fd00:ec2::254]", "[fd00:ec2::254]"),
        ("http://[FD00:EC2::254]:81/", "[fd00:ec2::254]:81"),
    ],
)
def test_the_variable_sets_the_endpoint(url: str, text: str) -> None:
    (endpoint,) = endpoints({ENDPOINT_VARIABLE: url, MODE_VARIABLE: "IPv6"})
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254",
        "169.254.169.254",
        "http://",
        "http://localhost",
        "http://169.254.169.254/latest",
        "http://169.254.169.254?x",
        "http://169.254.169.254#x",
        "http://user@169.254.169.254",
        "http://169.254.169.254:0",
        "http://169.254.169.254:65536",
        "http://169.254.169.254:x",
        "http://[fe80::1%25eth0]",
        "http://[fd00:ec2::254",
        "file:///etc/passwd",
        "http://169.254.169.254\r\nX: y",
        "x" * 5000,
    ],
)
def test_an_invalid_endpoint_variable_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=rf"^{ENDPOINT_VARIABLE}: .*allowed: http://") as caught:
        endpoints({ENDPOINT_VARIABLE: url})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("IPv4", (IPV4_ENDPOINT,)),
        ("ipv6", (IPV6_ENDPOINT,)),
        ("", (IPV4_ENDPOINT, IPV6_ENDPOINT)),
    ],
)
def test_the_variable_sets_the_mode(mode: str, expected: tuple[Endpoint, ...]) -> None:
    assert endpoints({MODE_VARIABLE: mode, ENDPOINT_VARIABLE: ""}) == expected


def test_an_invalid_mode_variable_is_refused() -> None:
    with pytest.raises(UsageError, match=rf"^{MODE_VARIABLE}: 'both' .*allowed: IPv4, IPv6"):
        endpoints({MODE_VARIABLE: "both"})


def test_the_candidates_have_an_order() -> None:
    found = candidates(endpoints({}), link="ens6", others=["ens5", "ens6", "ens7"])
    v4, v6 = "169.254.169.254", "[fd00:ec2::254]"
    assert [str(candidate) for candidate in found] == [
        v4,
        v6,
        f"{v4} via ens6",
        f"{v6} via ens6",
        f"{v4} via ens5",
        f"{v6} via ens5",
        f"{v4} via ens7",
        f"{v6} via ens7",
    ]


# The race


@contextmanager
def black_holes(count: int) -> Iterator[tuple[Candidate, ...]]:
    """Candidates that never answer a SYN: listeners whose backlog is full."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            for _ in range(2):  # a backlog of 0 accepts one; the second connection stays pending
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            found.append(Candidate(Endpoint.parse(f"http://127.0.0.1:{address[1]}")))
        yield tuple(found)


@contextmanager
def refusing() -> Iterator[Candidate]:
    """A port that is bound, so that no other program gets it, and does not listen."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield Candidate(Endpoint.parse(f"http://127.0.0.1:{holder.getsockname()[1]}"))


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


def within(seconds: float = 10) -> Deadline:
    return Deadline(seconds, "the test")


def test_one_endpoint_answers_behind_31_silent_ones(server: ImdsServer) -> None:
    with black_holes(31) as holes, ImdsClient([*holes, *server.candidates]) as client:
        started = time.monotonic()
        assert client.get(MAC, within(60)) == Value(PRIMARY)
        assert time.monotonic() - started < HANGS  # each in its turn they would take 31 s
        assert client.requests_made == 2


def test_with_32_silent_endpoints_no_endpoint_answers(server: ImdsServer) -> None:
    with black_holes(32) as holes, ImdsClient(holes) as client:
        started = time.monotonic()
        with pytest.raises(ImdsError) as caught:
            client.get(MAC, within(60))
        assert time.monotonic() - started < HANGS
        assert "no IMDS endpoint answers" in str(caught.value)
        assert f"{holes[0]}, {holes[1]}" in str(caught.value)
        assert "and 28 more: timed out" in str(caught.value)
        with pytest.raises(ImdsError) as again:
            client.get(MAC, within(60))
        assert again.value is caught.value  # no search was repeated


def test_silent_endpoints_end_at_a_short_deadline() -> None:
    with black_holes(3) as holes, ImdsClient(holes) as client:
        started = time.monotonic()
        reading = client.get(MAC, within(0.3))
        assert isinstance(reading, Unknown)
        assert told_bound(reading.reason) == 0.3
        assert time.monotonic() - started < HANGS


def test_without_an_endpoint_there_is_an_error() -> None:
    with ImdsClient(()) as client, pytest.raises(ImdsError, match="no endpoint to try"):
        client.get(MAC, within())


@pytest.fixture
def leisurely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race in which the next one starts 3 s after one that neither answers nor refuses."""
    monkeypatch.setattr("ec2net.core.imds.race.STAGGER_SECONDS", 3.0)
    monkeypatch.setattr("ec2net.core.imds.session.FIND_SECONDS", 600.0)


@pytest.mark.usefixtures("leisurely")
def test_a_refusal_starts_the_next_attempt_at_once(server: ImdsServer) -> None:
    with ExitStack() as stack:
        refusals = [stack.enter_context(refusing()) for _ in range(20)]
        client = stack.enter_context(ImdsClient([*refusals, *server.candidates]))
        started = time.monotonic()
        assert client.get(MAC, within(600)) == Value(PRIMARY)
        assert time.monotonic() - started < HANGS  # each in its turn they would take 60 s


@pytest.mark.parametrize("fault", [hang, reset, status(500), status(404), status(200, "no token")])
def test_an_endpoint_that_connects_but_gives_no_token_loses(
    server: ImdsServer, fault: Callable[..., bool]
) -> None:
    with running() as bad, ImdsClient([*bad.candidates, *server.candidates]) as client:
        bad.faults[TOKEN] = fault
        started = time.monotonic()
        assert client.get(MAC, within(60)) == Value(PRIMARY)
        assert time.monotonic() - started < HANGS


def test_imds_disabled_on_one_endpoint_only(server: ImdsServer) -> None:
    with running() as off:
        off.faults[TOKEN] = status(403)
        both = candidates(
            [off.candidates[0].endpoint, server.candidates[0].endpoint], others=["lo"]
        )
        with ImdsClient(both) as client:
            assert client.get(MAC, within()) == Value(PRIMARY)
        assert len(off.requests) == 1


def test_an_endpoint_busy_with_the_token_is_retried(server: ImdsServer) -> None:
    server.faults[TOKEN] = times(3, status(503))
    with ImdsClient(server.candidates) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)


def test_the_preferred_endpoint_wins_without_a_second_connection(server: ImdsServer) -> None:
    with running() as other, ImdsClient([*server.candidates, *other.candidates]) as client:
        client.get(MAC, within())
        assert other.connections == 0


def test_a_good_endpoint_is_remembered_and_costs_nothing(
    server: ImdsServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with black_holes(8) as holes:
        every = [*holes, *server.candidates]
        with ImdsClient(every, state=RunDir(tmp_path)) as client:
            client.get(MAC, within())
        request.getfixturevalue("leisurely")
        with ImdsClient(every, state=RunDir(tmp_path)) as client:
            started = time.monotonic()
            assert client.get(MAC, within(600)) == Value(PRIMARY)
            assert time.monotonic() - started < HANGS  # behind the others it would take 24 s
            assert client.requests_made == 1
    assert server.connections == 2


@pytest.mark.parametrize("fault", ["gone", "hangs"])
def test_a_remembered_endpoint_that_fails_is_replaced(
    server: ImdsServer, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running() as old:
        every = [*old.candidates, *server.candidates]
        with ImdsClient(every, state=RunDir(tmp_path)) as client:
            client.get(MAC, within())
        if fault == "gone":
            old.close()
        else:
            old.faults = {"*": hang, TOKEN: hang}
        with ImdsClient(every, state=RunDir(tmp_path)) as client:
            started = time.monotonic()
            assert client.get(MAC, within(60)) == Value(PRIMARY)
            assert time.monotonic() - started < HANGS  # a hang lasts 30 s
    if fault == "hangs":
        # the time of a remembered endpoint for its proof
        doubt = f"GET {MAC} did not end within 1 s"
        assert any(doubt in message for message in caplog.messages)


def test_an_endpoint_that_fails_in_a_pass_is_replaced(server: ImdsServer) -> None:
    with running() as first, ImdsClient([*first.candidates, *server.candidates]) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert server.requests == []
        first.faults["*"] = reset
        first.close()
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert len(server.requests) == 2


def test_the_next_pass_tries_other_candidates(server: ImdsServer) -> None:
    with running() as other, ImdsClient(server.candidates) as client:
        client.get(MAC, within())
        client.new_pass(server.candidates)
        client.get(MAC, within())
        assert server.connections == 1
        client.new_pass(other.candidates)
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert server.connections == 1
        assert other.connections == 1


def test_an_interruption_ends_the_race() -> None:
    reader, writer = os.pipe()

    class Gone:
        def fileno(self) -> int:
            return reader

        def check(self) -> None:
            raise LinkGone("gone")

    os.write(writer, b"x")
    with black_holes(2) as holes, ImdsClient(holes) as client, pytest.raises(LinkGone):
        client.get(MAC, within().watching(Gone()))
    os.close(reader)
    os.close(writer)


def test_the_race_returns_its_winner(server: ImdsServer) -> None:
    def refuse(connection: BoundedSocket, _: Deadline) -> None:
        connection.close()
        raise TransportError("not this one")

    with refusing() as closed, pytest.raises(NobodyAnswers) as caught:
        race([closed, *server.candidates], refuse, within())
    assert str(caught.value) == (
        f"{closed}: Connection refused; {server.candidates[0]}: not this one"
    )


# The socket


def test_a_missing_device_is_an_error(server: ImdsServer) -> None:
    candidate = Candidate(server.candidates[0].endpoint, "absent0")
    with pytest.raises(ConnectFailed, match=r"No such device|not permitted"):
        connect(candidate, within())
    with ImdsClient([candidate, *server.candidates]) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)


def test_the_device_is_bound(server: ImdsServer) -> None:
    with connect(Candidate(server.candidates[0].endpoint, "lo"), within()) as connection:
        bound = connection.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    assert bound.rstrip(b"\0") == b"lo"


def test_a_connection_attempt_ends_at_its_share_and_at_the_deadline() -> None:
    with black_holes(1) as (hole,):
        with pytest.raises(ConnectFailed, match="timed out"):
            connect(hole, within())
        with pytest.raises(Exception, match="did not end within"):
            connect(hole, within(0.1))


def test_the_ipv6_endpoint_answers() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        port = listener.getsockname()[1]
        with connect(Candidate(Endpoint.parse(f"http://[::1]:{port}")), within()) as connection:
            assert select.select([], [connection], [], 0)[1]
