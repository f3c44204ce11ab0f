# SPDX-License-Identifier: Apache-2.0
"""The settings as types, and which of them apply to one ENI. Pure: no files, no TOML.

``Config()`` is the built-in configuration, with the default of each key. ``schema`` lists the
values that each key accepts, ``tree`` converts a ``Config`` to plain data and back, ``files`` reads
the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeAlias

from ec2net.core.model.identity import Attached, EniId, Mac
from ec2net.core.model.numbers import IPV6_MTU_MIN, NumberPlan
from ec2net.core.model.objects import AnyNetwork

AUTO_BACKEND = "auto"
"""``backend``: choose by who manages the link."""


class Manage(StrEnum):
    """How much of an ENI ec2net configures."""

    FULL = "full"
    NO_ADDRESSES = "no-addresses"
    """Secondary addresses get no rules either. A rule at 10000 + n would catch traffic that a CNI
    leaves to main on purpose: the VPC CNI translates the source of pods' packets to the primary's
    address, and these packets must leave by the primary."""
    NO_RULES = "no-rules"
    OBSERVE = "observe"
    IGNORE = "ignore"

    @property
    def hands_off(self) -> bool:
        """Whether nothing of the ENI is touched."""
        return self in (Manage.OBSERVE, Manage.IGNORE)


class Routing(StrEnum):
    """The precedence for traffic from an ENI's address (docs: Routing semantics)."""

    MAIN_FIRST = "main-first"
    STRICT = "strict"
    OFF = "off"


class PrefixMode(StrEnum):
    """The use of a delegated prefix: rules, rules and a local route, or nothing."""

    RULES = "rules"
    LOCAL = "local"
    NONE = "none"


class Ipv6Policy(StrEnum):
    """Whether an ENI has IPv6; ``auto`` follows the subnet."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class MtuPolicy(StrEnum):
    """A policy for the MTU, in place of a number."""

    DHCP = "dhcp"
    KEEP = "keep"


class MainDefault(StrEnum):
    """Whether the main table has a default route through the ENI, with the usual metric."""

    YES = "yes"
    NO = "no"


class PrimaryRules(StrEnum):
    """Whether the primary ENI has rules, where that is neither yes nor no."""

    AUTO = "auto"
    """Where a route in main would send its traffic through another ENI (docs/routing.md)."""


class MainTable(StrEnum):
    """Whether the main table and an ENI know each other's routes (docs/routing.md, "main")."""

    JOINED = "joined"
    APART = "apart"
    """Main has the ENI's default route and nothing else of it."""


class DnsDefaultRoute(StrEnum):
    """Whether the ENI's DNS servers receive queries for any domain; ``auto``: the primary ENI's do."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class Altname(StrEnum):
    """Formats of alternative link names: the ENI's id, and ``device-number-DEVICE.CARD``.

    ``core/decide/altnames.py`` makes them.
    """

    ID = "id"
    DEVICE_NUMBER = "device-number"


class Rival(StrEnum):
    """Tools that make and remove the same addresses, rules and routes of ENIs as we do."""

    NET_UTILS = "amazon-ec2-net-utils"
    NM_CLOUD_SETUP = "nm-cloud-setup"
    CLOUD_NETCONFIG = "cloud-netconfig"


class Role(StrEnum):
    """Primary (its MAC is the instance's in IMDS) or not."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


Mtu: TypeAlias = MtuPolicy | int
"""A policy, or the MTU in bytes."""

PrimaryRulesSetting: TypeAlias = PrimaryRules | bool

MainDefaultSetting: TypeAlias = MainDefault | int
"""Yes, no, or yes with this metric."""


@dataclass(frozen=True, slots=True)
class EniIdentity:
    """The facts that a section matches. None or empty means unknown (yet), and does not match."""

    mac: Mac | None
    eni_id: EniId | None = None
    card: int | None = None
    device: int | None = None
    subnet_ipv4: IPv4Network | None = None
    subnet_ipv6: tuple[IPv6Network, ...] = ()
    link_name: str = ""
    is_primary: bool | None = None
    attached: Attached | None = None
    unsettled: frozenset[str] = frozenset()
    """Criteria that do not match now, but may match as soon as IMDS reports more."""


ANY_LATER = EniIdentity(mac=None, is_primary=False, attached=Attached.LATER)
"""An ENI of which nothing is known but that it comes later."""


@dataclass(frozen=True, slots=True)
class EniSettings:
    """The settings of one ENI, complete."""

    manage: Manage = Manage.FULL
    backend: str = AUTO_BACKEND
    routing: Routing = Routing.MAIN_FIRST
    primary_rules: PrimaryRulesSetting = PrimaryRules.AUTO
    published_ports: bool = False
    mtu: Mtu = MtuPolicy.DHCP
    ipv4_prefix_mode: PrefixMode = PrefixMode.RULES
    """A mode for each IP version: a /28 of host addresses and a /80 for containers on one ENI are a
    common pair."""
    ipv6_prefix_mode: PrefixMode = PrefixMode.RULES
    routed: tuple[AnyNetwork, ...] = ()
    """The ENI's addresses that the host routes to a container: the host has none of them itself."""
    sources: tuple[AnyNetwork, ...] = ()
    """Sources that leave by the ENI although IMDS does not list them."""
    main_default: MainDefaultSetting = MainDefault.YES
    main_table: MainTable = MainTable.JOINED
    ipv6: Ipv6Policy = Ipv6Policy.AUTO
    altnames: tuple[Altname, ...] = (Altname.ID, Altname.DEVICE_NUMBER)
    coexist_with: tuple[Rival, ...] = ()
    dns_default_route: DnsDefaultRoute = DnsDefaultRoute.AUTO
    ipv4_fast_failure: bool = False

    @property
    def removes_ipv6(self) -> bool:
        """Whether IPv6 is enabled with an MTU below 1280, which removes it from the link (RFC 8200,
        5)."""
        too_small = isinstance(self.mtu, int) and self.mtu < IPV6_MTU_MIN
        return too_small and self.ipv6 is not Ipv6Policy.OFF


@dataclass(frozen=True, slots=True)
class Match:
    """Which ENIs a section is for: every criterion that is given must hold, one of each tuple."""

    mac: tuple[Mac, ...] = ()
    id: tuple[EniId, ...] = ()
    card: int | None = None
    device: int | None = None
    subnet: IPv4Network | IPv6Network | None = None
    """The ENI's subnet is this one or lies inside it."""
    name: tuple[str, ...] = ()
    """Shell globs over the link's name, case-sensitive."""
    role: Role | None = None
    attached: Attached | None = None

    def matches(self, eni: EniIdentity) -> bool:
        """Whether all criteria are known to hold; an empty match holds for none."""
        return self != Match() and not self._failing(eni)

    def may_match(self, eni: EniIdentity) -> frozenset[str]:
        """The criteria that are not settled, if all others hold; empty if the match is decided."""
        failing = self._failing(eni)
        return failing if failing <= eni.unsettled else frozenset()

    @property
    def given(self) -> tuple[tuple[str, str], ...]:
        """Names and values of the criteria that are given, for people."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self) if self._has(f.name))
        return tuple(
            (name, ", ".join(map(str, value)) if isinstance(value, tuple) else str(value))
            for name, value in pairs
        )

    def _has(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(_EMPTY, name))

    def _failing(self, eni: EniIdentity) -> frozenset[str]:
        holds = {
            "mac": not self.mac or eni.mac in self.mac,
            "id": not self.id or eni.eni_id in self.id,
            "card": self.card is None or eni.card == self.card,
            "device": self.device is None or eni.device == self.device,
            "subnet": self.subnet is None or _inside(self.subnet, eni),
            "name": not self.name or any(_named(eni.link_name, glob) for glob in self.name),
            "role": self.role is None or eni.is_primary is (self.role is Role.PRIMARY),
            "attached": self.attached is None or eni.attached is self.attached,
        }
        return frozenset(name for name, held in holds.items() if not held)


_EMPTY = Match()


def _inside(subnet: IPv4Network | IPv6Network, eni: EniIdentity) -> bool:
    if isinstance(subnet, IPv4Network):
        return eni.subnet_ipv4 is not None and eni.subnet_ipv4.subnet_of(subnet)
    return any(cidr.subnet_of(subnet) for cidr in eni.subnet_ipv6)


def _named(name: str, glob: str) -> bool:
    return bool(name) and fnmatchcase(name, glob)


@dataclass(frozen=True, slots=True)
class EniSection:
    """One ``[[eni]]`` section."""

    match: Match
    settings: Mapping[str, Any]
    """Fields of ``EniSettings`` that it sets; the others stay as they were before."""


class Profile(StrEnum):
    """Sections for a kind of host, which come before all others."""

    NONE = "none"
    KUBERNETES = "kubernetes"
    """A CNI (AWS VPC CNI, Cilium's ENI mode) has all later ENIs and all secondary addresses."""


PROFILES: dict[Profile, tuple[EniSection, ...]] = {
    Profile.NONE: (),
    Profile.KUBERNETES: (
        EniSection(
            Match(attached=Attached.BOOT),
            {"manage": Manage.NO_ADDRESSES},
        ),
        EniSection(Match(attached=Attached.LATER), {"manage": Manage.IGNORE}),
    ),
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    pass_: float = 15.0
    """One pass over all ENIs (key ``pass``)."""
    link: float = 30.0
    """How long ``start`` waits for the link."""
    lock: float = 20.0
    """How long to wait for another pass to end."""


@dataclass(frozen=True, slots=True)
class ResidentSettings:
    """How often the daemon acts; in seconds, except ``repairs``."""

    poll: float = 60.0
    """Between two polls with a pass."""
    fast: float = 5.0
    """Between two polls of a new ENI."""
    fast_for: float = 60.0
    """How long an ENI counts as new."""
    debounce: float = 0.25
    """From the first event to the look that follows, so that one look serves many."""
    repairs: int = 12
    """Repairs of drift per minute; the daemon delays further ones."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; ``Config()`` is the built-in one."""

    eni: EniSettings = field(default_factory=EniSettings)
    """Settings of every ENI without a section of its own."""
    profile: Profile = Profile.NONE
    sections: tuple[EniSection, ...] = ()
    """In the order in which they were read: later ones win."""
    numbers: NumberPlan = field(default_factory=NumberPlan)
    timeouts: Timeouts = field(default_factory=Timeouts)
    resident: ResidentSettings = field(default_factory=ResidentSettings)
    rollback_after: float = 10.0
    """``rollback.after``, in seconds; 0: nothing is rolled back."""
    drivers: tuple[str, ...] = ("ena", "ixgbevf", "vif")
    """Drivers whose links can be ENIs (``links.drivers``)."""
    enabled_plugins: tuple[str, ...] = ()
    """``plugins.enabled``: in addition to the built-in ones and those that ``backend`` names."""
    disabled_plugins: tuple[str, ...] = ()
    """``plugins.disabled``."""
    metrics_file: str = ""
    """The metrics file; empty: none."""

    @property
    def named_backends(self) -> tuple[str, ...]:
        """Each that the configuration names, for the host or for some ENIs; sorted."""
        named = {self.eni.backend, *(section.settings.get("backend") for section in self.sections)}
        return tuple(sorted(name for name in named if name not in (None, AUTO_BACKEND)))

    @property
    def publishes_ports(self) -> bool:
        """Whether any ENI may have ``published_ports``."""
        sections = (section.settings.get("published_ports") for section in self.sections)
        return self.eni.published_ports or any(sections)

    @property
    def pass_seconds(self) -> float:
        """The longest that one pass can take, with the wait for the lock and a roll-back."""
        back = 3 * self.rollback_after + self.timeouts.pass_ if self.rollback_after else 0
        return self.timeouts.lock + self.timeouts.pass_ + back

    def for_eni(self, identity: EniIdentity) -> EniSettings:
        """The settings of one ENI: the general ones, then each matching section, key by key."""
        return self._with(None, identity)

    def open_for(self, identity: EniIdentity) -> tuple[tuple[frozenset[str], EniSettings], ...]:
        """Other settings that the ENI may come to have, and the unsettled criteria each hangs on."""
        if not identity.unsettled:
            return ()
        settings = self.for_eni(identity)
        found = [
            (criteria, self._with(section, identity))
            for section in self.sections
            if (criteria := section.match.may_match(identity))
        ]
        return tuple((criteria, other) for criteria, other in found if other != settings)

    def _with(self, also: EniSection | None, identity: EniIdentity) -> EniSettings:
        settings = self.eni
        for section in (*PROFILES[self.profile], *self.sections):
            if section is also or section.match.matches(identity):
                settings = replace(settings, **section.settings)
        return settings
