# SPDX-License-Identifier: Apache-2.0
"""Sysctls that make the kernel drop what ENIs get. Pure.

Source of the meanings: Documentation/networking/ip-sysctl.rst.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.model.objects import MAIN_TABLE, AnyNetwork
from ec2net.core.model.purpose import Purpose

STRICT = 1
"""rp_filter: a packet is dropped unless its answer would leave through the same link (RFC 3704)."""


@dataclass(frozen=True, slots=True)
class LinkSysctls:
    """The sysctls of one link; None if unreadable."""

    rp_filter: int | None = None
    """net.ipv4.conf.LINK.rp_filter"""
    ipv6_forwarding: int | None = None
    """net.ipv6.conf.LINK.forwarding"""
    accept_ra: int | None = None
    """net.ipv6.conf.LINK.accept_ra"""


@dataclass(frozen=True, slots=True)
class Sysctls:
    """The sysctls of the host, and of ENIs' links by index."""

    rp_filter_all: int | None = None
    """net.ipv4.conf.all.rp_filter"""
    ipv4_forwarding: int | None = None
    """net.ipv4.ip_forward"""
    ipv6_forwarding: int | None = None
    """net.ipv6.conf.all.forwarding"""
    links: Mapping[int, LinkSysctls] | None = None

    def of(self, intent: EniIntent) -> LinkSysctls:
        return (self.links or {}).get(intent.link.index, LinkSysctls())

    def rp_filter(self, intent: EniIntent) -> int:
        """The effective value for a link: the larger of its own value and that of ``all``."""
        return max(self.rp_filter_all or 0, self.of(intent).rp_filter or 0)

    @property
    def forwards(self) -> bool:
        """Whether the host is a router, as with containers on a bridge."""
        return self.ipv4_forwarding == 1 or self.ipv6_forwarding == 1


def no_forwarding(
    behind: Collection[tuple[AnyNetwork, str]], sysctls: Sysctls
) -> Iterator[Finding]:
    """``behind``: networks of ENIs that the host leads to a link of containers."""
    for network, link in behind:
        ipv4 = network.version == 4
        if (sysctls.ipv4_forwarding if ipv4 else sysctls.ipv6_forwarding) == 0:
            name = "net.ipv4.ip_forward" if ipv4 else "net.ipv6.conf.all.forwarding"
            yield Finding(
                Severity.WARNING,
                Check.FORWARDING,
                link,
                f"{name} is 0, but {network} of an ENI is behind {link}: the kernel does not forward "
                "its packets",
                f"run: sysctl -w {name}=1, and write the setting to /etc/sysctl.d",
            )


def strict_filters(host: HostIntent, sysctls: Sysctls) -> Iterator[Finding]:
    """ENIs whose packets may be answered through another link, with a filter that drops those.

    With rules of its own alone, an ENI is answered through itself and the filter agrees. The
    primary without rules is, as long as main's default route is its own.
    """
    for intent in host.ready:
        if sysctls.rp_filter(intent) != STRICT or not intent.first(4):
            continue
        if any(rule.table == MAIN_TABLE for rule in intent.rules):
            cause = (
                "the kernel drops packets from networks that the main table routes to another "
                'device (routing = "main-first"), such as a VPN\'s'
            )
        elif intent.rules and sysctls.ipv4_forwarding == 1:
            cause = (
                "the kernel drops packets that the host forwards to containers: no rule covers "
                "their addresses"
            )
        elif not intent.rules and not intent.primary:
            cause = "the ENI has no rules, so replies would leave through another link"
        else:
            continue
        yield Finding(
            Severity.WARNING,
            Check.RP_FILTER,
            intent.link.name,
            f"net.ipv4.conf.{_strict_one(intent, sysctls)}.rp_filter is 1 (strict): {cause}",
            f"run: sysctl -w net.ipv4.conf.{intent.link}.rp_filter=2 (loose; the larger of this "
            "value and that of 'all' applies), and write the setting to /etc/sysctl.d",
        )


def _strict_one(intent: EniIntent, sysctls: Sysctls) -> str:
    return intent.link.name if sysctls.of(intent).rp_filter == STRICT else "all"


def lost_answers(host: HostIntent, sysctls: Sysctls) -> Iterator[Finding]:
    """Secondaries by which something may come in that the host hands on, to a container say."""
    if sysctls.ipv4_forwarding != 1:
        return
    for intent in host.ready:
        marked = intent.serves(Purpose.ANSWERS)
        if intent.rules and not intent.primary and not marked:
            yield Finding(
                Severity.NOTE,
                Check.PUBLISHED_PORTS,
                intent.link.name,
                "the host forwards packets: replies from a container's published port on this "
                "ENI leave through the primary ENI, and the VPC drops them",
                "if containers publish ports on this ENI, set published_ports = true in the "
                "configuration",
            )


def lost_advertisements(host: HostIntent, sysctls: Sysctls) -> Iterator[Finding]:
    """A router takes no default route from advertisements, unless accept_ra is 2.

    Network managers that read advertisements themselves set accept_ra to 0.
    """
    for intent in host.ready:
        values = sysctls.of(intent)
        if not intent.ipv6 or not intent.first(6):
            continue
        if values.ipv6_forwarding == 1 and values.accept_ra == 1:
            yield Finding(
                Severity.WARNING,
                Check.FORWARDING,
                intent.link.name,
                f"net.ipv6.conf.{intent.link}.forwarding is 1 and accept_ra is 1: the kernel "
                "ignores router advertisements, and IPv6 ends when the present default route "
                "expires",
                f"run: sysctl -w net.ipv6.conf.{intent.link}.accept_ra=2, and write the setting "
                "to /etc/sysctl.d",
            )
