# SPDX-License-Identifier: Apache-2.0
"""The IMDS double answers as EC2's IMDSv2 does. Over 127.0.0.1, with the standard HTTP client."""

import http.client
import json
import threading
import time
from collections.abc import Iterator

import pytest
from patience import HANGS

from ec2net.core.simulation.vpc.imds import (
    TOKEN_HEADER,
    TOKEN_PATH,
    TTL_HEADER,
    ImdsDouble,
    Propagation,
)
from ec2net.core.simulation.vpc.imds_tree import Tree

MAC = "06:ec:02:00:00:01"
OTHER = "06:ec:02:00:00:02"
ENI = f"/latest/meta-data/network/interfaces/macs/{MAC}"

TREE: Tree = {
    "mac": MAC,
    "instance-id": "i-1",
    "network": {
        "interfaces": {
            "macs": {
                MAC: {
                    "device-number": "0",
                    "local-ipv4s": "10.0.1.4\n10.0.1.5",
                    "ipv4-associations": {"203.0.113.9": "10.0.1.4"},
                },
            }
        }
    },
}


class Client:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=HANGS)
        self.token = ""

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        self.connection.request(method, path, headers=headers or {})
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def get(self, path: str) -> tuple[int, str]:
        if not self.token:
            status, self.token = self.request("PUT", TOKEN_PATH, {TTL_HEADER: "60"})
            assert status == 200
        return self.request("GET", path, {TOKEN_HEADER: self.token})


@pytest.fixture
def double() -> Iterator[ImdsDouble]:
    with ImdsDouble(TREE) as served:
        yield served


@pytest.fixture
def client(double: ImdsDouble) -> Iterator[Client]:
    made = Client(double.serve_loopback())
    yield made
    made.connection.close()


@pytest.mark.parametrize(
    ("ttl", "status"),
    [("1", 200), ("21600", 200), ("0", 400), ("21601", 400), ("-1", 400), ("x", 400), ("", 400)],
)
def test_the_life_of_a_token_is_checked(client: Client, ttl: str, status: int) -> None:
    assert client.request("PUT", TOKEN_PATH, {TTL_HEADER: ttl})[0] == status


def test_a_token_request_needs_put_and_a_life_and_no_proxy(client: Client) -> None:
    assert client.request("PUT", TOKEN_PATH)[0] == 400
    assert client.request("GET", TOKEN_PATH, {TTL_HEADER: "60"})[0] == 405
    forwarded = {TTL_HEADER: "60", "X-Forwarded-For": "192.0.2.1"}
    assert client.request("PUT", TOKEN_PATH, forwarded)[0] == 403


def test_the_answer_has_the_life_of_the_token(client: Client) -> None:
    client.connection.request("PUT", TOKEN_PATH, headers={TTL_HEADER: "77"})
    response = client.connection.getresponse()
    assert response.getheader(TTL_HEADER) == "77"
    assert len(response.read()) == 56


def test_without_a_valid_token_every_request_is_refused(double: ImdsDouble, client: Client) -> None:
    assert client.request("GET", "/latest/meta-data/mac")[0] == 401
    assert client.request("GET", "/latest/meta-data/mac", {TOKEN_HEADER: "made-up"})[0] == 401
    assert client.get("/latest/meta-data/mac") == (200, MAC)
    double.expire_tokens()
    assert client.get("/latest/meta-data/mac")[0] == 401


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", "latest"),
        ("/latest/", "dynamic/\nmeta-data/"),
        ("/latest/meta-data/", "instance-id\nmac\nnetwork/"),
        ("/latest/meta-data", "instance-id\nmac\nnetwork/"),
        ("/2021-07-15/meta-data/mac", MAC),
        ("/latest/dynamic/instance-identity/", "document"),
        ("/latest/meta-data/network/interfaces/macs/", f"{MAC}/"),
        (f"{ENI}/", "device-number\nipv4-associations/\nlocal-ipv4s"),
        (f"{ENI}", "device-number\nipv4-associations/\nlocal-ipv4s"),
        (f"{ENI}/local-ipv4s", "10.0.1.4\n10.0.1.5"),
        (f"{ENI}/ipv4-associations/", "203.0.113.9"),
        (f"{ENI}/ipv4-associations/203.0.113.9", "10.0.1.4"),
    ],
)
def test_keys_are_read(client: Client, path: str, answer: str) -> None:
    assert client.get(path) == (200, answer)


@pytest.mark.parametrize(
    "path",
    [
        "/latest/meta-data/nothing",
        "/latest/meta-data/mac/",
        "/latest/meta-data/mac/below",
        f"{ENI}/ipv6s",
        "/newest/meta-data/mac",
    ],
)
def test_a_missing_key_is_404(client: Client, path: str) -> None:
    status, page = client.get(path)
    assert status == 404
    assert "404 - Not Found" in page


def test_a_connection_is_kept(double: ImdsDouble, client: Client) -> None:
    client.get("/latest/meta-data/mac")
    assert client.connection.sock is not None
    port = client.connection.sock.getsockname()[1]
    for _ in range(3):
        client.get("/latest/meta-data/mac")
    assert client.connection.sock.getsockname()[1] == port


def test_each_request_is_logged(double: ImdsDouble, client: Client) -> None:
    client.get("/latest/meta-data/mac")
    client.get("/latest/meta-data/none")
    assert [(entry.method, entry.path, entry.status) for entry in double.requests] == [
        ("PUT", TOKEN_PATH, 200),
        ("GET", "/latest/meta-data/mac", 200),
        ("GET", "/latest/meta-data/none", 404),
    ]
    assert {str(entry.source) for entry in double.requests} == {"127.0.0.1"}
    assert double.count("meta-data") == 2
    assert double.count(method="PUT") == 1
    assert double.count(status=404) == 1
    assert double.wait_for("mac$", timeout=0)
    assert not double.wait_for("mac$", times=2, timeout=0.01)
    double.clear_log()
    assert double.count() == 0


def test_a_test_can_wait_for_a_request(double: ImdsDouble, client: Client) -> None:
    asking = threading.Thread(target=client.get, args=("/latest/meta-data/mac",))
    asking.start()
    assert double.wait_for("meta-data/mac", timeout=HANGS)
    asking.join(HANGS)


def test_a_recorded_tree_survives_json(double: ImdsDouble) -> None:
    recorded = json.loads(json.dumps(double.tree()))
    assert recorded == TREE
    with ImdsDouble(recorded) as second:
        assert second.tree() == TREE


def test_the_tree_is_a_copy(double: ImdsDouble) -> None:
    double.tree().clear()
    assert double.tree() == TREE


def test_keys_change(double: ImdsDouble, client: Client) -> None:
    double.put("tags/instance/Name", "web")
    assert client.get("/latest/meta-data/tags/instance/") == (200, "Name")
    double.remove("tags/instance/Name")
    assert client.get("/latest/meta-data/tags/instance/")[0] == 404
    assert client.get("/latest/meta-data/tags/")[0] == 404
    double.put_interface(MAC, {"device-number": "3"})
    assert client.get(f"{ENI}/") == (200, "device-number")
    double.remove_interface(MAC)
    assert client.get(f"{ENI}/")[0] == 404
    assert double.tree() == {"mac": MAC, "instance-id": "i-1"}


def test_an_eni_becomes_complete_on_request(double: ImdsDouble, client: Client) -> None:
    delays = Propagation(settled=None, late_keys=("local-ipv4s",), keys=None)
    keys: Tree = {"device-number": "2", "network-card": "1", "local-ipv4s": "10.0.1.9"}
    double.put_interface(OTHER, keys, delays)
    other = ENI.replace(MAC, OTHER)
    assert client.get(f"{other}/") == (200, "device-number\nlocal-ipv4s")
    assert client.get(f"{other}/device-number") == (200, "0")
    assert client.get(f"{other}/network-card")[0] == 404
    assert client.get(f"{other}/local-ipv4s")[0] == 404
    # A change of its keys does not end it.
    double.put_interface(OTHER, {**keys, "local-ipv4s": "10.0.1.9\n10.0.1.10"})
    assert client.get(f"{other}/device-number") == (200, "0")
    double.settle(OTHER)
    assert client.get(f"{other}/") == (200, "device-number\nlocal-ipv4s\nnetwork-card")
    assert client.get(f"{other}/device-number") == (200, "2")
    assert client.get(f"{other}/local-ipv4s") == (200, "10.0.1.9\n10.0.1.10")


def test_each_key_can_be_withheld_separately(double: ImdsDouble, client: Client) -> None:
    keys: Tree = {"device-number": "2", "network-card": "1", "local-ipv4s": "10.0.1.9"}
    withheld = {"network-card": None, "local-ipv4s": None, "device-number": 0.0}
    double.put_interface(OTHER, keys, Propagation(withheld=withheld))
    other = ENI.replace(MAC, OTHER)
    assert client.get(f"{other}/") == (200, "device-number")
    assert client.get(f"{other}/network-card")[0] == 404
    double.settle(OTHER, "network-card")
    assert client.get(f"{other}/") == (200, "device-number\nnetwork-card")
    assert client.get(f"{other}/network-card") == (200, "1")
    double.settle(OTHER)
    assert client.get(f"{other}/local-ipv4s") == (200, "10.0.1.9")


def test_an_eni_can_be_listed_late(double: ImdsDouble, client: Client) -> None:
    began = time.monotonic()
    double.put_interface(OTHER, {"device-number": "2"}, Propagation(listed=0.05))
    macs = "/latest/meta-data/network/interfaces/macs/"
    while OTHER not in client.get(macs)[1]:
        assert time.monotonic() - began < HANGS
    assert time.monotonic() - began >= 0.05


def test_a_client_that_sends_invalid_bytes_is_disconnected(
    double: ImdsDouble, client: Client
) -> None:
    client.connection.connect()
    assert client.connection.sock is not None
    client.connection.sock.sendall(b"nonsense\r\n\r\n")
    assert client.connection.sock.recv(100) == b""
    client.connection.close()
    assert client.get("/latest/meta-data/mac") == (200, MAC)
