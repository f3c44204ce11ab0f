# SPDX-License-Identifier: Apache-2.0
"""IMDS inside the simulated VPC: both endpoints, the keys of ENIs, and silence."""

import http.client
import socket
from dataclasses import dataclass

import pytest

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds import TOKEN_HEADER, TOKEN_PATH, TTL_HEADER, Propagation
from ec2net.core.simulation.vpc.imds_faults import Hang
from ec2net.core.simulation.vpc.imds_tree import MACS, Tree, find
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]

DUAL = ("10.0.1.0/24", "2001:db8:0:1::/64")
SHORT = 0.15


@dataclass
class GuestClient:
    """An IMDS client on the guest; ``source`` is an address to bind to, if not empty."""

    vpc: SimulatedVpc
    version: int = 4
    source: str = ""
    timeout: float = 30

    def get(self, path: str) -> str:
        return self.vpc.guest.call(lambda: self._get(path))

    def _get(self, path: str) -> str:
        host = "169.254.169.254" if self.version == 4 else "fd00:ec2::254"
        source = (self.source, 0) if self.source else None
        connection = http.client.HTTPConnection(
            host, 80, timeout=self.timeout, source_address=source
        )
        try:
            connection.request("PUT", TOKEN_PATH, headers={TTL_HEADER: "60"})
            token = connection.getresponse().read().decode()
            connection.request("GET", f"/latest/meta-data/{path}", headers={TOKEN_HEADER: token})
            response = connection.getresponse()
            body = response.read().decode()
            return body if response.status == 200 else str(response.status)
        finally:
            connection.close()


def keys_of(vpc: SimulatedVpc, eni: Eni) -> Tree:
    keys = find(vpc.imds.tree(), f"{MACS}/{eni.mac}")
    assert isinstance(keys, dict)
    return keys


@pytest.fixture
def primary(vpc: SimulatedVpc) -> Eni:
    eni = vpc.attach(vpc.add_subnet(*DUAL))
    vpc.configure_primary_base(eni)
    return eni


@pytest.mark.parametrize("version", [4, 6])
def test_both_endpoints_answer(vpc: SimulatedVpc, primary: Eni, version: int) -> None:
    assert GuestClient(vpc, version).get("mac") == str(primary.mac)
    own = primary.ipv4s[0] if version == 4 else primary.ipv6s[0]
    assert {logged.source for logged in vpc.imds.requests} == {own}


def test_an_eni_has_its_keys(vpc: SimulatedVpc, primary: Eni) -> None:
    eni = vpc.attach(
        vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64"),
        ipv4=2,
        ipv6=2,
        ipv4_prefixes=1,
        ipv6_prefixes=1,
    )
    assert keys_of(vpc, eni) == {
        "device-number": "1",
        "interface-id": str(eni.eni_id),
        "ipv4-prefix": "10.0.2.224/28",
        "ipv6-prefix": "2001:db8:0:2:1::/80",
        "ipv6s": "2001:db8:0:2::4\n2001:db8:0:2::5",
        "local-hostname": "ip-10-0-2-4.ec2.internal",
        "local-ipv4s": "10.0.2.4\n10.0.2.5",
        "mac": str(eni.mac),
        "owner-id": "111122223333",
        "security-group-ids": "sg-0ec2000000000000b",
        "security-groups": "default",
        "subnet-id": "subnet-00000000000000002",
        "subnet-ipv4-cidr-block": "10.0.2.0/24",
        "subnet-ipv6-cidr-blocks": "2001:db8:0:2::/64",
        "vpc-id": "vpc-0ec2000000000000c",
        "vpc-ipv4-cidr-block": "10.0.0.0/16",
        "vpc-ipv4-cidr-blocks": "10.0.0.0/16",
        "vpc-ipv6-cidr-blocks": "2001:db8::/56",
    }


def test_an_assignment_shows_and_the_order_stays(vpc: SimulatedVpc, primary: Eni) -> None:
    added = primary.assign_ipv4()
    prefix = primary.assign_ipv4_prefix()
    assert keys_of(vpc, primary)["local-ipv4s"] == f"{primary.ipv4s[0]}\n{added}"
    assert keys_of(vpc, primary)["ipv4-prefix"] == str(prefix)
    primary.unassign_ipv4(added)
    primary.unassign_ipv4_prefix(prefix)
    assert keys_of(vpc, primary)["local-ipv4s"] == str(primary.ipv4s[0])
    assert "ipv4-prefix" not in keys_of(vpc, primary)


def test_an_efa_only_eni_has_no_address_keys(vpc: SimulatedVpc, primary: Eni) -> None:
    keys = keys_of(vpc, vpc.attach(vpc.subnets[0], ipv4=0, ipv6=0))
    assert not {"local-ipv4s", "ipv6s", "local-hostname", "ipv4-prefix"} & set(keys)


def test_an_eni_of_an_ipv6_only_subnet_has_its_keys(vpc: SimulatedVpc) -> None:
    keys = keys_of(vpc, vpc.attach(vpc.add_subnet(None, "2001:db8:0:6::/64")))
    assert [key for key in keys if "ipv4" in key] == []
    assert keys["local-hostname"] == f"{vpc.instance_id}.ec2.internal"


def test_network_cards_are_listed_only_on_instances_with_several() -> None:
    for cards, told in ((1, False), (2, True)):
        with SimulatedVpc(cards=cards) as vpc:
            keys = keys_of(vpc, vpc.attach(vpc.add_subnet("10.0.1.0/24")))
            assert ("network-card" in keys) is told


def test_a_new_eni_becomes_complete(vpc: SimulatedVpc, primary: Eni) -> None:
    eni = vpc.attach(vpc.subnets[0], propagation=Propagation(settled=None))
    client = GuestClient(vpc)
    assert client.get(f"{MACS}/{eni.mac}/device-number") == "0"
    vpc.settle(eni)
    assert client.get(f"{MACS}/{eni.mac}/device-number") == "1"


def test_imds_can_answer_through_one_eni_only(vpc: SimulatedVpc, primary: Eni) -> None:
    second = primary.assign_ipv4()
    vpc.guest.ip([f"addr add {second}/32 dev {primary.name}"])
    eni = vpc.attach(vpc.subnets[0])
    assert GuestClient(vpc, source=str(second)).get("mac") == str(primary.mac)
    with vpc.imds.fault(vpc.imds_only_through(eni)), pytest.raises(TimeoutError):
        GuestClient(vpc, source=str(second), timeout=SHORT).get("mac")
    with vpc.imds.fault(vpc.imds_only_through(primary)):
        assert GuestClient(vpc, source=str(second)).get("mac") == str(primary.mac)


@pytest.mark.parametrize("version", [4, 6])
def test_one_endpoint_can_be_silent(vpc: SimulatedVpc, primary: Eni, version: int) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    dead, alive = GuestClient(vpc, version, timeout=SHORT), GuestClient(vpc, 10 - version)
    vpc.imds.kill_endpoint(family)
    with pytest.raises(ConnectionRefusedError):
        GuestClient(vpc, version).get("mac")
    assert alive.get("mac") == str(primary.mac)
    vpc.imds.revive_endpoint(family)
    vpc.silence_imds(version)
    with pytest.raises(TimeoutError):
        dead.get("mac")
    assert alive.get("mac") == str(primary.mac)
    vpc.unsilence_imds()
    assert GuestClient(vpc, version).get("mac") == str(primary.mac)


def test_closing_the_vpc_ends_requests_that_hang() -> None:
    with SimulatedVpc() as vpc:
        vpc.configure_primary_base(vpc.attach(vpc.add_subnet(*DUAL)))
        vpc.imds.inject(Hang())
        with pytest.raises(TimeoutError):
            GuestClient(vpc, timeout=SHORT).get("mac")
