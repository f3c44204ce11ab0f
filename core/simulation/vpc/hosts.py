# SPDX-License-Identifier: Apache-2.0
"""The simple hosts around the guest: peers in a subnet, and one outside behind the router."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_network

from ec2net.core.model.identity import Mac
from ec2net.core.simulation.vpc import mapping
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.source_check import Network
from ec2net.core.simulation.vpc.subnet import GATEWAY_LINK_LOCAL, Subnet

OUTSIDE_LINK = "outside"
_ROUTER_IPV4 = IPv4Interface("198.51.100.1/24")
_ROUTER_IPV6 = IPv6Interface("2001:db8:ffff::1/64")
_ROUTER_MAC = Mac.parse("06:ec:02:fd:00:01")
_OUTSIDE_MAC = Mac.parse("06:ec:02:fd:00:07")
_OUTSIDE_IPV4 = IPv4Interface("198.51.100.7/24")
_OUTSIDE_IPV6 = IPv6Interface("2001:db8:ffff::7/64")


@dataclass(frozen=True, slots=True)
class Host:
    """A host that is configured once and not changed afterwards."""

    namespace: Namespace
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None

    def address(self, version: int) -> IPv4Address | IPv6Address | None:
        return self.ipv4 if version == 4 else self.ipv6

    def holds(self) -> tuple[Network, ...]:
        return tuple(ip_network(a) for a in (self.ipv4, self.ipv6) if a is not None)


def join_outside(router: Namespace, outside: Namespace) -> Host:
    """Make the host behind the router and the link to it."""
    mtu = mapping.MTU
    router.ip(
        [
            (
                f"link add name {OUTSIDE_LINK} address {_ROUTER_MAC} mtu {mtu} type veth"
                f" peer name eth0 netns {outside.name} address {_OUTSIDE_MAC} mtu {mtu}"
            ),
            f"addr add {_ROUTER_IPV4} dev {OUTSIDE_LINK}",
            f"addr add {_ROUTER_IPV6} dev {OUTSIDE_LINK} nodad",
            f"link set {OUTSIDE_LINK} up",
            *_permanent(OUTSIDE_LINK, _OUTSIDE_MAC, _OUTSIDE_IPV4, _OUTSIDE_IPV6),
        ]
    )
    outside.ip(
        [
            "link set lo up",
            f"addr add {_OUTSIDE_IPV4} dev eth0",
            f"addr add {_OUTSIDE_IPV6} dev eth0 nodad",
            "link set eth0 up",
            *_permanent("eth0", _ROUTER_MAC, _ROUTER_IPV4, _ROUTER_IPV6),
            f"route add default via {_ROUTER_IPV4.ip}",
            f"route add default via {_ROUTER_IPV6.ip}",
        ]
    )
    return Host(outside, _OUTSIDE_IPV4.ip, _OUTSIDE_IPV6.ip)


def _permanent(link: str, mac: Mac, *interfaces: IPv4Interface | IPv6Interface) -> Iterator[str]:
    """Neighbours that need no resolution: the kernel delays a fresh link's IPv6 by up to 1 s."""
    for interface in interfaces:
        yield f"neigh replace {interface.ip} lladdr {mac} dev {link} nud permanent"


def peer_lines(subnet: Subnet, host: Host) -> Iterator[str]:
    """Inside a peer: everything goes through the gateway, its own subnet too.

    A /80 that is delegated to an ENI of the subnet would look on-link otherwise, and the
    bridge can answer solicitations for single addresses only.
    """
    yield "link set lo up"
    yield "link set eth0 up"
    for gateway in (subnet.gateway_ipv4, subnet.gateway_ipv6):
        if gateway is not None:
            yield f"neigh replace {gateway} lladdr {subnet.gateway_mac} dev eth0 nud permanent"
    if host.ipv4 is not None:
        yield f"addr add {host.ipv4}/32 dev eth0"
        yield f"route add {subnet.gateway_ipv4} dev eth0 scope link"
        yield f"route add default via {subnet.gateway_ipv4} dev eth0 src {host.ipv4}"
    if host.ipv6 is not None:
        yield f"addr add {host.ipv6}/128 dev eth0 nodad"
        yield f"route add default via {GATEWAY_LINK_LOCAL} dev eth0"


def primary_lines(eni: Eni, metric: int) -> Iterator[str]:
    """Inside the guest: what a DHCP client and RAs leave behind for the primary ENI."""
    subnet, name = eni.subnet, eni.name
    yield "link set lo up"
    yield f"link set {name} up"
    if subnet.ipv4 is not None and eni.ipv4s:
        address = eni.ipv4s[0]
        yield (f"addr add {address}/{subnet.ipv4.prefixlen} brd + dev {name} noprefixroute")
        yield f"route add {subnet.ipv4} dev {name} proto kernel scope link src {address} metric {metric}"
        yield (
            f"route add default via {subnet.gateway_ipv4} dev {name}"
            f" proto dhcp src {address} metric {metric}"
        )
    if subnet.ipv6 is not None and eni.ipv6s:
        yield f"addr add {eni.ipv6s[0]}/128 dev {name} nodad noprefixroute"
        yield f"route add {subnet.ipv6} dev {name} proto ra metric {metric}"
        yield f"route add default via {GATEWAY_LINK_LOCAL} dev {name} proto ra metric {metric}"


def gateway_mac(number: int) -> Mac:
    return Mac.parse(f"06:ec:02:fe:{number >> 8:02x}:{number & 255:02x}")


def peer_mac(number: int) -> Mac:
    return Mac.parse(f"06:ec:02:ff:{number >> 8:02x}:{number & 255:02x}")


def eni_mac(number: int) -> Mac:
    return Mac.parse(f"06:ec:02:00:{number >> 8:02x}:{number & 255:02x}")
