# SPDX-License-Identifier: Apache-2.0
"""Facts of EC2's largest hosts, with addresses as EC2 assigns them: random within the subnet.

Adjacent addresses collapse into few sources and hide the cost of a host.
"""

import random
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ec2net.core.model.facts import Absent, EniFacts, Facts, ImdsFacts, Link, Value
from ec2net.core.model.identity import EniId, Mac

SEED = 11


@dataclass(frozen=True, slots=True)
class Each:
    """How many addresses and delegated prefixes each ENI has."""

    ipv4: int
    ipv6: int = 0
    ipv4_prefixes: int = 0
    ipv6_prefixes: int = 0


def large_host(enis: int, each: Each, *, seed: int = SEED) -> Facts:
    """A host with two ENIs on each network card and a subnet for each ENI."""
    chance = random.Random(seed)
    facts = tuple(_eni(n, each, chance) for n in range(enis))
    macs = tuple(eni.mac for eni in facts)
    links = tuple(
        Link(
            index=n + 2,
            name=f"ens{n + 5}",
            mac=mac,
            driver="ena",
            kind="",
            mtu=9001,
            up=True,
            group=0,
        )
        for n, mac in enumerate(macs)
    )
    return Facts(ImdsFacts(Value(macs[0]), Value(macs), facts), links)


def _eni(n: int, each: Each, chance: random.Random) -> EniFacts:
    net4 = IPv4Network((int(IPv4Address("10.0.0.0")) + (n << 16), 16))
    net6 = IPv6Network((int(IPv6Address("2600:1f16:1::")) + (n << 64), 64))
    ipv4 = tuple(net4[host] for host in chance.sample(range(4, 32000), each.ipv4))
    ipv6 = tuple(net6[chance.getrandbits(63)] for _ in range(each.ipv6))
    slash28 = chance.sample(range(2000), each.ipv4_prefixes)
    slash80 = chance.sample(range(1 << 15, 1 << 16), each.ipv6_prefixes)
    return EniFacts(
        mac=Mac(f"06:00:00:00:{n >> 8:02x}:{n & 255:02x}"),
        interface_id=Value(EniId(f"eni-{n:017x}")),
        device_number=Value(n % 2),
        network_card=Value(n // 2),
        local_ipv4s=Value(ipv4) if ipv4 else Absent(),
        ipv6s=Value(ipv6) if ipv6 else Absent(),
        ipv4_prefixes=Value(tuple(IPv4Network((net4[32768 + 16 * x], 28)) for x in slash28))
        if slash28
        else Absent(),
        ipv6_prefixes=Value(tuple(IPv6Network((int(net6[0]) + (x << 48), 80)) for x in slash80))
        if slash80
        else Absent(),
        subnet_ipv4=Value(net4) if ipv4 or slash28 else Absent(),
        subnet_ipv6=Value((net6,)) if ipv6 or slash80 else Absent(),
    )
