# SPDX-License-Identifier: Apache-2.0
"""A policy rule of any maker with all its selectors, to find the rule that takes a packet.

``objects.Rule`` is the kind of rule that ec2net makes; this one also has what only others use.
"""

from dataclasses import dataclass

from ec2net.core.model.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    AnyAddress,
    AnyNetwork,
    Mark,
)

KERNEL = 2
"""RTPROT_KERNEL (include/uapi/linux/rtnetlink.h): of the three rules that every host has, and of the
routes that come with an address or a device."""

LOOKUP = "lookup"
FAILING = ("blackhole", "unreachable", "prohibit")
"""Actions by which a packet goes nowhere."""

_BOOT = (0, 3)
"""RTPROT_UNSPEC and RTPROT_BOOT: the default of ip(8) and of old kernels, so it names no tool."""

_MAKERS = {
    KERNEL: "the kernel",
    4: "a network manager's configuration (protocol static)",
    11: "zebra",
    12: "bird",
    16: "a DHCP client",
    18: "keepalived",
    42: "babel",
    186: "FRR (bgp)",
    188: "FRR (ospf)",
    195: "FRR (pbr)",
}
"""By protocol number (include/uapi/linux/rtnetlink.h; FRR's zebra/rt_netlink.h)."""

_VPC_CNI = (512, 1024, 1535, 1536)
"""Priorities of amazon-vpc-cni-k8s (pkg/networkutils/network.go)."""
_TAILSCALE = range(5210, 5271)
"""wgengine/router of tailscale: 5200 + 10, 30, 50 and 70."""
_STRONGSWAN = 220
"""Priority and table of strongSwan's rule (charon.routing_table)."""


def maker_of(protocol: int) -> str:
    """The program that marks its rules and routes with this number, as far as the number tells."""
    if protocol in _BOOT:
        return "a program without a protocol number"
    return _MAKERS.get(protocol, f"a tool with protocol {protocol}")


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule. ``others`` are selectors in the words of ip(8) for the packet's link,
    user or port, which a lookup by addresses does not have."""

    source: AnyNetwork
    priority: int
    action: str
    """``lookup``, one of ``FAILING``, ``goto`` or ``nop``."""
    table: int = 0
    destination: AnyNetwork | None = None
    protocol: int = 0
    mark: Mark | None = None
    inverted: bool = False
    suppress: str = ""
    """Words of ip(8): which routes do not count."""
    others: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        return self.source.version

    def takes(self, source: AnyAddress, destination: AnyAddress, through: str = "") -> bool:
        """Whether the rule is for a packet without a mark from ``source`` to ``destination``.

        ``through``: the name of the link that the packet is bound to.
        """
        if source.version != self.version or self.others not in ((), (f"oif {through}",)):
            return False
        matches = (
            source in self.source
            and (self.destination is None or destination in self.destination)
            and (self.mark is None or self.mark.value & self.mark.mask == 0)
        )
        return matches is not self.inverted

    @property
    def maker(self) -> str:
        """The maker of the rule: the tool that makes such rules; empty if nothing does."""
        if self.protocol not in _BOOT:
            return maker_of(self.protocol)
        if self.mark is not None and self.inverted and self.mark.value == self.table:
            return "wg-quick"
        if self.table == MAIN_TABLE and self.suppress == "suppress_prefixlength 0":
            return "wg-quick or a VPN like it"
        if self.priority in _TAILSCALE:
            return "tailscale"
        if self.priority in _VPC_CNI:
            return "the VPC CNI"
        if self.priority == self.table == _STRONGSWAN:
            return "strongSwan"
        if self.mark is not None or self.others or self.inverted:
            return "a tool that selects packets by more than addresses"
        return ""

    def describe(self) -> str:
        return f"rule {self.priority}: {self._words()}"

    def deletion(self) -> str:
        """The command of ip(8) that removes the rule; empty where a tool speaks for the rule."""
        if self.maker:
            return ""
        family = "-6 " if self.version == 6 else ""
        return f"ip {family}rule del priority {self.priority} {self._words()}"

    def _words(self) -> str:
        words = ["not"] if self.inverted else []
        words.append(f"from {_short(self.source) if self.source.prefixlen else 'all'}")
        if self.destination is not None:
            words.append(f"to {_short(self.destination)}")
        if self.mark is not None:
            words.append(f"fwmark {self.mark}")
        words += self.others
        words.append(self.action)
        if self.action == LOOKUP:
            words.append(table_name(self.table))
        if self.suppress:
            words.append(self.suppress)
        return " ".join(words)


def _short(network: AnyNetwork) -> str:
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address if whole else network)


def table_name(table: int) -> str:
    """As ip(8) has it."""
    return {MAIN_TABLE: "main", LOCAL_TABLE: "local", 253: "default"}.get(table, str(table))
