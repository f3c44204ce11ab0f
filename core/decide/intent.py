# SPDX-License-Identifier: Apache-2.0
"""The intent: what one ENI shall look like, whole, independent of who will realize it.

A backend is handed the whole wanted state each time; what it holds and no intent wants any
more goes. ``compute`` makes these; nothing downstream reads IMDS or the configuration again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from ec2net.core.config.settings import AUTO_BACKEND, DnsDefaultRoute, Manage, Mtu, Rival
from ec2net.core.model.identity import Attached, EniId, Mac
from ec2net.core.model.numbers import EniNumber
from ec2net.core.model.objects import AnyInterface, AnyNetwork, LinkRef, Route, Rule
from ec2net.core.model.purpose import Purpose


class Standing(Enum):
    """Where an ENI stands after ``compute``."""

    READY = "planned"
    """There is an intent. Whether it is in place is the ENI's state (``report/eni_state.py``)."""
    PENDING = "pending"
    """The facts of IMDS are incomplete; the next pass reads them again, and nothing is removed."""
    ABSENT = "absent"
    """IMDS lists it, and the host has no link with its MAC; an EFA-only ENI has none."""
    NO_ADDRESS = "no-address"
    """EFA-only: attached without any address; there is nothing to route."""
    IGNORED = "ignored"
    """The configuration says ``manage = "ignore"``, udev says that another tool owns the link, or
    the link is a port of another one."""
    REFUSED = "refused"
    """Its facts contradict themselves or another ENI's; nothing of it is changed or removed."""


@dataclass(frozen=True, slots=True)
class EarlyIntent:
    """The intent for an ENI before IMDS lists its addresses: role and configuration.

    Nothing in it changes while the ENI stays attached, so what is made of it is made once.
    """

    mac: Mac
    link: LinkRef
    primary: bool
    mtu: Mtu
    ipv6: bool
    """False only if the configuration says ``ipv6 = "off"``."""
    main_metric: int
    """Metric of the primary's routes in the main table."""
    parking_table: int
    """A table that no rule leads to, for routes that must not be in main."""
    dns: DnsDefaultRoute = DnsDefaultRoute.AUTO


@dataclass(frozen=True, slots=True)
class EniIntent:
    """The whole intended state of one ENI. Lists are in the order in which they matter."""

    mac: Mac
    eni_id: EniId | None
    link: LinkRef
    number: EniNumber
    primary: bool
    manage: Manage
    table: int
    metric: int
    """Metric of the ENI's default route in the main table, from ec2net or a network manager."""
    base: tuple[AnyInterface, ...]
    """The addresses that DHCP would give: the first IPv4 with the subnet's length, the first IPv6
    as /128."""
    further: tuple[AnyInterface, ...]
    """Every other address, as /32 or /128 so that the base address stays first."""
    prefixes: tuple[AnyNetwork, ...]
    """Delegated prefixes, whatever the prefix mode."""
    routed: tuple[AnyNetwork, ...]
    """Further sources that leave by the ENI, and that the host holds no address of (``routed``)."""
    configured_sources: tuple[AnyNetwork, ...]
    """Sources that IMDS does not list (``sources``)."""
    gateways: tuple[IPv4Address | IPv6Address, ...]
    """The VPC's router for each family of which the ENI has an address, or a prefix with rules."""
    rules: tuple[Rule, ...]
    """Those that lead its sources, whether by themselves or by ``made_rules``."""
    table_routes: tuple[Route, ...]
    main_routes: tuple[Route, ...]
    main_subnets: tuple[AnyNetwork, ...]
    """The CIDRs of its subnet that the main table is to show."""
    local_routes: tuple[Route, ...]
    """Routes in the local table that deliver delegated prefixes (``prefix_mode = "local"``)."""
    link_group: int
    altnames: tuple[str, ...]
    mtu: Mtu
    ipv6: bool
    """Whether the ENI has IPv6 at all; if not, no router advertisement counts."""
    early: "EarlyIntent"
    unread: tuple[str, ...]
    """Keys that IMDS did not tell and that were never known: nothing may be removed for them."""
    coexist_with: tuple[Rival, ...] = ()
    """Other tools that may configure it as well."""
    subnet_routes: tuple[Route, ...] = ()
    """Main's routes to ``main_subnets``: through the primary ENI, then through this one."""
    main_remarks: tuple[str, ...] = ()
    """Why a CIDR of ``main_subnets`` has no such routes, or why main is not corrected."""
    follows_main: bool = False
    """Whether main's routes through the ENI are copied to its table."""
    copied_routes: tuple[Route, ...] = ()
    """Those (``core/decide/copies.py``)."""
    correctable: tuple[AnyNetwork, ...] = ()
    """For the primary: the sources for which ec2net may correct main's answers."""
    corrections: tuple[Rule, ...] = ()
    """Rules that keep the primary's traffic from other ENIs (``core/decide/corrections.py``)."""
    correction_routes: tuple[Route, ...] = ()
    """Where they lead it, in its table."""
    no_ipv4: tuple[Rule, ...] = ()
    """Rules by which the host's IPv4 fails at once (``Purpose.NO_IPV4``); of the primary."""
    vrf: str = ""
    """The VRF that its link is a port of, whose table ``table`` is; empty: none."""
    made_rules: tuple[Rule, ...] = ()
    """The rules that stand for ``rules`` in the kernel (``core/decide/rule_tree.py``); empty: they do
    so themselves."""

    @property
    def sources(self) -> tuple[AnyInterface, ...]:
        """Every single address from which the host may send."""
        return self.base + self.further

    @property
    def every_rule(self) -> tuple[Rule, ...]:
        """The rules in the kernel."""
        return (self.made_rules or self.rules) + self.corrections + self.no_ipv4

    @property
    def every_route(self) -> tuple[Route, ...]:
        return (
            self.table_routes
            + self.copied_routes
            + self.main_routes
            + self.subnet_routes
            + self.correction_routes
        )

    @property
    def hears_router(self) -> bool:
        """Whether its IPv6 default route comes by a router advertisement."""
        return self.primary and self.first(6) is not None

    def serves(self, purpose: Purpose) -> bool:
        """Whether it has a rule for this purpose."""
        return any(rule.purpose is purpose for rule in self.every_rule)

    def first(self, version: int) -> IPv4Address | IPv6Address | None:
        """The base address of a family (4 or 6)."""
        return next((i.ip for i in self.base if i.version == version), None)


@dataclass(frozen=True, slots=True)
class EniOutcome:
    """The result of ``compute`` for one ENI: its standing, the reason, and the intent if there is
    one."""

    mac: Mac
    standing: Standing
    reason: str
    """Why it is not ready; empty when it is."""
    link: LinkRef | None
    eni_id: EniId | None = None
    intent: EniIntent | None = None
    twins: tuple[LinkRef, ...] = ()
    """Further links with its MAC: which one it is cannot be told, so it is refused."""
    table: int | None = None
    """Its table as soon as its number is known, whatever its standing."""
    attached: Attached | None = None
    """Whether its link was there at boot; None: not known, or there is no link."""
    backend: str = AUTO_BACKEND
    """The backend in the configuration."""
    apart: bool = False
    """Whether it is another's by the configuration, by its owner or by another tool, whatever its
    standing: a default for all ENIs is none for it."""

    @property
    def links(self) -> tuple[LinkRef, ...]:
        """Every link that it may be."""
        return self.twins if self.link is None else (self.link, *self.twins)

    @property
    def name(self) -> str:
        """For messages: the link's name if there is a link, else the ENI's id or MAC."""
        return str(self.link or self.eni_id or self.mac)


@dataclass(frozen=True)  # without slots, for the cached index
class HostIntent:
    """All ENIs of the instance, the primary first, then by number, then by MAC."""

    enis: tuple[EniOutcome, ...]
    primary_link: LinkRef | None = None
    """The link of the primary ENI, also while it has no intent (yet)."""
    later_apart: bool = False
    """Whether nothing is to be done for an ENI that comes some time, before it is known."""

    @cached_property
    def ready(self) -> tuple[EniIntent, ...]:
        return tuple(eni.intent for eni in self.enis if eni.intent is not None)

    def without(self, reasons: Mapping[Mac, str], standing: Standing) -> "HostIntent":
        """With another standing for these ENIs: their objects stay, and they have no intent."""
        enis = tuple(
            replace(eni, standing=standing, reason=reasons[eni.mac], intent=None)
            if eni.mac in reasons and eni.intent is not None
            else eni
            for eni in self.enis
        )
        return self if enis == self.enis else replace(self, enis=enis)

    @property
    def links_since_boot(self) -> dict[Mac, tuple[LinkRef, ...]]:
        """The links of ENIs that were there at boot."""
        boot = [eni for eni in self.enis if eni.attached is Attached.BOOT and eni.links]
        return {eni.mac: eni.links for eni in boot}

    @cached_property
    def _by_mac(self) -> Mapping[Mac, EniOutcome]:
        return {eni.mac: eni for eni in self.enis}

    def of(self, mac: Mac) -> EniOutcome | None:
        return self._by_mac.get(mac)


def host_interface(address: IPv4Address | IPv6Address) -> AnyInterface:
    """``address`` as /32 or /128."""
    if isinstance(address, IPv4Address):
        return IPv4Interface((int(address), 32))
    return IPv6Interface((int(address), 128))
