# SPDX-License-Identifier: Apache-2.0
"""Kernel objects as values: contents of an intent, a snapshot and a plan.

Each has an ``identity`` (the kernel's key within a kind), a ``rank`` (the order in which additions
are safe: settings of the link, rules, addresses, routes), and a description in the words of ip(8).
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TypeAlias

from ec2net.core.model.purpose import (
    OF_PRIMARY,
    Clue,
    Purpose,
    of_link,
    of_source,
    of_subnet,
    of_table,
)

AnyAddress: TypeAlias = IPv4Address | IPv6Address
"""An address of either family."""
AnyNetwork: TypeAlias = IPv4Network | IPv6Network
AnyInterface: TypeAlias = IPv4Interface | IPv6Interface

_PRIORITIES = 2**32
"""More than any priority."""

LAST_PRIORITIES = range(32762, 32766)
"""Before main's (32766; fib_default_rules_init), and after every rule that must precede main's."""

MAIN_TABLE = 254
"""The number of the table main: RT_TABLE_MAIN (include/uapi/linux/rtnetlink.h)."""
LOCAL_TABLE = 255
"""RT_TABLE_LOCAL."""

RARE = {"rare": True}
"""Metadata of a field that documents have only where it has a value."""


class Rank(IntEnum):
    """The order of additions; removals have the reverse order (make before break).

    An address comes after its rules, so that no packet from it takes another way; routes come
    after the addresses that they prefer as source, which the kernel insists on. Rules that correct
    main come after the routes that they use. Main's route to a secondary ENI's subnet through the
    primary ENI (a detour) precedes the route through the secondary ENI. The latter alone would take
    the primary ENI's traffic. Packet marks come later, so that they never exist without the rule that
    matches them. Rules that make packets fail come last, after every route around them.
    """

    FILE = 0
    LINK = 1
    RULE = 2
    ADDRESS = 3
    ROUTE = 4
    CORRECTION = 5
    DETOUR = 6
    SUBNET = 7
    MARKS = 8
    FAILURE = 9


class RouteKind(Enum):
    """Route types that are used or recognised (RTN_*); anything else reads as ``OTHER``."""

    UNICAST = "unicast"
    LOCAL = "local"
    UNREACHABLE = "unreachable"
    OTHER = "other"


class RuleAction(Enum):
    """The action of a policy rule (FR_ACT_*)."""

    LOOKUP = "lookup"
    UNREACHABLE = "unreachable"
    """Fails at once, as if there were no route."""
    GOTO = "goto"
    """Continues with the rules of a higher priority; with the next rule while there is none."""
    NOP = "nop"
    """Does nothing: a target of others."""


class Setting(Enum):
    """The settings of a link that ec2net changes."""

    UP = "up"
    MTU = "mtu"
    GROUP = "group"
    ALTNAME = "altname"
    ACCEPT_RA = "accept_ra"


@dataclass(frozen=True, slots=True)
class LinkRef:
    """A link by its index; the name is only for people, since links can be renamed."""

    index: int
    name: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.name}"  # escaped, if the name is odd


class KernelItem:
    """The answers of most kernel objects."""

    __slots__ = ()
    link: LinkRef | None
    """None for objects that the kernel keeps without a link."""

    @property
    def purpose(self) -> Purpose:
        return Purpose.LINK

    @property
    def clues(self) -> tuple[Clue, ...]:
        """The clues to the ENI of this object: the first known clue decides."""
        return () if self.link is None else (of_link(self.link.index),)

    @property
    def version(self) -> int:
        """The IP version, 4 or 6; 0 if both build on it."""
        return 0

    @property
    def optional(self) -> bool:
        """Whether the rest of its ENI works without it."""
        return False

    @property
    def reveals(self) -> tuple[object, ...] | None:
        """The identity of an object that is looked for only where this one is: it goes first."""
        return None

    @property
    def shared(self) -> bool:
        """Whether it is no single ENI's, but serves all that want it."""
        return False

    @property
    def turn(self) -> int:
        """Its place among removals of one rank."""
        return 0


_OPTIONAL = (Setting.ALTNAME, Setting.MTU, Setting.ACCEPT_RA)
"""A name taken by another link, an MTU that the device cannot have, a sysctl that is read-only."""


@dataclass(frozen=True, slots=True)
class LinkSetting(KernelItem):
    """One setting of a link: administrative state, MTU, group, an alternative name, a sysctl."""

    link: LinkRef
    setting: Setting
    value: int | str

    rank = Rank.LINK

    @property
    def identity(self) -> tuple[object, ...]:
        name = self.value if self.setting is Setting.ALTNAME else None
        return ("link", self.link.index, self.setting, name)

    @property
    def optional(self) -> bool:
        return self.setting in _OPTIONAL

    def describe(self) -> str:
        if self.setting is Setting.UP:
            return f"link {self.link} {'up' if self.value else 'down'}"
        return f"link {self.link} {self.setting.value} {self.value}"


@dataclass(frozen=True, slots=True)
class Address(KernelItem):
    """An address on a link, always without the kernel's prefix route."""

    link: LinkRef
    interface: AnyInterface

    rank = Rank.ADDRESS

    @property
    def identity(self) -> tuple[object, ...]:
        return ("address", self.link.index, self.interface.ip)

    @property
    def version(self) -> int:
        return self.interface.version

    def serves(self, wanted: object) -> bool:
        """The same address on the same link does, with whatever prefix length."""
        return isinstance(wanted, Address)

    def describe(self) -> str:
        return f"address {self.interface} dev {self.link}"


@dataclass(frozen=True, slots=True)
class LaterAddress(Address):
    """An address that precedes the link's first one; ec2net must add it anew, behind the first one.

    It equals no address in place, so that a plan replaces that.
    """

    def describe(self) -> str:
        return f"address {self.interface} dev {self.link} behind the first"


@dataclass(frozen=True, slots=True)
class NextHop:
    """One of several next hops of a route (struct rtnexthop)."""

    link: LinkRef
    gateway: AnyAddress | None = None
    weight: int = 1
    encap: bytes = b""
    """As ``Route.encap``."""


@dataclass(frozen=True, slots=True)
class Route(KernelItem):
    """A route through a link. ``metric`` is RTA_PRIORITY; a gateway is always taken as on-link.

    A gateway may have the other IP version (RTA_VIA).
    """

    destination: AnyNetwork
    table: int
    metric: int
    link: LinkRef
    gateway: AnyAddress | None = None
    source: AnyAddress | None = None
    """Preferred source (RTA_PREFSRC)."""
    kind: RouteKind = RouteKind.UNICAST
    hops: tuple[NextHop, ...] = field(default=(), metadata=RARE)
    """Several next hops; ``link`` is theirs if it is the same for all."""
    encap: bytes = field(default=b"", metadata=RARE)
    """A tunnel, as attributes of netlink (RTA_ENCAP_TYPE and RTA_ENCAP)."""
    further: bytes = field(default=b"", metadata=RARE)
    """RTA_METRICS and RTA_FLOW, as attributes of netlink."""
    next_hop_object: int = field(default=0, metadata=RARE)
    """Its number (RTA_NH_ID); 0 without one. The kernel also names the object's link and gateway."""

    @property
    def is_plain(self) -> bool:
        """Whether it has at most a link and a gateway."""
        return not (self.hops or self.encap or self.next_hop_object)

    @property
    def links(self) -> tuple[LinkRef, ...]:
        """The links that it leads through, by next hop."""
        return tuple(hop.link for hop in self.hops) or (self.link,)

    def through(self, links: Collection[int]) -> "Route | None":
        """The part that leads through these links; None if no next hop does.

        The part of a next hop object is not the object any more. A part that leads through several
        links is of the kind ``OTHER``.
        """
        if not self.hops:
            return self if self.link.index in links else None
        hops = tuple(hop for hop in self.hops if hop.link.index in links)
        if len(hops) in (0, len(self.hops)):
            return self if hops else None
        if len({hop.link for hop in hops}) > 1:
            return replace(self, hops=hops, next_hop_object=0)
        part = replace(
            self, link=hops[0].link, kind=RouteKind.UNICAST, hops=hops, next_hop_object=0
        )
        if len(hops) > 1:
            return part
        return replace(part, hops=(), gateway=hops[0].gateway, encap=hops[0].encap)

    @property
    def rank(self) -> Rank:
        if self.table != MAIN_TABLE or not self.destination.prefixlen:
            return Rank.ROUTE
        return Rank.SUBNET if self.gateway is None and self.is_plain else Rank.DETOUR

    @property
    def optional(self) -> bool:
        """A copy of main's route in an ENI's table: by a gateway, or by more than that."""
        specific = self.destination.prefixlen > 0
        by_more = self.gateway is not None or not self.is_plain
        return specific and by_more and self.table not in (MAIN_TABLE, LOCAL_TABLE)

    @property
    def identity(self) -> tuple[object, ...]:
        return ("route", self.table, self.destination, self.metric)

    @property
    def purpose(self) -> Purpose:
        if self.kind is RouteKind.UNREACHABLE:
            return Purpose.GUARD
        return Purpose.FOREIGN if self.kind is RouteKind.OTHER else Purpose.LINK

    @property
    def clues(self) -> tuple[Clue, ...]:
        """A guard has no link, and a detour leads through another ENI than the one it is for.

        A correction for the primary may lead through a link that is no ENI, such as a bridge.
        """
        if self.purpose is Purpose.GUARD:
            return (of_table(self.table),)
        if self.rank is Rank.DETOUR:
            return (of_subnet(self.destination),)
        return (of_link(self.link.index), of_table(self.table))

    @property
    def version(self) -> int:
        return self.destination.version

    def serves(self, wanted: object) -> bool:
        """A route that leads the same way does, with whatever preferred source."""
        return isinstance(wanted, Route) and self._way == wanted._way

    @property
    def _way(self) -> tuple[object, ...]:
        return (self.link, self.gateway, self.kind, self.hops, self.encap, self.next_hop_object)

    def describe(self) -> str:
        default = self.destination.prefixlen == 0
        words = [] if self.kind is RouteKind.UNICAST else [self.kind.value]
        words.append("default" if default else str(self.destination))
        if self.encap:
            words.append("encap")
        if self.gateway is not None and not self.hops:
            other = "" if self.gateway.version == self.version else f"inet{self.gateway.version} "
            words.append(f"via {other.replace('inet4', 'inet')}{self.gateway}")
        words.append(f"dev {self.link}")
        if self.hops:
            words.append(f"by {len(self.hops)} next hops")
        if self.next_hop_object:
            words.append(f"nhid {self.next_hop_object}")
        words.append(f"table {_table(self.table)}")
        if self.source is not None:
            words.append(f"src {self.source}")
        if self.metric:
            words.append(f"metric {self.metric}")
        family = "-6 " if default and self.destination.version == 6 else ""
        return f"route {family}{' '.join(words)}"


@dataclass(frozen=True, slots=True)
class Mark:
    """Bits of a packet's mark (fwmark, ct mark): those of ``mask`` are ``value``."""

    value: int
    mask: int

    def __str__(self) -> str:
        return f"0x{self.value:x}/0x{self.mask:x}"


@dataclass(frozen=True, slots=True)
class Rule(KernelItem):
    """A policy rule: traffic from ``source`` looks up ``table`` (0 if it looks nothing up)."""

    source: AnyNetwork
    priority: int
    table: int
    suppress_prefixlength: int | None = None
    """A route with this prefix length or less does not count (FRA_SUPPRESS_PREFIXLEN)."""
    suppress_group: int | None = None
    """A route to a link of this group does not count (FRA_SUPPRESS_IFGROUP)."""
    mark: Mark | None = None
    """Only for packets with this mark (FRA_FWMARK, FRA_FWMASK)."""
    destination: AnyNetwork | None = None
    """Only for packets to there (FRA_DST)."""
    action: RuleAction = RuleAction.LOOKUP
    target: int = field(default=0, metadata=RARE)
    """The priority that the action ``GOTO`` continues with (FRA_GOTO). The table of such a rule tells
    its ENI: the kernel keeps the number, and does not use it."""

    link = None

    @property
    def purpose(self) -> Purpose:
        if self.mark is not None:
            return Purpose.ANSWERS
        if self.action in (RuleAction.GOTO, RuleAction.NOP):
            return Purpose.TREE
        if self.priority not in LAST_PRIORITIES:
            return Purpose.SOURCES
        return Purpose.CORRECTION if self.source.prefixlen else Purpose.NO_IPV4

    @property
    def clues(self) -> tuple[Clue, ...]:
        """The rules of one source lead to main and to a table; only the other rule names the table."""
        if self.purpose is Purpose.TREE:
            return (of_table(self.table),)
        of_host = self.purpose in (Purpose.NO_IPV4, Purpose.CORRECTION)
        return (of_table(self.table), OF_PRIMARY if of_host else of_source(self.source))

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def reveals(self) -> tuple[object, ...] | None:
        """nft is asked only where a rule goes by a mark."""
        return None if self.mark is None else _reply_marks(self.table)

    @property
    def rank(self) -> Rank:
        if self.purpose is Purpose.CORRECTION:
            return Rank.CORRECTION
        return Rank.FAILURE if self.action is RuleAction.UNREACHABLE else Rank.RULE

    @property
    def shared(self) -> bool:
        return self.action in (RuleAction.GOTO, RuleAction.NOP) and not self.table

    @property
    def in_tree(self) -> bool:
        """Whether it is part of the tree (``core/decide/rule_tree.py``)."""
        return self.purpose is Purpose.TREE or (
            self.purpose is Purpose.SOURCES and not self.source.prefixlen
        )

    @property
    def turn(self) -> int:
        """The rules of the tree's sources go first, then those of ENIs, which no other packet may
        reach; then what leads to nodes, the ends of nodes, and the end of the tree.

        The plain rule to a table goes before main-first, which then still precedes the tree.
        """
        if not self.in_tree:
            return 5 * _PRIORITIES - self.priority
        if self.table:
            return self.priority + (0 if self.source.prefixlen else _PRIORITIES)
        if self.source.prefixlen:
            return 2 * _PRIORITIES + self.priority
        is_end = self.action is RuleAction.NOP
        return 4 * _PRIORITIES + (self.priority if is_end else -self.priority)

    @property
    def identity(self) -> tuple[object, ...]:
        return ("rule", self)  # all of it: the kernel keeps rules that differ in anything

    def describe(self) -> str:
        words = [f"rule {self.priority}: from {self.source}"]
        if self.destination is not None:
            words.append(f"to {self.destination}")
        if self.mark is not None:
            words.append(f"fwmark {self.mark}")
        words.append(self.action.value)
        if self.action is RuleAction.LOOKUP:
            words.append(_table(self.table))
        if self.action is RuleAction.GOTO:
            words.append(str(self.target))
        if self.suppress_prefixlength is not None:
            words.append(f"suppress_prefixlength {self.suppress_prefixlength}")
        if self.suppress_group is not None:
            words.append(f"suppress_ifgroup {self.suppress_group}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class ReplyMarks(KernelItem):
    """An nftables table: what answers connections that came in by ``link`` gets ``mark``.

    In addition to a rule that leads packets with this mark to the routing table ``table``.
    """

    link: LinkRef
    table: int
    mark: Mark

    rank = Rank.MARKS

    @property
    def identity(self) -> tuple[object, ...]:
        return _reply_marks(self.table)

    @property
    def optional(self) -> bool:
        """Only what is handed on needs the marks."""
        return True

    def describe(self) -> str:
        return f"nft: answers to what came in by {self.link} get mark {self.mark}"


KernelObject: TypeAlias = LinkSetting | Address | Route | Rule | ReplyMarks
"""An object that live changes add to the kernel."""


def _reply_marks(table: int) -> tuple[object, ...]:
    return ("reply marks", table)


def _table(table: int) -> str:
    return {MAIN_TABLE: "main", LOCAL_TABLE: "local"}.get(table, str(table))
