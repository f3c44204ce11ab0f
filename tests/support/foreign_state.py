# SPDX-License-Identifier: Apache-2.0
"""Random foreign objects of an EC2 host: rules, routes, addresses, nexthops, names.

The priorities include those of similar tools, and some objects equal ec2net's except for the mark.
No object redirects the host's own traffic or IMDS. The objects are lines for ``ip -batch``, so that
they work in any namespace.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

BRIDGE, TUNNEL = "br0", "wg0"

BANDS = {
    "VPC CNI": (1, 10, 20, 512, 1024, 1535, 1536, 32765),
    "tailscale": (1310, 5210, 5230, 5250, 5270),
    "a user": (100, 9998, 20000, 40000),
    "ec2net": (9999, 10000, 10001, 10002, 10005, 10101),
    "cloud-netconfig": (30003, 30399, 30403),
    "nm-cloud-setup": (30200, 30201, 30350, 30400, 30401),
    "the kernel": (32766, 32767),
}
"""Rule priorities in use on EC2 hosts (docs/routing.md, "Numbers"), and some common ones."""

TABLES = (2, 52, 77, 101, 1000, 10000, 10001, 10002, 10005, 10101, 30201, 30401)
METRICS = ("", " metric 9", " metric 512", " metric 513", " metric 514", " metric 1024")
PROTOCOLS = ("", "", " protocol static", " protocol bird", " protocol dhcp", " protocol 235")
GOTO_TARGET = 20000
"""Tables that only users have: the rule shows whether its target exists."""

_NETWORKS = {4: "192.0.2.0/24", 6: "2001:db8:9::/64"}


def in_the_way(eni: Eni) -> list[str]:
    """Routes with the key, or nearly the key, of a route of ec2net."""
    own, gateway = 10000 + eni.device, eni.subnet.gateway_ipv4
    return [
        f"route add default via {gateway} dev {eni.name} onlink tos 0x10 table {own}",
        f"route add throw default table {own} metric 4000",
        f"route add unreachable default table {own} protocol static",
        f"route add default via {gateway} dev {eni.name} onlink table {own} protocol static",
        f"route add {eni.subnet.ipv4} dev {TUNNEL} table {own} protocol dhcp",
        f"route add default via fe80::9 dev {eni.name} table {own} metric 1024 protocol ra",
        f"route add {eni.subnet.ipv6} dev {TUNNEL} table {own} metric 1024 protocol static",
        f"route add default via {gateway} dev {eni.name} onlink metric {512 + eni.device}",
    ]


@dataclass
class Planter:
    """Puts foreign things into a namespace. ``chance`` decides which."""

    guest: Namespace
    chance: random.Random
    addresses: set[tuple[str, str]] = field(default_factory=set)
    """Foreign ones on ENIs' links: link and address with prefix length."""
    altnames: dict[str, str] = field(default_factory=dict)
    """By link: an alternative name that a user assigned."""
    obstacles: float = 0.3
    """Share of ENIs with a route that conflicts with ec2net's: a failure until the route is
    removed."""
    _number: int = 0

    def plant_host(self) -> None:
        """A bridge and a tunnel with their addresses, and routes and rules that need no ENI."""
        self.guest.ip(
            [
                f"link add {BRIDGE} mtu 1400 group 7 type bridge",
                f"link property add dev {BRIDGE} altname uplink",
                f"link add {TUNNEL} type bridge",
                f"addr add 172.17.0.1/16 dev {BRIDGE}",
                f"addr add 2001:db8:17::1/64 dev {BRIDGE} nodad",
                f"addr add 172.31.0.1 peer 172.31.0.2/32 dev {TUNNEL}",
                f"link set {BRIDGE} up",
                f"link set {TUNNEL} up",
                "nexthop add id 1 via 172.17.0.9 dev br0 protocol bird",
                "nexthop add id 2 dev wg0",
                "nexthop add id 3 group 1/2",
                "nexthop add id 4 blackhole",
                "nexthop add id 5 via 2001:db8:17::9 dev br0",
                "route add 198.19.1.0/24 nhid 3",
                "route add 198.19.2.0/24 nhid 3 table 10001 protocol bird",
                "route add 198.19.3.0/24 nhid 4 table 10002",
                "route add 2001:db8:19::/48 nhid 5 table 10001 metric 1024",
            ]
        )

    def plant_on(self, eni: Eni, others: Sequence[Eni]) -> None:
        """All foreign objects on an ENI, or for an ENI."""
        name = eni.name
        lines = [f"link set {name} up alias of-{name} txqueuelen 500"]
        self.altnames[name] = f"customer-{name}"
        lines.append(f"link property add dev {name} altname customer-{name}")
        for version in (4, 6):
            lines += [self._route(eni, version) for _ in range(8)]
        lines += self._nexthop_lines(eni)
        self.guest.ip(lines)
        if self.chance.random() < self.obstacles:  # unless an equal object exists already
            self.guest.ip_each([self.chance.choice(in_the_way(eni))])
        self._add_addresses(eni, others)
        for version in (4, 6):
            self.guest.ip(dict.fromkeys(self.rules(eni, version)), version=version)

    def imitate(self, eni: Eni) -> None:
        """Copy objects of ec2net with another mark, in addition to ec2net's."""
        own, name, gateway = 10000 + eni.device, eni.name, eni.subnet.gateway_ipv4
        mark = self.chance.choice(("", " protocol static", " protocol 235"))
        verb = self.chance.choice(("append", "prepend"))
        self.add_address(name, f"{eni.subnet.allot_ipv4()}/24")
        self.guest.ip_each(
            [
                f"route {verb} default via {gateway} dev {name} onlink table {own}{mark}",
                f"route {verb} {eni.subnet.ipv4} dev {name} table {own}{mark}",
                *(f"rule add priority {own} from {a} lookup {own}{mark}" for a in eni.ipv4s),
            ]
        )

    def keeps_ipv4(self, link: str) -> bool:
        """Whether the link has a foreign IPv4 address: with the last address the kernel removes
        routes."""
        return any(where == link and "." in text for where, text in self.addresses)

    # Addresses

    def _add_addresses(self, eni: Eni, others: Sequence[Eni]) -> None:
        chance, name = self.chance, eni.name
        vip = eni.subnet.allot_ipv4()
        self.add_address(name, f"{vip}/32", f"label {name}:vip")
        self.add_address(name, f"{eni.subnet.allot_ipv6()}/128")
        if chance.random() < 0.5:  # by hand, as a user types the command
            self.add_address(name, f"{eni.subnet.allot_ipv4()}/24")
        if len(eni.addresses()) > 2:  # quicker than we
            listed = chance.choice(eni.addresses()[1:])
            length = chance.choice((listed.max_prefixlen, listed.max_prefixlen - 6))
            self.add_address(name, f"{listed}/{length}", "noprefixroute")
        if others:  # IMDS lists it for another ENI
            lent = chance.choice(chance.choice(others).addresses())
            link = chance.choice((name, BRIDGE, "lo"))
            self.add_address(link, f"{lent}/{lent.max_prefixlen}")

    def add_address(self, link: str, interface: str, flags: str = "") -> None:
        """Make the object foreign, unless it exists already."""
        words = f"ip addr add {interface} dev {link} {flags}" + " nodad" * (":" in interface)
        if self.guest.run(words.split()).returncode == 0:
            self.addresses.add((link, interface))

    # Routes

    def _route(self, eni: Eni, version: int) -> str:
        chance = self.chance
        four = version == 4
        net = self._network(version)
        table = chance.choice(("main", 10000 + eni.device, *TABLES))
        rest = f"table {table}{chance.choice(METRICS)}{chance.choice(PROTOCOLS)}"
        gateway = eni.subnet.gateway_ipv4 if four else eni.subnet.gateway_ipv6
        ways = [
            f"{net} dev {eni.name}",
            f"{net} dev {eni.name} mtu 1300",
            f"{net} dev {TUNNEL}",
            f"{net} via {gateway} dev {eni.name} onlink",
            f"{net} via {gateway} dev {eni.name} onlink advmss 1200",
            f"blackhole {net}",
            f"unreachable {net}",
            f"prohibit {net}",
            f"throw {net}",
            f"local {net} dev lo",
        ]
        if four:
            ways.append(f"{net} tos 0x10 dev {eni.name}")
        way = chance.choice([*ways, "multipath"])
        if way == "multipath":
            hops = f"nexthop dev {BRIDGE} weight 2 nexthop dev {eni.name}"
            if not four:  # a multipath route with one path less would stay when the ENI is detached
                hops = f"nexthop via fe80::1 dev {BRIDGE} nexthop via fe80::2 dev {TUNNEL}"
            return f"route add {net} {rest} {hops}"
        return f"route add {way} {rest}"

    def _network(self, version: int) -> IPv4Network | IPv6Network:
        """An unused address of the ranges for tests (RFC 2544) and for documents (RFC 3849)."""
        self._number += 1
        if version == 4:
            return IPv4Network((int(IPv4Address("198.18.0.0")) + 16 * self._number, 28))
        return IPv6Network(f"2001:db8:f{self._number:03x}::/48")

    def _nexthop_lines(self, eni: Eni) -> Iterator[str]:
        self._number += 2
        number, table = 100 + self._number, self.chance.choice(TABLES)
        network, network6 = self._network(4), self._network(6)
        yield f"nexthop add id {number} via {eni.subnet.gateway_ipv4} dev {eni.name} onlink"
        yield f"route add {network} nhid {number} table {table}"
        yield f"nexthop add id {number + 1} via fe80:ec2::1 dev {eni.name} onlink protocol bird"
        yield f"route add {network6} nhid {number + 1} table {table}"

    # Rules

    def rules(self, eni: Eni, version: int) -> Iterator[str]:
        """In each band of each peer, and those that only lack our mark."""
        for bands in BANDS.values():
            for priority in bands:
                if self.chance.random() < 0.1:
                    # The rule matches nearly all packets, so its table has no route.
                    self._number += 1
                    rule = f"not from {_NETWORKS[version]} lookup {3000 + self._number}"
                    yield f"rule add priority {priority} {rule}"
                words = f"{self._selector(eni, version)} {self._action(priority)}"
                yield f"rule add priority {priority} {words}{self.chance.choice(PROTOCOLS)}"
        own = 10000 + eni.device
        address = next((a for a in eni.addresses() if a.version == version), None)
        if address is None:
            return
        mark = self.chance.choice(PROTOCOLS)
        for line in (
            f"{own} from {address} lookup {own}{mark}",
            f"{own} from {address} fwmark 3 lookup {own}{mark}",
            f"{own} from {address} lookup 77{mark}",
            f"9999 from {address} lookup main suppress_prefixlength 0{mark}",
            f"9999 from {address} lookup main suppress_prefixlength 0 suppress_ifgroup 236{mark}",
            f"32765 from {address} lookup {own}{mark}",
            f"30201 from {address} lookup 30201{mark}",
        ):
            if self.chance.random() < 0.5:
                yield f"rule add priority {line}"

    def _selector(self, eni: Eni, version: int) -> str:
        self._number += 1
        network = _NETWORKS[version]
        selectors = (
            f"from {network} fwmark {self._number:#x}/0xffff",
            f"from all fwmark {self._number:#x}",
            f"from all uidrange 1000-{self._number + 2000}",
            f"from all iif {BRIDGE} fwmark {self._number:#x}",
            f"from all oif {TUNNEL} fwmark {self._number:#x}",
            f"from all iif {eni.name} fwmark {self._number:#x}",
            f"from all tos 0x10 fwmark {self._number:#x}",
            f"from all ipproto tcp dport {self._number + 1000}",
            f"from all ipproto udp sport 500-{self._number + 1000}",
            f"from {network} to {network} fwmark {self._number:#x}",
        )
        return self.chance.choice(selectors)

    def _action(self, priority: int) -> str:
        actions = [f"lookup {table}" for table in TABLES]
        actions += ["lookup main suppress_prefixlength 0", "lookup 52 suppress_ifgroup 7"]
        actions += ["unreachable", "prohibit", "blackhole", "nop"]
        if priority < GOTO_TARGET:
            actions += [f"goto {GOTO_TARGET}"] * 3
        return self.chance.choice(actions)
