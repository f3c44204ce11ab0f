# SPDX-License-Identifier: Apache-2.0
import email.utils
import json
import logging
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from imds_server import (
    META,
    PRIMARY,
    Fault,
    Handler,
    ImdsServer,
    drip,
    every_second,
    hang,
    raw,
    reset,
    running,
    status,
    times,
)
from patience import HANGS, told_bound

from ec2net.core.imds.client import ImdsClient
from ec2net.core.model.errors import ImdsError, LinkGone
from ec2net.core.model.facts import Absent, Reading, Unknown, Value
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

pytestmark = pytest.mark.library

MAC = META + "mac"
TOKEN = "latest/api/token"


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


@pytest.fixture
def client(server: ImdsServer) -> Iterator[ImdsClient]:
    with ImdsClient(server.candidates, version="1.2") as imds_client:
        yield imds_client


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a request nor a key has a limit of its own: only the deadline can end it."""
    monkeypatch.setattr("ec2net.core.imds.session.REQUEST_SECONDS", 600.0)
    monkeypatch.setattr("ec2net.core.imds.client.KEY_SECONDS", 600.0)


def within(seconds: float = 10) -> Deadline:
    return Deadline(seconds, "the test")


def reason(reading: Reading[str]) -> str:
    assert isinstance(reading, Unknown), reading
    return reading.reason


def test_one_connection_serves_values_and_absent_keys(
    server: ImdsServer, client: ImdsClient
) -> None:
    for _ in range(3):
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert client.get(META + "nothing", within()) == Absent()
    assert server.connections == 1
    assert server.paths().count(META + "nothing") == 3  # a 404 is not retried
    assert client.requests_made == len(server.requests) == 7
    assert server.agents == {"ec2net/1.2"}


def test_importing_the_client_does_not_import_requests() -> None:
    code = (
        "import sys, ec2net.core.imds.client, ec2net.core.imds.reader\n"
        "assert not {'requests', 'urllib3', 'http.client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_connection_checks_whether_imds_still_answers(
    server: ImdsServer, client: ImdsClient
) -> None:
    """A kept connection could outlive the route that every other program has to use."""
    heard = [client.heard]
    assert not client.answers(MAC, within())  # no endpoint has answered yet
    assert server.requests == []
    client.get(MAC, within())
    assert [*heard, client.heard] == [False, True]
    assert client.answers(MAC, within())
    assert server.connections == 2
    assert client.get(MAC, within()) == Value(PRIMARY)  # and continues on that connection
    assert server.connections == 2
    assert client.requests_made == len(server.requests) == 4


@pytest.mark.parametrize(("fault", "answers"), [(status(503), True), (status(401), True),
                                                  (reset, False), (hang, False)])  # fmt: skip
@pytest.mark.usefixtures("patient")
def test_an_error_is_an_answer_and_silence_is_not(
    server: ImdsServer, client: ImdsClient, fault: Fault, answers: bool
) -> None:
    client.get(MAC, within())
    server.faults[MAC] = fault
    asked = len(server.requests)
    started = time.monotonic()
    assert client.answers(MAC, within(2 if answers else 0.3)) is answers
    assert time.monotonic() - started < HANGS
    assert len(server.requests) == asked + 1  # neither repeated nor sent by another route
    del server.faults[MAC]
    assert client.get(MAC, within()) == Value(PRIMARY)


# Tokens


def test_the_next_process_reuses_the_token_and_the_candidate(
    server: ImdsServer, tmp_path: Path
) -> None:
    for _ in range(3):
        with ImdsClient(server.candidates, state=RunDir(tmp_path)) as client:
            assert client.get(MAC, within()) == Value(PRIMARY)
    assert len(server.paths("PUT")) == 1
    file = tmp_path / "imds-token.json"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        {"expires": 1.0},
        {"expires": 1e12},
        {"token": "a\r\nHost: b"},
        {"token": "a b"},
        {"token": ""},
        {"device": "other0"},
        {"endpoint": "192.0.2.1"},
        {"expires": "soon"},
    ],
)
def test_a_kept_token_that_imds_refuses_is_replaced(
    server: ImdsServer, tmp_path: Path, damage: dict[str, object]
) -> None:
    for _ in range(2):
        with ImdsClient(server.candidates, state=RunDir(tmp_path)) as client:
            assert client.get(MAC, within()) == Value(PRIMARY)
        file = tmp_path / "imds-token.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    assert len(server.paths("PUT")) == 2


def test_a_state_directory_that_cannot_be_written_is_no_failure(
    server: ImdsServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with ImdsClient(server.candidates, state=RunDir(tmp_path / "file")) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)


def test_status_401_renews_the_token_once(server: ImdsServer, client: ImdsClient) -> None:
    client.get(MAC, within())
    server.tokens.clear()
    assert client.get(MAC, within()) == Value(PRIMARY)
    assert len(server.paths("PUT")) == 2


def test_a_token_that_expires_at_each_request_is_an_error(
    server: ImdsServer, client: ImdsClient
) -> None:
    server.token_uses = 1
    for _ in range(5):
        assert client.get(MAC, within()) == Value(PRIMARY)
    assert len(server.paths("PUT")) == 5


def test_a_token_that_imds_never_accepts_is_an_error(
    server: ImdsServer, client: ImdsClient
) -> None:
    server.token_uses = 0
    assert reason(client.get(MAC, within())) == "HTTP 401"
    assert len(server.paths("PUT")) == 2


def test_a_short_token_is_renewed_before_it_ends(server: ImdsServer, client: ImdsClient) -> None:
    server.token_ttl = "0"
    client.get(MAC, within())
    server.token_ttl = "60"
    client.get(MAC, within())
    client.get(MAC, within())
    assert len(server.paths("PUT")) == 3


def test_disabled_imds_is_an_error(server: ImdsServer, client: ImdsClient) -> None:
    server.faults[TOKEN] = status(403)
    for _ in range(2):
        with pytest.raises(ImdsError, match=r"disabled .*\(403 .*modify-instance-metadata-options"):
            client.get(MAC, within())
    assert len(server.requests) == 1


def test_imds_disabled_while_a_token_is_kept_is_an_error(
    server: ImdsServer, tmp_path: Path
) -> None:
    with ImdsClient(server.candidates, state=RunDir(tmp_path)) as client:
        client.get(MAC, within())
        server.faults = {TOKEN: status(403), "*": status(403)}
        with pytest.raises(ImdsError, match="disabled"):
            client.get(MAC, within())


def test_status_403_of_one_key_is_asked_about_once(server: ImdsServer, client: ImdsClient) -> None:
    server.faults["*"] = status(403)
    for _ in range(3):
        assert reason(client.get(MAC, within())) == "HTTP 403"
    assert len(server.paths("PUT")) == 2


def test_the_token_is_never_logged(
    server: ImdsServer, client: ImdsClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.token_uses = 1
    server.faults[MAC] = times(1, reset)
    for _ in range(3):
        client.get(MAC, within())
    assert "new token" in caplog.text
    assert "token-" not in caplog.text.replace("token-ttl", "")
    assert "token-" not in repr(vars(client._session))


# Retries


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_imds_is_retried(server: ImdsServer, client: ImdsClient, code: int) -> None:
    server.faults[MAC] = times(2, status(code))
    assert client.get(MAC, within()) == Value(PRIMARY)
    assert server.paths().count(MAC) == 3


def test_a_constant_503_ends_the_retries(server: ImdsServer, client: ImdsClient) -> None:
    server.faults["*"] = status(503)
    for _ in range(3):
        assert reason(client.get(MAC, within())) == "HTTP 503"
    assert server.paths().count(MAC) == 9
    # An overload is not made worse: one try per key now, and retries again after a success.
    client.get(MAC, within())
    assert server.paths().count(MAC) == 10
    server.faults["*"] = times(2, status(503))
    server.faults[META + "good"] = lambda _: False
    client.get(META + "good", within())
    assert client.get(MAC, within()) == Value(PRIMARY)


def test_503_for_half_of_the_requests_is_retried(server: ImdsServer, client: ImdsClient) -> None:
    server.faults["*"] = every_second(status(503))
    server.faults[TOKEN] = times(2, status(503))
    for _ in range(10):
        assert client.get(MAC, within()) == Value(PRIMARY)


def pauses(log: pytest.LogCaptureFixture) -> list[float]:
    """How long the client waited before each further try, in seconds, by its log."""
    found = [re.search(r"next try in ([\d.]+) s", message) for message in log.messages]
    return [float(match[1]) for match in found if match]


def test_retry_after_delays_by_its_seconds(
    server: ImdsServer, client: ImdsClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.faults[MAC] = times(1, status(429, Retry_After="1"))
    started = time.monotonic()
    assert client.get(MAC, within()) == Value(PRIMARY)
    assert time.monotonic() - started >= 1
    (pause,) = pauses(caplog)
    assert pause <= 1


def test_retry_after_delays_until_its_date(
    server: ImdsServer, client: ImdsClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    until = math.ceil(time.time() + 1.3)  # a date has whole seconds
    date = email.utils.formatdate(until, usegmt=True)
    server.faults[MAC] = times(1, status(503, Retry_After=date))
    assert client.get(MAC, within()) == Value(PRIMARY)
    assert time.time() >= until
    (pause,) = pauses(caplog)
    assert pause <= 2.3


def test_a_retry_after_beyond_the_deadline_ends_at_once(
    server: ImdsServer, client: ImdsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: Deadline, seconds: float) -> None:
        assert seconds == 0, "it waited"

    monkeypatch.setattr(Deadline, "sleep", sleep)
    server.faults[MAC] = status(429, Retry_After="5")
    assert reason(client.get(MAC, within(4))) == "HTTP 429; IMDS asks to wait 5 s"
    # IMDS requested a pause, not other keys.
    assert "asks to wait" in reason(client.get(META + "other", within(4)))
    assert len(server.paths()) == 1


@pytest.mark.parametrize("value", ["never", "-3", "Thu, 99 Foo 2026", "1e9"])
def test_an_unreadable_retry_after_is_ignored(
    server: ImdsServer, client: ImdsClient, value: str
) -> None:
    server.faults[MAC] = times(1, status(503, Retry_After=value))
    assert client.get(MAC, within()) == Value(PRIMARY)


@pytest.mark.parametrize("code", [400, 204, 206, 418])
def test_other_statuses_are_unknown_and_not_retried(
    server: ImdsServer, client: ImdsClient, code: int
) -> None:
    server.faults[MAC] = status(code)
    assert reason(client.get(MAC, within())) == f"HTTP {code}"
    assert len(server.paths()) == 1


def test_a_reset_is_retried_on_a_new_connection(server: ImdsServer, client: ImdsClient) -> None:
    server.faults[MAC] = times(1, reset)
    assert client.get(MAC, within()) == Value(PRIMARY)
    server.faults[MAC] = reset
    assert "reset by peer" in reason(client.get(MAC, within()))


def test_a_connection_that_the_server_closed_while_idle_is_replaced(
    server: ImdsServer, client: ImdsClient
) -> None:
    server.faults[MAC] = times(1, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
    assert client.get(MAC, within()) == Value("x")
    assert client.get(MAC, within()) == Value(PRIMARY)


# Bounds in time


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "fault",
    [
        hang,
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"),
        drip(b"HTTP/1.1 200 OK\r\n", b"x"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["hang", "body", "headers", "header line", "continue", "chunks"],
)
def test_the_deadline_bounds_the_whole_answer(
    server: ImdsServer, client: ImdsClient, fault: object
) -> None:
    client.get(META + "first", within())
    server.faults[MAC] = fault  # type: ignore[assignment]
    started = time.monotonic()
    assert told_bound(reason(client.get(MAC, within(1.2)))) <= 0.4  # a third is one key's
    assert time.monotonic() - started < HANGS


def test_the_circuit_opens_after_failures_in_a_row(server: ImdsServer, client: ImdsClient) -> None:
    client.get(MAC, within())
    server.faults["*"] = hang
    deadline = within(1.5)
    for _ in range(3):  # a third each: the steps after reading still have time
        third = deadline.remaining() / 3
        assert told_bound(reason(client.get(MAC, deadline))) <= third + 0.001
    asked = len(server.requests)
    assert "not asked" in reason(client.get(MAC, within()))
    assert len(server.requests) == asked
    server.faults.clear()
    client.new_pass()
    assert client.get(MAC, within()) == Value(PRIMARY)


def test_the_circuit_stays_closed_while_some_keys_answer(
    server: ImdsServer, client: ImdsClient
) -> None:
    server.faults[MAC] = reset
    for _ in range(4):
        assert isinstance(client.get(MAC, within()), Unknown)
        assert client.get(META + "nothing", within()) == Absent()


def test_the_budget_grows_with_the_number_of_enis(server: ImdsServer) -> None:
    """A first pass over 80 ENIs needs some 800 requests: the listing and nine keys of each."""
    with ImdsClient(server.candidates, budget=3) as client:
        client.expect(80)
        assert all(client.get(MAC, within(60)) == Value(PRIMARY) for _ in range(10 * 80 + 2))
        client.new_pass()
        client.expect(1)  # never less than it was
        assert client.get(MAC, within()) == Value(PRIMARY)


def test_the_budget_limits_the_requests(server: ImdsServer) -> None:
    with ImdsClient(server.candidates, budget=3) as client:
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert reason(client.get(MAC, within())) == "not asked: the request budget of 3 is used up"
        assert len(server.requests) == 3
        client.new_pass()
        assert client.get(MAC, within()) == Value(PRIMARY)


def test_an_expired_deadline_is_unknown_without_a_request(
    server: ImdsServer, client: ImdsClient
) -> None:
    client.get(MAC, within())
    deadline = within(0)
    assert isinstance(client.get(MAC, deadline), Unknown)
    assert len(server.requests) == 2


class Interrupting:
    """As a netlink socket that reports the removed link."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def fileno(self) -> int:
        return self._reader

    def check(self) -> None:
        raise LinkGone("the link is gone", subject="ens6")

    def raise_it(self) -> None:
        os.write(self._writer, b"x")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", [hang, drip(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n")])
def test_an_interruption_ends_a_read_at_once(
    server: ImdsServer, client: ImdsClient, fault: object
) -> None:
    client.get(META + "first", within())
    server.asked.clear()
    server.faults[MAC] = fault  # type: ignore[assignment]
    interruption = Interrupting()

    def interrupt() -> None:
        server.asked.wait(HANGS)
        interruption.raise_it()

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    with pytest.raises(LinkGone):
        client.get(MAC, within(300).watching(interruption))
    assert time.monotonic() - started < HANGS
    thread.join()
    interruption.close()
    server.faults.clear()
    assert client.get(MAC, within()) == Value(PRIMARY)


# Answers that are refused


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: ImdsServer, client: ImdsClient, code: int) -> None:
    with running() as target:
        location = f"http://127.0.0.1:{target.port}/{MAC}"
        server.faults[MAC] = status(code, "x" * 100_000, Location=location)
        assert reason(client.get(MAC, within())) == f"HTTP {code}, a redirect, is not followed"
        server.faults[MAC] = status(code, Location=location)
        assert reason(client.get(MAC, within())) == f"HTTP {code}, a redirect, is not followed"
        assert target.requests == []
    assert len(server.paths()) == 2


def test_proxies_of_the_environment_are_ignored(
    server: ImdsServer, client: ImdsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert client.get(MAC, within()) == Value(PRIMARY)
        assert proxy.connections == 0


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (OK + b"Content-Length: 65537\r\n\r\n" + b"x" * 65537, "longer than 65536"),
        (OK + b"Content-Length: 99999999999999999999999\r\n\r\n", "longer than 65536"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n11170\r\n" + b"x" * 70000 + b"\r\n0\r\n\r\n",
            "longer than 65536",
        ),
        (OK + b"Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\nxx", "compressed"),
        (OK + b"Content-Length: some\r\n\r\nxx", "without its length"),
        (OK + b"\r\n10.0.0.1\n", "without its length"),
        (OK + b"Content-Length: 20\r\n\r\n10.0.0.1\n", "ended after 9 of 20|IncompleteRead"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n14\r\n10.0.0.1\n", "IncompleteRead"),
        (b"\0\1\2\3\r\n\r\n", ""),
        (b"", "closed|disconnected|no response|without response"),
        (OK + b"Content-Length: 2\r\n\r\n\xc3\xa4", "not ASCII"),
        (OK + b"Content-Length: 2\r\n\r\n1\0", "control characters"),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else "",
)
def test_unusable_answers_are_unknown(
    server: ImdsServer, client: ImdsClient, data: bytes, why: str
) -> None:
    client.get(META + "first", within())
    server.faults[MAC] = raw(data)
    assert re.search(why, reason(client.get(MAC, within())))
    del server.faults[MAC]
    assert client.get(MAC, within()) == Value(PRIMARY)


def test_a_chunked_answer_is_read(server: ImdsServer, client: ImdsClient) -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    server.faults[MAC] = raw(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert client.get(MAC, within()) == Value("abcde")


def test_cookies_are_not_kept(server: ImdsServer, client: ImdsClient) -> None:
    seen: list[str | None] = []

    def fault(handler: Handler) -> bool:
        seen.append(handler.headers.get("Cookie"))
        handler.answer(200, "x", Set_Cookie="a=b")
        return True

    server.faults[MAC] = fault
    client.get(MAC, within())
    client.get(MAC, within())
    assert seen == [None, None]
