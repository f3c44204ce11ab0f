# SPDX-License-Identifier: Apache-2.0
"""A CNI plugin on the guest, as the AWS VPC CNI is one: its ENIs, its pods, its routing."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address

from ec2net.core.vpc.echo import EchoService
from ec2net.core.vpc.eni import Eni
from ec2net.core.vpc.namespace import Namespace
from ec2net.core.vpc.simulated import SimulatedVpc

TO_POD, FROM_POD = 512, 1536
"""Priorities of its rules (amazon-vpc-cni-k8s, pkg/networkutils)."""


def table(eni: Eni) -> int:
    """Of an ENI on card 0."""
    return eni.device + 1


def set_up(vpc: SimulatedVpc, eni: Eni) -> None:
    """An ENI that it attached: up, with its first address, nothing in main (setupENINetwork)."""
    assert eni.subnet.ipv4 is not None
    length = eni.subnet.ipv4.prefixlen
    vpc.guest.ip(
        [
            f"link set {eni.name} up",
            f"addr add {eni.ipv4s[0]}/{length} dev {eni.name} noprefixroute",
        ]
    )
    add_table(vpc, eni)


def add_table(vpc: SimulatedVpc, eni: Eni) -> None:
    """The way out for the pods on a secondary ENI."""
    router = eni.subnet.gateway_ipv4
    vpc.guest.ip(
        [
            f"route add {router} dev {eni.name} scope link table {table(eni)}",
            f"route add default via {router} dev {eni.name} table {table(eni)}",
        ]
    )


@contextmanager
def pod(
    vpc: SimulatedVpc, address: IPv4Address, eni: Eni | None = None, name: str = "pod"
) -> Iterator[Namespace]:
    """The address in a namespace, a route to it in main; on a secondary ENI, its two rules."""
    namespace = vpc.namespace(name)
    link = f"eni{name}"
    vpc.guest.ip(
        [
            f"link add {link} type veth peer name eth0 netns {namespace.name}",
            f"link set {link} up",
            f"route add {address} dev {link} scope link",
        ]
    )
    if eni is not None:
        vpc.guest.ip(
            [
                f"rule add to {address} lookup main priority {TO_POD}",
                f"rule add from {address} lookup {table(eni)} priority {FROM_POD}",
            ]
        )
    vpc.guest.sysctl({"net/ipv4/ip_forward": "1", f"net/ipv4/conf/{link}/proxy_arp": "1"})
    namespace.ip(
        [
            "link set lo up",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            "route add 169.254.1.1 dev eth0 scope link",
            "route add default via 169.254.1.1",
        ]
    )
    with closing(EchoService()) as echo:
        echo.listen(namespace)
        yield namespace
