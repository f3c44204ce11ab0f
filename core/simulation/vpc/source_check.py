# SPDX-License-Identifier: Apache-2.0
"""The source check of a VPC: a packet whose source its ENI does not hold is dropped, and counted.

The counter is the sharpest oracle for policy routing: it must not move.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from ec2net.core.simulation.vpc.namespace import Namespace

Network: TypeAlias = IPv4Network | IPv6Network

TABLE = "source_check"

# A full set of drop details (size) does not stop the drop: the failing 'add' only ends its own
# rule. ARP requests and neighbour solicitations never leave through an ENI's port, since a VPC's
# mapping service answers them, not the instances. Link-local targets (@th,64,16 is the target's
# beginning) are the exception, which only the guest has.
_RULESET = f"""
table bridge {TABLE} {{
    set ports {{ type ifname; }}
    set held4 {{ type ifname . ipv4_addr; flags interval; }}
    set held6 {{ type ifname . ipv6_addr; flags interval; }}
    set drops4 {{ type ifname . ipv4_addr . ipv4_addr; flags dynamic; size 4096; counter; }}
    set drops6 {{ type ifname . ipv6_addr . ipv6_addr; flags dynamic; size 4096; counter; }}
    counter dropped {{ }}
    chain drop4 {{
        counter name dropped
        add @drops4 {{ iifname . ip saddr . ip daddr }}
        drop
    }}
    chain drop6 {{
        counter name dropped
        add @drops6 {{ iifname . ip6 saddr . ip6 daddr }}
        drop
    }}
    chain check {{
        type filter hook prerouting priority 0; policy accept;
        iifname != @ports accept
        ip saddr 0.0.0.0 accept
        ip6 saddr {{ ::, fe80::/10 }} accept
        iifname . ip saddr != @held4 goto drop4
        iifname . ip6 saddr != @held6 goto drop6
    }}
    chain no_questions {{
        oifname @ports arp operation request drop
        oifname @ports icmpv6 type nd-neighbor-solicit @th,64,16 != 0xfe80 drop
    }}
    chain forwarded {{
        type filter hook forward priority 0; policy accept;
        jump no_questions
    }}
    chain sent {{
        type filter hook output priority 0; policy accept;
        jump no_questions
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Drop:
    """Packets that one port sent with a source that it does not hold."""

    port: str
    source: str
    destination: str
    packets: int


class SourceCheck:
    """The nftables table in the namespace that holds the bridges."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        namespace.nft(_RULESET)

    def guard(self, port: str, holds: Iterable[Network]) -> None:
        """Check the port from now on; it may send from what it ``holds`` only."""
        ports = f'add element bridge {TABLE} ports {{ "{port}" }}\n'
        self._namespace.nft(ports + _elements("add", port, holds))

    def release(self, port: str, held: Iterable[Network]) -> None:
        """Forget a port and all that it ``held``."""
        ports = f'delete element bridge {TABLE} ports {{ "{port}" }}\n'
        self._namespace.nft(ports + _elements("delete", port, held))

    def change(
        self, port: str, *, gained: Iterable[Network] = (), lost: Iterable[Network] = ()
    ) -> None:
        """Let a checked port hold more, or less, in one transaction."""
        script = _elements("delete", port, lost) + _elements("add", port, gained)
        if script:
            self._namespace.nft(script)

    def dropped(self) -> int:
        """All packets dropped so far."""
        answer = self._namespace.nft_json("list", "counter", "bridge", TABLE, "dropped")
        for item in json.loads(answer)["nftables"]:
            if "counter" in item:
                return int(item["counter"]["packets"])
        raise AssertionError("nft lists no counter")

    def drops(self) -> tuple[Drop, ...]:
        """Which sources were dropped, per port and destination (the first 4096 of a family)."""
        answer = self._namespace.nft_json("list", "table", "bridge", TABLE)
        return tuple(
            Drop(port, source, destination, int(element["elem"]["counter"]["packets"]))
            for item in json.loads(answer)["nftables"]
            if item.get("set", {}).get("name") in ("drops4", "drops6")
            for element in item["set"].get("elem", ())
            for port, source, destination in (_concatenation(element["elem"]["val"]),)
        )


def _concatenation(value: dict[str, list[str]]) -> tuple[str, str, str]:
    port, source, destination = value["concat"]
    return port, str(ip_address(source)), str(ip_address(destination))


def _elements(verb: str, port: str, networks: Iterable[Network]) -> str:
    lines = []
    for network in networks:
        single = network.prefixlen == network.max_prefixlen
        text = str(network.network_address) if single else str(network)
        lines.append(
            f'{verb} element bridge {TABLE} held{network.version} {{ "{port}" . {text} }}\n'
        )
    return "".join(lines)
