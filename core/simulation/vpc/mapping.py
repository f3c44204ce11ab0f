# SPDX-License-Identifier: Apache-2.0
"""The VPC's mapping of addresses to ENIs, as batches of ``ip`` and ``bridge`` commands.

Permanent neighbours on the subnet's bridge map addresses to ENIs. With ``neigh_suppress`` on every
port, the bridge itself answers ARP and neighbour solicitations, as the mapping service of a VPC does.
Therefore no instance can answer for another ENI's address.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from ec2net.core.model.identity import Mac
from ec2net.core.simulation.vpc.eni import Eni, link_local
from ec2net.core.simulation.vpc.source_check import Network
from ec2net.core.simulation.vpc.subnet import GATEWAY_LINK_LOCAL, Subnet

MTU = 9001
"""Bytes; what EC2's DHCP server announces inside a VPC."""

IMDS_IPV4 = IPv4Address("169.254.169.254")
IMDS_IPV6 = IPv6Address("fd00:ec2::254")
SERVICES = (
    # IMDS, the resolver and the clock, in both families (AWS, "Link-local addresses").
    IMDS_IPV4,
    IPv4Address("169.254.169.253"),
    IPv4Address("169.254.169.123"),
    IMDS_IPV6,
    IPv6Address("fd00:ec2::253"),
    IPv6Address("fd00:ec2::123"),
)


def router_lines() -> Iterator[str]:
    """The router's loopback, with the link-local services on it."""
    yield "link set lo up"
    for service in SERVICES:
        yield f"addr add {service}/{service.max_prefixlen} dev lo{_nodad(service)}"


def bridge_lines(subnet: Subnet) -> Iterator[str]:
    """A subnet: the bridge with its gateway addresses."""
    bridge = subnet.bridge
    # A bridge without an address of its own takes the lowest one of its ports, and when that
    # changes the kernel forgets all neighbours, permanent ones too (neigh_changeaddr).
    yield f"link add {bridge} address {subnet.gateway_mac} type bridge mcast_snooping 0"
    if subnet.ipv4 is not None:
        yield f"addr add {subnet.gateway_ipv4}/{subnet.ipv4.prefixlen} dev {bridge}"
    if subnet.ipv6 is not None:
        yield f"addr add {GATEWAY_LINK_LOCAL}/64 dev {bridge} nodad"
        yield f"addr add {subnet.ipv6[1]}/{subnet.ipv6.prefixlen} dev {bridge} nodad"
        # The kernel answers solicitations for addresses of the asking link only.
        for service in SERVICES:
            if service.version == 6:
                yield f"addr add {service}/128 dev {bridge} nodad"
    yield f"link set {bridge} up"


def port_lines(
    subnet: Subnet, port: str, *, namespace: str, name: str, mac: Mac, mtu: int = MTU
) -> Iterator[str]:
    """A veth pair from a port of the bridge straight into a namespace, down at that end."""
    yield (
        f"link add name {port} mtu {mtu} type veth"
        f" peer name {name} netns {namespace} address {mac} mtu {mtu}"
    )
    yield f"link set {port} addrgenmode none"
    yield f"link set {port} master {subnet.bridge} up"
    yield f"link set {port} type bridge_slave neigh_suppress on learning off"


def forwarding_line(port: str, mac: Mac) -> str:
    """For ``bridge``: frames to the MAC leave through this port and no other."""
    return f"fdb replace {mac} dev {port} master static"


def neighbour_lines(
    subnet: Subnet, mac: Mac, addresses: Iterable[IPv4Address | IPv6Address]
) -> Iterator[str]:
    """Map addresses, and always the MAC's link-local one, to the MAC."""
    for address in (link_local(mac), *addresses):
        yield f"neigh replace {address} lladdr {mac} dev {subnet.bridge} nud permanent"


def gained_lines(eni: Eni, networks: Iterable[Network]) -> Iterator[str]:
    """Map what an ENI holds newly: single addresses as neighbours, prefixes as routes."""
    for network in networks:
        if network.prefixlen == network.max_prefixlen:
            address = network.network_address
            yield (
                f"neigh replace {address} lladdr {eni.mac} dev {eni.subnet.bridge} nud permanent"
            )
        else:
            yield f"route replace {network} via {_next_hop(eni, network)} {_on(eni)}"


def lost_lines(eni: Eni, networks: Iterable[Network]) -> Iterator[str]:
    """Unmap what an ENI holds no longer."""
    for network in networks:
        if network.prefixlen == network.max_prefixlen:
            yield f"neigh del {network.network_address} dev {eni.subnet.bridge}"
        else:
            yield f"route del {network} dev {eni.subnet.bridge}"


def _on(eni: Eni) -> str:
    return f"dev {eni.subnet.bridge} onlink"


def _next_hop(eni: Eni, network: Network) -> IPv4Address | IPv6Address:
    # The link-local address outlives every change of the ENI's IPv6 addresses.
    return eni.ipv4s[0] if network.version == 4 else eni.link_local


def _nodad(address: IPv4Address | IPv6Address) -> str:
    return " nodad" if address.version == 6 else ""
