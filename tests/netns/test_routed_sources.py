# SPDX-License-Identifier: Apache-2.0
"""Containers with an ENI's address (``routed``) and sources that IMDS does not list (``sources``)."""

from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from containers import CONTAINER, docker0, inside
from instance import CHECK_SECONDS, MANY, Instance, primary, subnets

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = pytest.mark.netns

VIP = "192.168.55.5"


@pytest.fixture
def eni(instance: Instance) -> Eni:
    """A secondary in a separate subnet."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first, **MANY)
    return instance.vpc.attach(second, **MANY)


@pytest.fixture
def container(instance: Instance) -> Iterator[Namespace]:
    """Behind a link of the host that is no ENI; it answers on each address that it gets."""
    made = instance.vpc.namespace("box")
    instance.guest.sysctl({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
    instance.guest.ip(
        [
            f"link add box type veth peer name eth0 netns {made.name}",
            "addr add 169.254.1.1/32 dev box",
            "addr add fe80::1/64 dev box nodad",
            "link set box up",
        ]
    )
    made.ip(
        [
            "link set lo up",
            "link set eth0 up",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1",
        ]
    )
    made.ip(["route add default via fe80::1 dev eth0"], version=6)
    with closing(EchoService()) as service:
        service.listen(made)
        yield made


def give(instance: Instance, container: Namespace, *addresses: IPv4Address | IPv6Address) -> None:
    """The container has these addresses, and the host routes them to it."""
    for address in addresses:
        container.ip([f"addr add {address} dev eth0{' nodad' if address.version == 6 else ''}"])
        instance.guest.ip([f"route add {address} dev box"], version=address.version)


def destination(instance: Instance, version: int) -> IPv4Address | IPv6Address:
    """A host outside of the VPC."""
    found = instance.vpc.outside.address(version)
    assert found is not None
    return found


def answers(instance: Instance, client: Namespace, *attempts: Attempt) -> list[str]:
    """The source that the far end saw; empty if the connection failed."""
    found = connect_all(client, attempts, CHECK_SECONDS, patient=True)
    return [str(one.seen) if isinstance(one, Answer) else "" for one in found]


def test_a_container_can_have_single_addresses_of_an_eni(
    instance: Instance, eni: Eni, container: Namespace
) -> None:
    instance.ec2net("refresh")
    mine = (eni.ipv4s[-1], eni.ipv6s[-1])
    assert all(str(address) in instance.guest.run(["ip", "addr"]).stdout for address in mine)
    instance.configure(
        f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nrouted = ["{mine[0]}/32", "{mine[1]}"]\n'
    )
    instance.ec2net("refresh")
    assert not any(str(one) in instance.guest.run(["ip", "addr"]).stdout for one in mine)
    give(instance, container, *mine)
    outside = instance.vpc.outside
    out = [Attempt(one, destination(instance, one.version), echo.PORT) for one in mine]
    assert answers(instance, container, *out) == [str(one) for one in mine]
    into = [Attempt(None, one, echo.PORT) for one in mine]
    clients = [str(destination(instance, one.version)) for one in mine]
    assert answers(instance, outside.namespace, *into) == clients
    assert instance.vpc.dropped() == 0
    assert instance.plan()["changes"] == []
    told = instance.ec2net("explain", str(mine[0])).stdout
    assert "intended rules" in told
    (shown,) = [one for one in instance.status().values() if one["mac"] == str(eni.mac)]
    assert shown["intent"]["routed"] == [f"{mine[0]}/32", f"{mine[1]}/128"]
    instance.configure()
    instance.ec2net("refresh")
    assert all(str(address) in instance.guest.run(["ip", "addr"]).stdout for address in mine)


def test_a_container_network_leaves_through_the_configured_eni(
    instance: Instance, eni: Eni
) -> None:
    vpc = instance.vpc
    with docker0(vpc):
        instance.guest.sysctl({"net/ipv4/ip_forward": "1"})
        instance.guest.nft(
            "table ip nat { chain postrouting { type nat hook postrouting priority srcnat;"
            f' ip saddr 172.17.0.0/16 oifname "{eni.name}" snat to {eni.ipv4s[1]}; }}; }}'
        )
        instance.configure(
            f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["172.17.0.0/16"]\n'
        )
        instance.ec2net("refresh")
        to = Attempt(None, destination(instance, 4), echo.PORT)
        assert answers(instance, inside(vpc), to) == [str(eni.ipv4s[1])]
        local = Attempt(None, ip_address(CONTAINER), echo.PORT)
        assert answers(instance, instance.guest, local) == ["172.17.0.1"]
        assert "from 172.17.0.0/16 lookup 10001" in instance.ec2net("explain", CONTAINER).stdout
    assert vpc.dropped() == 0


def test_a_vip_that_imds_does_not_list_leaves_through_its_eni(instance: Instance, eni: Eni) -> None:
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["{VIP}"]\n')
    instance.ec2net("refresh")
    instance.guest.ip([f"addr add {VIP}/32 dev lo"])
    assert instance.way("198.51.100.1", VIP) == eni.name
    instance.ec2net("refresh")
    assert VIP in instance.guest.run(["ip", "addr", "show", "lo"]).stdout
    instance.configure()
    instance.ec2net("refresh")
    assert instance.way("198.51.100.1", VIP) != eni.name


def test_a_wrong_source_is_reported_with_its_remedy(instance: Instance, eni: Eni) -> None:
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["10.0.0.0/8"]\n')
    said = instance.ec2net("plan", status=None)
    assert '"sources" contains 10.0.0.0/8' in said.stdout + said.stderr
    assert "remove it from the setting" in said.stdout + said.stderr
