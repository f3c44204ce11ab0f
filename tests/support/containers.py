# SPDX-License-Identifier: Apache-2.0
"""The objects that Docker creates on a host: a bridge with a container, and published ports."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from instance import CHECK_SECONDS

from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

CONTAINER = "172.17.0.2"

PUBLISHED = 8080
"""The port of the host that leads to the container's service."""

_PUBLISH = f"""
table ip docker {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        fib daddr type local tcp dport {PUBLISHED} dnat to {CONTAINER}:{echo.PORT}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
    }}
}}
"""


@contextmanager
def docker0(vpc: SimulatedVpc) -> Iterator[str]:
    """A bridge like Docker's with one container that answers; gives the container's address."""
    container = vpc.namespace("container")
    vpc.guest.ip(
        [
            "link add docker0 type bridge",
            "addr add 172.17.0.1/16 dev docker0",
            "link set docker0 up",
            f"link add veth0 type veth peer name eth0 netns {container.name}",
            "link set veth0 master docker0 up",
        ]
    )
    container.ip(
        [
            "link set lo up",
            f"addr add {CONTAINER}/16 dev eth0",
            "link set eth0 up",
            "route add default via 172.17.0.1",
        ]
    )
    _until_up(vpc.guest, "docker0")
    with closing(EchoService()) as service:
        service.listen(container)
        yield CONTAINER


@contextmanager
def routed_container(vpc: SimulatedVpc) -> Iterator[Namespace]:
    """A container behind the bridge ``box``; it answers on each address that :func:`give` gives it.

    Without the bridge, the host's link would be a veth, which the tests' configuration takes for an
    ENI."""
    made, guest = vpc.namespace("box"), vpc.guest
    guest.sysctl({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
    guest.ip(
        [
            "link add box type bridge",
            f"link add box0 type veth peer name eth0 netns {made.name}",
            "link set box0 master box up",
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
    _until_up(guest, "box")
    with closing(EchoService()) as service:
        service.listen(made)
        yield made
    guest.ip(["link del box0", "link del box"])
    guest.sysctl({"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"})


def _until_up(guest: Namespace, bridge: str) -> None:
    """A bridge forwards once the kernel has seen a frame from the other end of its port."""
    deadline = Deadline(60, bridge)
    while "state UP" not in guest.run(["ip", "link", "show", bridge]).stdout:
        deadline.check()


def give(vpc: SimulatedVpc, container: Namespace, *addresses: IPv4Address | IPv6Address) -> None:
    """The container has these addresses, and the host routes them to it."""
    for address in addresses:
        container.ip([f"addr add {address} dev eth0{' nodad' if address.version == 6 else ''}"])
        vpc.guest.ip([f"route add {address} dev box"], version=address.version)


@contextmanager
def source_check_off(vpc: SimulatedVpc, eni: Eni, *networks: str) -> Iterator[None]:
    """The VPC takes packets of these IPv4 networks from the ENI, and routes the networks to it."""
    away = [ip_network(one) for one in networks]
    vpc.source_check.change(eni.port, gained=away)
    way = f"via {eni.ipv4s[0]} dev {eni.subnet.bridge} onlink"
    vpc.router.ip([f"route add {network} {way}" for network in away])
    try:
        yield
    finally:
        vpc.router.ip([f"route del {network}" for network in away])
        vpc.source_check.change(eni.port, lost=away)


def seen_sources(client: Namespace, *attempts: Attempt) -> list[str]:
    """The source that the far end saw; empty if the connection failed."""
    found = connect_all(client, attempts, CHECK_SECONDS, patient=True)
    return [str(one.seen) if isinstance(one, Answer) else "" for one in found]


def publish(guest: Namespace) -> None:
    """Publish a port as ``docker run -p``: forwarding, DNAT to the container, and masquerading."""
    guest.sysctl({"net/ipv4/ip_forward": "1"})
    guest.nft(_PUBLISH)


def inside(vpc: SimulatedVpc) -> Namespace:
    """The container of :func:`docker0`."""
    return Namespace(f"{vpc.prefix}container")


def who_answers(
    client: Namespace, hosts: Iterable[object], port: int, timeout: float = CHECK_SECONDS
) -> list[str]:
    """The address that the far end of each connection reports; empty if the connection failed."""
    attempts = [Attempt(None, ip_address(str(host)), port) for host in hosts]
    found = connect_all(client, attempts, timeout, patient=True)
    return [str(answer.local) if isinstance(answer, Answer) else "" for answer in found]
