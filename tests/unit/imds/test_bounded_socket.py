# SPDX-License-Identifier: Apache-2.0
"""IMDS answers in bytes that no server should send: each is a failed answer, within its bounds."""

import errno
import os
import random
import resource
import time
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imds_server import META, PRIMARY, Handler, ImdsServer, raw, running

from ec2net.core.imds import client as client_module
from ec2net.core.imds import session as session_module
from ec2net.core.imds.answer import ConnectFailed, whole_number
from ec2net.core.imds.bounded_socket import ANSWER_LIMIT, BODY_LIMIT, BoundedSocket
from ec2net.core.imds.client import ImdsClient
from ec2net.core.imds.retry import LONGEST_SECONDS, retry_after
from ec2net.core.model.errors import ImdsError
from ec2net.core.model.facts import Absent, Unknown, Value
from ec2net.core.runtime.deadline import Deadline

MAC = META + "mac"
TOKEN = "latest/api/token"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = 64 * 1024 * 1024
"""Bytes after which an answer without an end ends all the same: a test is to end, too."""

SEED = int(os.environ.get("EC2NET_SEED", "14"))
ANSWERS = 300
MEMORY = 2 * 1024 * 1024
"""Bytes that one answer may cost; server and client count together."""


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


@pytest.fixture
def client(server: ImdsServer) -> Iterator[ImdsClient]:
    with ImdsClient(server.candidates) as imds_client:
        imds_client.get(META + "first", within())
        yield imds_client


def within(seconds: float = 20) -> Deadline:
    return Deadline(seconds, "the test")


class Flood:
    """``head``, then ``data`` again and again for as long as the client reads."""

    def __init__(self, head: bytes, data: bytes) -> None:
        self.head, self.data = head, data
        self.sent = 0

    def __call__(self, handler: Handler) -> bool:
        handler.close_connection = True
        handler.wfile.write(self.head)
        while self.sent < ENDLESS:
            handler.wfile.write(self.data)
            self.sent += len(self.data)
        return True


@pytest.mark.parametrize("size", [b"-8", b"-1", b"-0", b"+5", b" 5", b"0x5", b"1_0", b"f" * 40])
def test_an_impossible_chunk_length_is_a_failed_answer(
    server: ImdsServer, client: ImdsClient, size: bytes
) -> None:
    """With -8 http.client raises ValueError, with -1 it reads to the end of the connection."""
    server.faults[MAC] = raw(CHUNKED + size + b"\r\nabcde\r\n0\r\n\r\n")
    reading = client.get(MAC, within())
    assert isinstance(reading, Unknown | Value)
    del server.faults[MAC]
    assert client.get(MAC, within()) == Value(PRIMARY)


@pytest.mark.parametrize(
    ("head", "data"),
    [
        (CHUNKED + b"-1\r\n", b"x" * 65536),
        (CHUNKED + b"ffffffffffff\r\n", b"x" * 65536),
        (CHUNKED, b"1;" + b"x" * 60000 + b"\r\nx\r\n"),
        (CHUNKED, b"0" * 60000),
        (CHUNKED + b"0\r\n", b"Trailer: x\r\n" * 5000),
        (OK, b"X-Header: x\r\n" * 5000),
        (OK, b"X-Header: " + b"x" * 60000 + b"\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
        (b"", b"x" * 65536),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", b"x" * 65536),
    ],
    ids=[
        "chunk of -1",
        "endless chunk",
        "extensions",
        "chunk length",
        "trailers",
        "headers",
        "long headers",
        "continues",
        "status line",
        "behind a 404",
    ],
)
def test_an_endless_answer_is_read_up_to_its_limit(
    server: ImdsServer, client: ImdsClient, head: bytes, data: bytes
) -> None:
    server.faults[MAC] = flood = Flood(head, data)
    tracemalloc.start()
    try:
        assert isinstance(client.get(MAC, within()), Unknown | Absent)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert flood.sent < ENDLESS  # the rest is in the buffers of two sockets
    del server.faults[MAC]
    assert client.get(MAC, within()) == Value(PRIMARY)


@pytest.mark.parametrize("zeros", [0, 19, 24, 200, 3000])
def test_a_length_padded_with_zeros_is_a_number(
    server: ImdsServer, client: ImdsClient, zeros: int
) -> None:
    length = b"Content-Length: " + b"0" * zeros + b"5\r\n\r\n"
    server.faults[MAC] = raw(OK + length + b"abcde")
    assert client.get(MAC, within()) == Value("abcde")


def test_a_length_of_25_digits_is_a_number_padded_or_not() -> None:
    """More digits than 64 bits have: padded, it is a small number, otherwise one above each
    limit."""
    assert whole_number("5".zfill(25), 100) == 5
    assert whole_number("9" * 25, 100) == 100


@given(st.integers(0, 2**70), st.integers(0, 60), st.integers(0, 2**40))
def test_a_number_in_a_header_has_any_number_of_digits(value: int, zeros: int, most: int) -> None:
    assert whole_number("0" * zeros + str(value), most) == min(value, most)


@pytest.mark.parametrize("text", ["", " 5", "-1", "+1", "1.0", "1e3", "0x10", "5, 5", "\xb2", "٣"])
def test_other_text_in_a_header_is_not_a_number(text: str) -> None:
    assert whole_number(text, 100) is None


@given(st.text() | st.from_regex(r"0*[0-9]{1,40}", fullmatch=True))
def test_any_text_of_retry_after_is_a_time_or_absent(text: str) -> None:
    assert retry_after(text) >= 0


def test_retry_after_is_read_as_a_number_and_as_a_date() -> None:
    assert retry_after("0" * 20 + "7") == 7
    assert retry_after("9" * 30) == LONGEST_SECONDS
    assert 50 < retry_after(formatdate(time.time() + 60, usegmt=True)) <= 61


def test_any_bytes_are_an_answer_or_a_failed_one(
    server: ImdsServer, client: ImdsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random answers to requests for keys and for tokens, well-formed but for some bytes."""
    for module in (client_module, session_module):
        monkeypatch.setattr(module, "backoff", lambda attempt: 0.0)
    print(f"EC2NET_SEED={SEED}, {ANSWERS} answers")
    chance = random.Random(SEED)
    outcomes = dict.fromkeys((Value, Absent, Unknown, ImdsError), 0)
    tracemalloc.start()
    try:
        for number in range(ANSWERS):
            data = answer(chance)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for path in (TOKEN, MAC):
                server.faults[path] = raw(data)
            if number % 4:
                del server.faults[TOKEN]
            else:
                server.tokens.clear()  # so that the client opens another one
                del server.faults[MAC]
            client.new_pass()
            try:
                outcomes[type(client.get(MAC, within()))] += 1
            except ImdsError:
                outcomes[ImdsError] += 1
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < MEMORY, data
    finally:
        tracemalloc.stop()
    print(outcomes)
    assert all(outcomes.values()), outcomes
    server.faults.clear()
    client.new_pass()
    assert client.get(MAC, within()) == Value(PRIMARY)


def answer(chance: random.Random) -> bytes:
    """One answer: parts that each may be right, odd or wrong, and then some bytes changed."""
    body = chance.choice(
        [b"", b"06:00:00:00:00:01", b"x" * 1000, b"\0\xff\xe4", b"a\r\n" * 50, b"x" * BODY_LIMIT]
    )
    status = chance.choice(
        [b"200 OK"] * 24
        + [b"404 Not Found", b"403 Forbidden", b"401 No", b"503 Busy", b"302 Found", b"204 None"]
        + [b"100 Continue", b"99999 Much", b"-200 OK", b"2e2 OK", b"", b"\xff\xff\xff OK"]
    )
    version = chance.choice([b"HTTP/1.1"] * 24 + [b"HTTP/1.0", b"HTTP/9.9", b"HTTP", b"ICY", b""])
    length = chance.choice(
        [b"%d" % len(body)] * 8
        + [b"%025d" % len(body), b"-1", b"0", b"99", b"9" * 25, b"9" * 5000, b"5, 5", b"", b"\xb2"]
    )
    headers = [b"Content-Length: " + length]
    if chance.random() < 0.5:
        headers = [
            b"Transfer-Encoding: " + chance.choice([b"chunked"] * 6 + [b"gzip", b"CHUNKED,"])
        ]
        body = chunks(chance, body)
    odd = [
        b"Retry-After: " + chance.choice([b"-1", b"0" * 20, b"Mon, 99 Foo 0 0", b"\xff"]),
        b"Content-Encoding: gzip",
        b"Content-Length: 3",
        b"Location: http://[::1",
        b"Set-Cookie: a=b; Max-Age=\xff",
        b"X: " + b"x" * 66000,
        b"no colon",
        b" folded",
        b"\0: \0",
        b"Connection: close",
        b"X-aws-ec2-metadata-token-ttl-seconds: " + chance.choice([b"0", b"-5", b"9" * 9, b"x"]),
    ]
    headers += chance.sample(odd, chance.choice([0, 0, 0, 1, 2]))
    lines = b"\r\n".join([version + b" " + status, *headers])
    data = bytearray(lines + b"\r\n\r\n" + body)
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        place = chance.randrange(min(len(data), 300))
        data[place : place + chance.choice([0, 1, 1, 4])] = chance.randbytes(
            chance.choice([0, 1, 2])
        )
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)


def chunks(chance: random.Random, body: bytes) -> bytes:
    """``body`` in chunks, one of which may have a wrong length."""
    made = []
    while body:
        size = chance.choice([1, 7, 4096, len(body)])
        part, body = body[:size], body[size:]
        told = b"%x" % len(part)
        if chance.random() < 0.2:
            told = chance.choice([b"-8", b"-1", b"", b"g", b"f" * 30, b"0", b"7;" + b"x" * 70000])
        made.append(told + b"\r\n" + part + b"\r\n")
    return b"".join((*made, chance.choice([b"0\r\n\r\n"] * 3 + [b"", b"0\r\nX: y\r\n\r\n"])))


def test_the_limit_allows_the_longest_body(server: ImdsServer, client: ImdsClient) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 600) for n in range(90))
    body = b"a" * BODY_LIMIT
    head = OK + headers + b"Content-Length: %d\r\n\r\n" % BODY_LIMIT
    assert len(head) + len(body) < ANSWER_LIMIT
    server.faults[MAC] = raw(head + body)
    assert client.get(MAC, within()) == Value(body.decode())


def test_a_socket_that_cannot_be_opened_has_its_reason(server: ImdsServer) -> None:
    """The process has no descriptor left, or IPv6 is off: the candidate failed, and no more."""
    with os.scandir("/proc/self/fd") as entries:
        most = max(int(entry.name) for entry in entries)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    while fillers[-1] <= most:
        fillers.append(os.dup(fillers[0]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1, hard))
    try:
        with pytest.raises(ConnectFailed, match=f"^{os.strerror(errno.EMFILE)}$"):
            BoundedSocket(server.candidates[0], within())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in fillers:
            os.close(descriptor)
