# SPDX-License-Identifier: Apache-2.0
"""Each fault of the simulated IMDS has its effect, on its paths and for its count."""

import http.client
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from patience import HANGS

from ec2net.core.simulation.vpc import imds_faults
from ec2net.core.simulation.vpc.imds import TOKEN_HEADER, TOKEN_PATH, TTL_HEADER, ImdsDouble
from ec2net.core.simulation.vpc.imds_faults import Fault

MAC_PATH = "/latest/meta-data/mac"
MAC = "06:ec:02:00:00:01"
SHORT = 0.1
"""Seconds that a client waits for an answer that never arrives."""


class Session:
    """A client with a separate connection for each request."""

    def __init__(self, url: str) -> None:
        self.address = url.removeprefix("http://")
        self.token = ""

    def request(
        self, method: str, path: str, headers: dict[str, str], timeout: float = HANGS
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def renew(self) -> int:
        response, body = self.request("PUT", TOKEN_PATH, {TTL_HEADER: "60"})
        self.token = body.decode()
        return response.status

    def get(self, path: str = MAC_PATH, timeout: float = HANGS) -> tuple[int, bytes]:
        response, body = self.request("GET", path, {TOKEN_HEADER: self.token}, timeout)
        return response.status, body


@pytest.fixture
def double() -> Iterator[ImdsDouble]:
    with ImdsDouble({"mac": MAC, "instance-id": "i-1"}) as served:
        yield served


@pytest.fixture
def session(double: ImdsDouble) -> Session:
    made = Session(double.serve_loopback())
    assert made.renew() == 200
    return made


@pytest.mark.parametrize("code", [403, 404, 429, 500, 503])
def test_a_status_is_returned(double: ImdsDouble, session: Session, code: int) -> None:
    with double.fault(imds_faults.Status(code)) as fault:
        assert session.get()[0] == code
        assert session.renew() == code
        assert fault.hits == 2
    assert session.renew() == 200
    assert session.get() == (200, MAC.encode())


def test_retry_after_is_returned(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.Status(503, retry_after=2))
    response, _ = session.request("GET", MAC_PATH, {})
    assert response.getheader("Retry-After") == "2"


def test_path_and_method_and_rate_select_requests(double: ImdsDouble, session: Session) -> None:
    double.inject(Fault(imds_faults.Status(503), path="mac$", rate=0.5))
    assert [session.get()[0] for _ in range(6)] == [200, 503] * 3
    assert session.get("/latest/meta-data/instance-id")[0] == 200
    double.repair()
    double.inject(Fault(imds_faults.Status(403), methods=frozenset({"PUT"})))
    assert session.get()[0] == 200
    assert session.renew() == 403


def test_a_count_ends_a_fault(double: ImdsDouble, session: Session) -> None:
    double.inject(Fault(imds_faults.Status(429), count=2))
    assert [session.get()[0] for _ in range(4)] == [429, 429, 200, 200]


def test_the_rate_is_exact(double: ImdsDouble, session: Session) -> None:
    fault = double.inject(Fault(imds_faults.Status(429), rate=0.3))
    statuses = [session.get()[0] for _ in range(20)]
    assert statuses.count(429) == fault.hits == 6


def test_an_endpoint_of_the_other_family_is_spared(double: ImdsDouble, session: Session) -> None:
    double.inject(Fault(imds_faults.Status(503), version=6))
    assert session.get()[0] == 200


def is_unanswered(double: ImdsDouble, session: Session) -> None:
    """The double has the request, and sends nothing."""
    with pytest.raises(TimeoutError):
        session.get(timeout=SHORT)
    assert double.wait_for("mac$", timeout=HANGS)
    assert double.requests[-1].status == 0


def test_a_request_hangs(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.Hang())
    is_unanswered(double, session)


def test_closing_ends_requests_that_hang(session: Session, double: ImdsDouble) -> None:
    double.inject(imds_faults.Hang())
    with socket.create_connection(session.address.split(":"), timeout=HANGS) as client:  # type: ignore[arg-type]
        client.sendall(f"GET {MAC_PATH} HTTP/1.1\r\n\r\n".encode())
        assert double.wait_for("mac", timeout=HANGS)
        double.close()
        assert client.recv(1) == b""


def test_an_answer_drips(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.Drip(bytes_per_second=200, headers_at_once=True))
    began = time.monotonic()
    assert session.get() == (200, MAC.encode())
    assert time.monotonic() - began >= (len(MAC) - 1) / 200
    double.repair()
    double.inject(imds_faults.Drip(bytes_per_second=1))
    with socket.create_connection(session.address.split(":"), timeout=HANGS) as client:  # type: ignore[arg-type]
        client.sendall(f"GET {MAC_PATH} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(100) == b"H"


def test_bodies_are_altered(double: ImdsDouble, session: Session) -> None:
    with double.fault(imds_faults.Garbage()):
        status, body = session.get()
        assert status == 200
        with pytest.raises(UnicodeDecodeError):
            body.decode()
    with double.fault(imds_faults.Garbage(b"10.0.0.999")):
        assert session.get() == (200, b"10.0.0.999")
    with double.fault(imds_faults.Oversized(3 << 20)):
        assert len(session.get()[1]) == 3 << 20
    with double.fault(imds_faults.EmptyBody()):
        assert session.get() == (200, b"")
    with double.fault(imds_faults.Truncated()), pytest.raises(http.client.IncompleteRead) as cut:
        session.get()
    assert cut.value.partial == MAC[: len(MAC) // 2].encode()


def test_a_connection_is_reset(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.Reset())
    with pytest.raises(ConnectionResetError):
        session.get()


def test_a_redirect_is_returned(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.Redirect("http://192.0.2.80/"))
    response, _ = session.request("GET", MAC_PATH, {})
    assert (response.status, response.getheader("Location")) == (302, "http://192.0.2.80/")


def test_a_delay_adds_to_others(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.Delay(0.03))
    double.inject(imds_faults.Status(503))
    double.inject(imds_faults.Delay(0.03))
    began = time.monotonic()
    assert session.get()[0] == 503
    assert time.monotonic() - began >= 0.06


def test_each_request_expires_its_token(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.TokenSpent())
    assert session.get()[0] == 200
    assert session.get()[0] == 401
    session.renew()
    assert session.get()[0] == 200


def test_a_token_expires_before_its_announced_life(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.TokenLife(1.0))
    session.renew()
    assert session.get()[0] == 200
    deadline = time.monotonic() + HANGS
    while session.get()[0] == 200:
        assert time.monotonic() < deadline
    assert session.get()[0] == 401


def test_a_listing_is_wrong(double: ImdsDouble, session: Session) -> None:
    double.inject(Fault(imds_faults.ListingAdds("ghost"), path="meta-data/$"))
    double.inject(Fault(imds_faults.ListingOmits("mac"), path="meta-data/$"))
    assert session.get("/latest/meta-data/") == (200, b"instance-id\nghost")
    assert session.get("/latest/meta-data/ghost")[0] == 404
    assert session.get() == (200, MAC.encode())


def test_a_fault_can_apply_to_some_sources_only(double: ImdsDouble, session: Session) -> None:
    double.inject(imds_faults.OnlyFrom(frozenset({ip_address("127.0.0.1")})))
    assert session.get()[0] == 200
    double.repair()
    double.inject(imds_faults.OnlyFrom(frozenset({ip_address("10.0.1.4")})))
    double.clear_log()
    is_unanswered(double, session)


def test_a_dead_endpoint_works_again(double: ImdsDouble, session: Session) -> None:
    double.kill_endpoint(socket.AF_INET)
    with pytest.raises(ConnectionRefusedError):
        session.get()
    double.revive_endpoint(socket.AF_INET)
    assert session.get()[0] == 200


def test_kept_connections_can_be_dropped(double: ImdsDouble, session: Session) -> None:
    connection = http.client.HTTPConnection(session.address, timeout=HANGS)
    connection.request("GET", "/")
    assert connection.getresponse().read()
    double.drop_connections()
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    connection.close()
