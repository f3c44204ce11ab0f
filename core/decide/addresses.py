# SPDX-License-Identifier: Apache-2.0
"""The addresses and prefixes of an ENI, and whether they lie in its subnets. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network

from ec2net.core.decide.intent import Standing, host_interface
from ec2net.core.model.facts import Absent, EniFacts, Reading, T_co, Unknown, Value
from ec2net.core.model.objects import AnyAddress, AnyInterface, AnyNetwork


class NotReady(Exception):
    """There is no intent for this ENI, for a reason that its outcome gives."""

    def __init__(self, standing: Standing, reason: str) -> None:
        self.standing = standing
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Held:
    """The addresses that EC2 assigned to an ENI, by their use on the host."""

    base: tuple[AnyInterface, ...]
    further: tuple[AnyInterface, ...]
    routed: tuple[AnyNetwork, ...]
    """Single addresses that the host routes to a container, as /32 and /128."""
    prefixes: tuple[AnyNetwork, ...]


def held_addresses(eni: EniFacts, ipv6: bool, routed: tuple[AnyNetwork, ...] = ()) -> Held:
    """``routed``: the networks whose addresses the host must not hold. Raises ``NotReady``."""
    ipv4s = value_of(eni.local_ipv4s) or ()
    ipv6s = (value_of(eni.ipv6s) or ()) if ipv6 else ()
    if not ipv4s and not ipv6s:
        raise NotReady(
            Standing.PENDING,
            f"no address is known: local-ipv4s {why(eni.local_ipv4s)},"
            f" ipv6s {why(eni.ipv6s) if ipv6 else 'not wanted (IPv6 is off)'}",
        )
    ipv4_prefixes = value_of(eni.ipv4_prefixes) or ()
    ipv6_prefixes = (value_of(eni.ipv6_prefixes) or ()) if ipv6 else ()
    subnet_ipv4 = value_of(eni.subnet_ipv4)
    if (ipv4s or ipv4_prefixes) and subnet_ipv4 is None:
        raise NotReady(
            Standing.PENDING, f"subnet-ipv4-cidr-block is not known: {why(eni.subnet_ipv4)}"
        )
    if (ipv6s or ipv6_prefixes) and not isinstance(eni.subnet_ipv6, Value):
        raise NotReady(
            Standing.PENDING, f"subnet-ipv6-cidr-blocks is not known: {why(eni.subnet_ipv6)}"
        )
    prefixes: tuple[AnyNetwork, ...] = (*ipv4_prefixes, *ipv6_prefixes)
    _check_inside((*ipv4s, *ipv6s), prefixes, subnets_of(eni, ipv6))
    if (ipv4s or ipv4_prefixes) and subnet_ipv4 is not None:
        _check_router(ipv4s, ipv4_prefixes, subnet_ipv4)
    return _divided(ipv4s, ipv6s, prefixes, subnet_ipv4, routed)


def _divided(
    ipv4s: tuple[IPv4Address, ...],
    ipv6s: tuple[IPv6Address, ...],
    prefixes: tuple[AnyNetwork, ...],
    subnet_ipv4: IPv4Network | None,
    routed: tuple[AnyNetwork, ...],
) -> Held:
    """The addresses that the host holds, and those that it routes to containers. Raises
    ``NotReady``."""
    assigned: tuple[AnyAddress, ...] = (*ipv4s, *ipv6s)
    away = [one for one in assigned if any(one in network for network in routed)]
    if ipv4s and ipv4s[0] in away:
        raise NotReady(
            Standing.REFUSED,
            f"routed contains {ipv4s[0]}, the ENI's first IPv4 address, which DHCP gives to the host:"
            " leave it out of routed",
        )
    apart = frozenset(away)
    here4 = [address for address in ipv4s if address not in apart]
    here6 = [address for address in ipv6s if address not in apart]
    base: list[AnyInterface] = []
    if here4 and subnet_ipv4 is not None:
        base.append(IPv4Interface((here4[0], subnet_ipv4.prefixlen)))
    base += map(host_interface, here6[:1])
    return Held(
        base=tuple(base),
        further=(*map(host_interface, here4[1:]), *map(host_interface, here6[1:])),
        routed=tuple(host_interface(address).network for address in away),
        prefixes=prefixes,
    )


def _check_inside(
    addresses: Iterable[AnyAddress],
    prefixes: Iterable[AnyNetwork],
    subnets: tuple[AnyNetwork, ...],
) -> None:
    """Everything an ENI holds lies in its subnet; an answer that says otherwise is not applied.

    A wrong 0.0.0.0/0 would take over the whole host's routing. The ENI is refused, and keeps what it
    has.
    """
    for address in addresses:
        if not any(address in subnet for subnet in subnets):
            raise NotReady(Standing.REFUSED, _outside(address, subnets))
    for prefix in prefixes:
        if not any(_within(prefix, subnet) for subnet in subnets):
            raise NotReady(Standing.REFUSED, _outside(prefix, subnets))


def _check_router(
    addresses: tuple[IPv4Address, ...], prefixes: tuple[IPv4Network, ...], subnet: IPv4Network
) -> None:
    """The router is at the subnet's base + 1, so this address must exist and be free."""
    if subnet.num_addresses == 1:
        raise NotReady(
            Standing.REFUSED,
            f"IMDS reports the subnet {subnet}, which is too small: it has no address for a router",
        )
    router = subnet[1]
    if router in addresses:
        raise NotReady(
            Standing.REFUSED,
            f"IMDS lists {router} as its address, but that is the router of {subnet}",
        )
    for prefix in prefixes:
        if router in prefix:
            raise NotReady(
                Standing.REFUSED,
                f"IMDS reports {prefix}, which contains {router}, the address of the router of"
                f" {subnet}",
            )


def _outside(what: AnyAddress | AnyNetwork, subnets: tuple[AnyNetwork, ...]) -> str:
    known = ", ".join(map(str, subnets)) or "none known"
    return f"IMDS reports {what}, which is outside the ENI's subnet ({known})"


def _within(prefix: AnyNetwork, subnet: AnyNetwork) -> bool:
    if isinstance(prefix, IPv4Network) and isinstance(subnet, IPv4Network):
        return prefix.subnet_of(subnet)
    if isinstance(prefix, IPv6Network) and isinstance(subnet, IPv6Network):
        return prefix.subnet_of(subnet)
    return False


def subnets_of(eni: EniFacts, ipv6: bool) -> tuple[AnyNetwork, ...]:
    """The CIDRs of its subnet, of the families that count."""
    subnet_ipv4 = value_of(eni.subnet_ipv4)
    found: tuple[AnyNetwork, ...] = () if subnet_ipv4 is None else (subnet_ipv4,)
    return found + ((value_of(eni.subnet_ipv6) or ()) if ipv6 else ())


def value_of(reading: Reading[T_co]) -> T_co | None:
    """The value, if there is one."""
    return reading.value if isinstance(reading, Value) else None


def why(reading: Reading[object]) -> str:
    """Why there is none, for people."""
    if isinstance(reading, Unknown):
        return reading.reason
    return "absent" if isinstance(reading, Absent) else "known"
