# SPDX-License-Identifier: Apache-2.0
"""A subnet: its CIDRs, its gateways, and who gets which address of it."""

import random
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from typing import TypeVar

from ec2net.core.model.errors import UsageError
from ec2net.core.model.identity import Mac

GATEWAY_LINK_LOCAL = IPv6Address("fe80:ec2::1")
"""EC2's IPv6 router, the same in every subnet (the source of its RAs)."""

_FIRST_HOST = 4
"""AWS keeps the first four addresses and the last of a subnet ("Subnet sizing", VPC guide)."""

_IPV4_PREFIX_LENGTH = 28
_IPV6_PREFIX_LENGTH = 80

_PICKS = 100

Address = TypeVar("Address", IPv4Address, IPv6Address)


@dataclass(eq=False)
class Subnet:
    """One subnet of the simulated VPC: a bridge in the VPC's namespace.

    Addresses are handed out upwards from the fifth, delegated IPv4 prefixes downwards from
    the end, delegated IPv6 prefixes upwards from the second /80. With ``chance`` they are picked
    at random, as EC2 does: addresses from the lower half of the subnet, prefixes from the upper, and
    from the other half when theirs is used up. None is handed out twice.
    """

    subnet_id: str
    bridge: str
    gateway_mac: Mac
    ipv4: IPv4Network | None
    ipv6: IPv6Network | None
    chance: random.Random | None = None
    _singles: set[int] = field(default_factory=set, init=False, repr=False)
    _blocks: list[range] = field(default_factory=list, init=False, repr=False)
    """The numbers of addresses and of prefixes that were picked, of both IP versions."""
    _next_ipv4: int = field(default=_FIRST_HOST, init=False, repr=False)
    _next_ipv6: int = field(default=_FIRST_HOST, init=False, repr=False)
    _next_ipv4_prefix: int = field(default=2, init=False, repr=False)
    _next_ipv6_prefix: int = field(default=1, init=False, repr=False)

    @property
    def gateway_ipv4(self) -> IPv4Address | None:
        """Subnet base + 1, as in every VPC."""
        return None if self.ipv4 is None else self.ipv4[1]

    @property
    def gateway_ipv6(self) -> IPv6Address | None:
        return None if self.ipv6 is None else GATEWAY_LINK_LOCAL

    def allot_ipv4(self) -> IPv4Address:
        """The next free IPv4 address; ``UsageError`` when there is none."""
        network = self._require_ipv4()
        if self.chance is not None:
            low, high = _FIRST_HOST, network.num_addresses - 1
            return self._pick(network.network_address, low, high // 2 + 1, range(low, high))
        address = network.network_address + self._next_ipv4
        if int(address) >= self._lowest_ipv4_prefix(network):
            raise UsageError("no IPv4 address is left", subject=self.subnet_id)
        self._next_ipv4 += 1
        return address

    def allot_ipv6(self) -> IPv6Address:
        """The next free IPv6 address."""
        network = self._require_ipv6()
        if self.chance is not None:
            return self._pick(network.network_address, _FIRST_HOST, network.num_addresses // 2)
        address = network.network_address + self._next_ipv6
        self._next_ipv6 += 1
        return address

    def allot_ipv4_prefix(self) -> IPv4Network:
        """The next free /28; ``UsageError`` when there is none."""
        network = self._require_ipv4()
        size = 1 << (32 - _IPV4_PREFIX_LENGTH)
        if self.chance is not None:
            count = network.num_addresses // size
            base, blocks = network.network_address, range(1, count - 1)
            first = self._pick(base, count // 2, count - 1, blocks, size)
            return IPv4Network((first, _IPV4_PREFIX_LENGTH))
        start = network.num_addresses - self._next_ipv4_prefix * size
        if start < self._next_ipv4:
            raise UsageError("no IPv4 prefix is left", subject=self.subnet_id)
        self._next_ipv4_prefix += 1
        return IPv4Network((network.network_address + start, _IPV4_PREFIX_LENGTH))

    def allot_ipv6_prefix(self) -> IPv6Network:
        """The next free /80; ``UsageError`` when there is none."""
        network = self._require_ipv6()
        if self.chance is not None:
            size = 1 << (128 - _IPV6_PREFIX_LENGTH)
            count = network.num_addresses // size
            first = self._pick(network.network_address, count // 2, count, size=size)
            return IPv6Network((first, _IPV6_PREFIX_LENGTH))
        start = self._next_ipv6_prefix << (128 - _IPV6_PREFIX_LENGTH)
        if start >= network.num_addresses:
            raise UsageError("no IPv6 prefix is left", subject=self.subnet_id)
        self._next_ipv6_prefix += 1
        return IPv6Network((network.network_address + start, _IPV6_PREFIX_LENGTH))

    def _pick(
        self, base: Address, low: int, high: int, others: range = range(0), size: int = 1
    ) -> Address:
        """A free one of the blocks of ``size`` from number ``low`` on, before ``high``.

        After a hundred picks without one: the first free one of ``others``; else ``UsageError``.
        """
        assert self.chance is not None
        picks = (self.chance.randrange(low, high) for _ in range(_PICKS if low < high else 0))
        for number in chain(picks, others):
            first = int(base) + size * number
            if self._take(range(first, first + size)):
                return base + size * number
        what = f"IPv{base.version} {'address' if size == 1 else 'prefix'}"
        raise UsageError(f"no {what} is left", subject=self.subnet_id)

    def _take(self, block: range) -> bool:
        """Whether nothing of ``block`` was taken before."""
        if any(one.start < block.stop and block.start < one.stop for one in self._blocks):
            return False
        if len(block) == 1:
            free = block.start not in self._singles
            self._singles.add(block.start)
        elif free := not any(number in block for number in self._singles):
            self._blocks.append(block)
        return free

    def _lowest_ipv4_prefix(self, network: IPv4Network) -> int:
        """The lowest address (as a number) that a /28, or the subnet's end, has taken."""
        size = 1 << (32 - _IPV4_PREFIX_LENGTH)
        taken = self._next_ipv4_prefix - 1
        end = int(network.broadcast_address)
        return end if taken < 2 else end + 1 - taken * size

    def _require_ipv4(self) -> IPv4Network:
        if self.ipv4 is None:
            raise UsageError("the subnet has no IPv4", subject=self.subnet_id)
        return self.ipv4

    def _require_ipv6(self) -> IPv6Network:
        if self.ipv6 is None:
            raise UsageError("the subnet has no IPv6", subject=self.subnet_id)
        return self.ipv6
