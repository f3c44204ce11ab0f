# SPDX-License-Identifier: Apache-2.0
"""A CNI plugin on the guest, as the AWS VPC CNI is one: its ENIs, its pods, its routing."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from ipaddress import IPv4Address, ip_address, ip_network

from kernel_state import PROTOCOL, kernel_state

from ec2net.core.simulation.vpc.connections import Answer
from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

TO_POD, FROM_POD = 512, 1536
"""Priorities of its rules (amazon-vpc-cni-k8s, pkg/networkutils)."""


def table(eni: Eni) -> int:
    """The device number of an ENI on card 0."""
    return eni.device + 1


def set_up(vpc: SimulatedVpc, eni: Eni) -> None:
    """An ENI that it attached: up, with its first address, nothing in main (setupENINetwork).

    A router advertisement would put the IPv6 subnet into main (docs/containers.md).
    """
    vpc.guest.sysctl({f"net/ipv6/conf/{eni.name}/accept_ra": "0"})
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
    """The default route of the pods on a secondary ENI."""
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


def three_pods(
    stack: ExitStack, vpc: SimulatedVpc, main: Eni, eni: Eni
) -> dict[IPv4Address, Namespace]:
    """Pods by their addresses: one of the primary, one of another ENI, and one of its delegated
    prefix."""
    return {
        address: stack.enter_context(pod(vpc, address, on, name))
        for address, on, name in (
            (main.ipv4s[1], None, "one"),
            (eni.ipv4s[2], eni, "two"),
            (eni.ipv4_prefixes[0][7], eni, "three"),
        )
    }


def dead(vpc: SimulatedVpc, pods: Mapping[IPv4Address, Namespace]) -> list[str]:
    """Pods that do not reach the outside under their own address, or are not reached."""
    found, outside = [], vpc.outside
    for address, inside in pods.items():
        out = vpc.connect(inside, address, str(outside.ipv4), patient=True)
        if not isinstance(out, Answer) or out.seen != address:
            found.append(f"from {address}: {out}")
        back = vpc.connect(outside.namespace, outside.ipv4, address, patient=True)
        if not isinstance(back, Answer):
            found.append(f"to {address}: {back}")
    return found


def locals_of(guest: Namespace) -> list[str]:
    """Destinations that the host's local table delivers to the host."""
    found = []
    for version in "46":
        command = ["ip", "-j", f"-{version}", "route", "show", "table", "local"]
        found += [route["dst"] for route in json.loads(guest.run(command).stdout)]
    return found


def taken(guest: Namespace, *pods: object) -> list[str]:
    """Assert that none of these addresses is on the host and that no rule of ec2net is for one."""
    networks = [ip_network(text) for text in locals_of(guest) if text != "default"]
    state = kernel_state(guest)
    rules = [json.loads(line) for version in "46" for line in state[f"rules {version}"]]
    networks += [
        ip_network(f"{rule['src']}/{rule['srclen']}" if "srclen" in rule else rule["src"])
        for rule in rules
        if str(rule.get("protocol")) == PROTOCOL and rule["src"] != "all"
    ]
    addresses = [ip_address(str(pod)) for pod in pods]
    return [f"{a} in {n}" for a in addresses for n in networks if a in n]
