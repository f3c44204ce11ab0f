# SPDX-License-Identifier: Apache-2.0
"""The objects that Docker creates on a host: a bridge with a container, and published ports."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address

from instance import CHECK_SECONDS

from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.echo import EchoService
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
    # The bridge forwards once the kernel has seen a frame from the other end of its port.
    deadline = Deadline(60, "docker0")
    while "state UP" not in vpc.guest.run(["ip", "link", "show", "docker0"]).stdout:
        deadline.check()
    with closing(EchoService()) as service:
        service.listen(container)
        yield CONTAINER


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
