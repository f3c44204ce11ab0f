# SPDX-License-Identifier: Apache-2.0
"""A simulated ENI: what it holds, and assigning and unassigning as the EC2 API does."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Protocol, TypeVar

from ec2net.core.model.errors import UsageError
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.simulation.vpc.source_check import Network
from ec2net.core.simulation.vpc.subnet import Subnet

Held = TypeVar("Held", IPv4Address, IPv6Address, IPv4Network, IPv6Network)


class Presence(Enum):
    """Where a fresh ENI shows itself. IMDS and the kernel learn of it independently."""

    LINK_AND_IMDS = "link and IMDS"
    LINK_ONLY = "link only"
    IMDS_ONLY = "IMDS only"


class Detach(Enum):
    """How a link leaves the guest."""

    DELETE = "delete"
    MOVE = "move"
    """Into another namespace, as ECS awsvpc and CNIs do; the ENI stays attached."""


class Fabric(Protocol):
    """The receiver of an ENI's changes."""

    def remap(self, eni: "Eni", gained: Iterable[Network], lost: Iterable[Network]) -> None:
        """Bring mapping, source check and IMDS in line with what the ENI holds now."""


@dataclass(eq=False)
class Eni:
    """An ENI. The first of ``ipv4s`` is the primary private address.

    ``name`` is the link's name in the guest, ``port`` the other end of the veth pair.
    """

    eni_id: EniId
    mac: Mac
    name: str
    port: str
    device: int
    card: int
    subnet: Subnet
    fabric: Fabric = field(repr=False)
    ipv4s: list[IPv4Address] = field(default_factory=list)
    ipv6s: list[IPv6Address] = field(default_factory=list)
    ipv4_prefixes: list[IPv4Network] = field(default_factory=list)
    ipv6_prefixes: list[IPv6Network] = field(default_factory=list)

    @property
    def link_local(self) -> IPv6Address:
        """The link-local address that the kernel makes from the MAC (EUI-64)."""
        return link_local(self.mac)

    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        return (*self.ipv4s, *self.ipv6s)

    def prefixes(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return (*self.ipv4_prefixes, *self.ipv6_prefixes)

    def holds(self) -> tuple[Network, ...]:
        """Every source that the VPC accepts from this ENI (link-local ones aside)."""
        return (*(ip_network(address) for address in self.addresses()), *self.prefixes())

    def samples(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Addresses to try: all single ones, of each prefix the first, a middle and the last."""
        of_prefixes = (
            prefix[index]
            for prefix in self.prefixes()
            for index in (0, prefix.num_addresses // 2, prefix.num_addresses - 1)
        )
        return (*self.addresses(), *of_prefixes)

    def assign_ipv4(self, address: IPv4Address | None = None) -> IPv4Address:
        """Add a secondary private address (the next free one) and return it."""
        chosen = self.subnet.allot_ipv4() if address is None else address
        self.ipv4s.append(chosen)
        self.fabric.remap(self, [ip_network(chosen)], [])
        return chosen

    def unassign_ipv4(self, address: IPv4Address) -> None:
        """Remove a secondary address; the primary cannot be removed, as in EC2."""
        if self.ipv4s and self.ipv4s[0] == address:
            raise UsageError(f"{address} is the primary address", subject=str(self.eni_id))
        self._drop(self.ipv4s, address)

    def assign_ipv6(self, address: IPv6Address | None = None) -> IPv6Address:
        chosen = self.subnet.allot_ipv6() if address is None else address
        self.ipv6s.append(chosen)
        self.fabric.remap(self, [ip_network(chosen)], [])
        return chosen

    def unassign_ipv6(self, address: IPv6Address) -> None:
        self._drop(self.ipv6s, address)

    def assign_ipv4_prefix(self, prefix: IPv4Network | None = None) -> IPv4Network:
        """Delegate a /28 (the next free one) and return it."""
        chosen = self.subnet.allot_ipv4_prefix() if prefix is None else prefix
        self.ipv4_prefixes.append(chosen)
        self.fabric.remap(self, [chosen], [])
        return chosen

    def unassign_ipv4_prefix(self, prefix: IPv4Network) -> None:
        self._drop(self.ipv4_prefixes, prefix)

    def assign_ipv6_prefix(self, prefix: IPv6Network | None = None) -> IPv6Network:
        """Delegate a /80 (the next free one) and return it."""
        chosen = self.subnet.allot_ipv6_prefix() if prefix is None else prefix
        self.ipv6_prefixes.append(chosen)
        self.fabric.remap(self, [chosen], [])
        return chosen

    def unassign_ipv6_prefix(self, prefix: IPv6Network) -> None:
        self._drop(self.ipv6_prefixes, prefix)

    def _drop(self, held: list[Held], item: Held) -> None:
        if item not in held:
            raise UsageError(f"does not hold {item}", subject=str(self.eni_id))
        held.remove(item)
        self.fabric.remap(self, [], [ip_network(item)])


def link_local(mac: Mac) -> IPv6Address:
    """The EUI-64 link-local address of a MAC (RFC 4291, appendix A)."""
    octets = bytearray.fromhex(mac.text.replace(":", ""))
    octets[0] ^= 0x02
    host = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return IPv6Address(b"\xfe\x80" + bytes(6) + host)
