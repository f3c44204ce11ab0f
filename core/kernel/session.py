# SPDX-License-Identifier: Apache-2.0
"""A conversation with the kernel over rtnetlink: dumps, changes, one route lookup.

Each request is answered by the kernel itself at once, so none of them waits. Family is always
explicit and names are resolved from dumps: both are traps of pyroute2 otherwise.
"""

import errno
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address
from typing import Self

from ec2net.core.kernel import decode, dump, encode, policy_rules, pyroute, sysctl, wire
from ec2net.core.kernel.driver import Drivers
from ec2net.core.kernel.encode import Verb
from ec2net.core.kernel.policy_rules import ForeignRule
from ec2net.core.kernel.relevance import RelevantRoutes
from ec2net.core.kernel.request import Requests
from ec2net.core.model.errors import KernelError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac, link_name
from ec2net.core.model.numbers import IPV6_MTU_MIN
from ec2net.core.model.objects import (
    Address,
    AnyAddress,
    AnyNetwork,
    KernelObject,
    LinkRef,
    LinkSetting,
    ReplyMarks,
    Route,
    Rule,
    Setting,
)
from ec2net.core.model.snapshot import AddressState, Found, Snapshot

_FAMILIES = (socket.AF_INET, socket.AF_INET6)

_RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 4, 5, 7, 15
"""include/uapi/linux/rtnetlink.h"""

_REMEDIES = {
    errno.EPERM: "run as root or with CAP_NET_ADMIN",
    errno.EACCES: "run as root or with CAP_NET_ADMIN; or IPv6 is off on the link",
    errno.ENODEV: "the link was removed",
}


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """The result of RTM_GETROUTE: the way that a packet would take."""

    link: int
    """Index of the outgoing link."""
    gateway: AnyAddress | None
    source: AnyAddress | None
    table: int = 0
    """The table that the route is from."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which of main's routes a pass asks for: to the ENIs' subnets, and through secondary ENIs.

    Without ``primary`` it is not known which ENIs are secondary ones.
    """

    subnets: tuple[AnyNetwork, ...] = ()
    primary: Mac | None = None

    def about(self, link: Link) -> bool:
        """Whether routes through the link of an ENI are asked for."""
        return self.primary is not None and link.mac != self.primary


NOT_ASKED = Asked()


class Kernel:
    """A session with the kernel, as a context manager; ``protocol`` marks the objects that it adds.

    ``tables`` are the tables of ENIs, so that others' need not be read (None: all above 255).
    """

    def __init__(self, protocol: int, tables: range | None = None) -> None:
        self.protocol = protocol
        self.tables = tables
        self._check: Callable[[], None] = lambda: None
        self._last: tuple[object, Snapshot] | None = None

    @cached_property
    def marks_addresses(self) -> bool:
        """Whether an address can carry a protocol number (IFA_PROTO, Linux 5.18)."""
        return pyroute.knows_address_protocol() and _kernel_release() >= (5, 18)

    @cached_property
    def _requests(self) -> Requests:
        """The socket for changes and lookups; the first of them opens it."""
        return Requests()

    @cached_property
    def _dumps(self) -> dump.Dumps:
        return dump.Dumps(lambda: self._check())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if "_requests" in self.__dict__:
            self._requests.close()
        if "_dumps" in self.__dict__:
            self._dumps.close()

    @contextmanager
    def checked(self, check: Callable[[], None]) -> Iterator[None]:
        """Dumps in this block call ``check`` now and then, and end by what it raises.

        The dumps of a large host take some seconds of CPU in a new process.
        """
        self._check, before = check, self._check
        try:
            yield
        finally:
            self._check = before

    def links(self) -> tuple[Link, ...]:
        """All links of this network namespace."""
        with self._errors("reading links"), Drivers() as drivers:
            found = self._dumps.read(
                wire.LINKS, lambda raw: decode.link(decode.message(raw, wire.LINKS))
            )
            # A link without a MAC is no ENI, so its driver does not matter.
            return tuple(
                replace(link, driver=drivers.of(link.name)) if link.mac is not None else link
                for link in found
            )

    def names(self, drivers: Collection[str]) -> tuple[str, ...]:
        """The names of the links with these drivers; reads nothing else of them."""
        with self._errors("reading links"), Drivers() as asked:
            names = [link_name(name) for _, name in socket.if_nameindex()]
            return tuple(name for name in names if asked.of(name) in drivers)

    def snapshot(self, drivers: Iterable[str], asked: Asked = NOT_ASKED) -> Snapshot:
        """All relevant objects, by one dump of each kind; sysctls of links with these drivers.

        ``relevance`` selects the foreign routes; ``asked`` adds routes of main. The very same
        snapshot is returned as long as nothing has changed.
        """
        drivers = frozenset(drivers)
        links = tuple(_with_ipv6(link) if link.driver in drivers else link for link in self.links())
        names = {link.index: link.name for link in links}
        with self._errors("reading addresses, routes and rules"):
            addresses = self._dumps.read(
                wire.ADDRESSES,
                lambda raw: decode.address(raw, names),
                context=names,
            )
            through = [link.index for link in links if link.driver in drivers and asked.about(link)]
            vrfs = _vrf_tables(links, drivers)
            relevant = RelevantRoutes(self.protocol, self.tables, asked.subnets, through, vrfs)
            routes = [self._routes(family, relevant, names) for family in _FAMILIES]
            rules = [self._rules(family) for family in _FAMILIES]
            state = self._state()
        accept_ra = _accept_ra(link for link in links if link.driver in drivers)
        parts = (links, addresses, *routes, *rules, accept_ra, state)
        if self._last is None or self._last[0] != parts:
            foreign = [one for same in rules for one in same if isinstance(one, ForeignRule)]
            self._last = (
                parts,
                Snapshot(
                    links,
                    addresses,
                    tuple(route for same in routes for route in same),
                    _modelled(rules),
                    accept_ra,
                    tuple(one.rule for one in foreign),
                    state,
                    _further(foreign),
                ),
            )
        return self._last[1]

    def _state(self) -> int:
        """A hash of everything in the dumps that may change the way of a packet."""
        dumps = [(kind, family) for kind in (wire.ROUTES, wire.RULES) for family in _FAMILIES]
        dumps += [(wire.LINKS, socket.AF_UNSPEC), (wire.ADDRESSES, socket.AF_UNSPEC)]
        return hash(tuple(self._dumps.state(*one) for one in dumps))

    def _routes(
        self, family: int, relevant: RelevantRoutes, names: Mapping[int, str]
    ) -> tuple[Found[Route], ...]:
        return self._dumps.read(
            wire.ROUTES,
            lambda raw: decode.route(decode.message(raw, wire.ROUTES), names),
            family=family,
            wanted=relevant,
            context=names,
        )

    def _rules(self, family: int) -> tuple[Found[Rule] | ForeignRule, ...]:
        return self._dumps.read(
            wire.RULES, lambda raw: policy_rules.read(raw, self.protocol), family=family
        )

    def addresses(self) -> frozenset[AnyAddress]:
        """Every address of this network namespace, on whatever link."""
        with self._errors("reading addresses"):
            found = self._dumps.read(wire.ADDRESSES, lambda raw: decode.address(raw, {}))
            return frozenset(entry.item.interface.ip for entry in found)

    def address_states(self, names: Mapping[int, str]) -> tuple[AddressState, ...]:
        """The state of every address. ``names``: link names by index."""
        with self._errors("reading addresses"):
            return self._dumps.read(
                wire.ADDRESS_STATES,
                lambda raw: decode.address_state(raw, names),
                context=dict(names),
            )

    def lookup(
        self,
        destination: AnyAddress,
        source: AnyAddress | None = None,
        *,
        through: int = 0,
        into: int = 0,
        mark: int = 0,
    ) -> RouteAnswer:
        """Ask for the way from ``source`` to ``destination``. Raises ``KernelError``.

        Without ``source``: for a packet whose sender leaves the choice of it to the kernel.
        ``through``, ``into`` and ``mark`` as of ``encode.lookup``.
        """
        doing = f"looking up {destination}" + (f" from {source}" if source else "")
        with self._errors(doing):
            answer = self._requests.send(
                encode.lookup(destination, source, through=through, into=into, mark=mark)
            )
        if answer is None:
            raise KernelError(f"{doing}: no answer")
        gateway, own = (
            wire.attribute_of(answer, wire.ROUTES, each) for each in (_RTA_GATEWAY, _RTA_PREFSRC)
        )
        return RouteAnswer(
            wire.number(answer, wire.ROUTES, _RTA_OIF) or 0,
            ip_address(gateway) if gateway else None,
            ip_address(own) if own else None,
            wire.number(answer, wire.ROUTES, _RTA_TABLE) or 0,
        )

    def route_of(
        self,
        destination: AnyAddress,
        source: AnyAddress | None,
        names: Mapping[int, str],
        *,
        through: int = 0,
        into: int = 0,
    ) -> Route | None:
        """The route that such a packet takes; None if the kernel does not report it. ``names``: link
        names by index; the others as of ``lookup``."""
        asked = encode.lookup(destination, source, through=through, into=into, matched=True)
        try:
            answer = self._requests.send(asked)
        except OSError:
            return None
        if answer is None:
            return None
        found = decode.route(decode.message(answer, wire.ROUTES), names)
        return found.item if found is not None else None

    def reply_marks(self) -> tuple[ReplyMarks, ...]:
        """ec2net's tables of nftables. Raises ``KernelError``."""
        from ec2net.core.kernel import nft  # only with published_ports

        return nft.read()

    def add(self, item: KernelObject) -> None:
        """Make ``item``; it must not be there. Raises ``KernelError``."""
        self._change(Verb.ADD, item)

    def replace(self, item: KernelObject) -> None:
        """Make ``item`` in place of what has its identity. Raises ``KernelError``."""
        self._change(Verb.REPLACE, item)

    def move(self, before: Address, item: Address) -> None:
        """Remove ``before`` and create ``item`` in one call. Raises ``KernelError``.

        Between two calls, other programs on a busy machine would miss the address (0.3 s in the lab
        on a loaded machine, after ``networkctl reconfigure`` on systemd 252).
        """
        protocol = self.protocol if self.marks_addresses else None
        with self._errors(f"move {item.describe()}"), _keeping_secondaries(before):
            self._requests.send(
                encode.address(Verb.ADD, item, protocol),
                after=encode.address(Verb.REMOVE, before, protocol),
            )

    def remove(self, item: KernelObject) -> None:
        """Remove ``item``; not being there (any more) is success. Raises ``KernelError``."""
        try:
            with _keeping_secondaries(item):
                self._change(Verb.REMOVE, item)
        except KernelError as error:
            # ENXIO: the link has no IPv6 any more (inet6_addr_del).
            gone = (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO)
            if error.errno not in gone:
                raise

    def _change(self, verb: Verb, item: KernelObject) -> None:
        with self._errors(f"{verb.value} {item.describe()}"):
            match item:
                case Address():
                    protocol = self.protocol if self.marks_addresses else None
                    self._requests.send(encode.address(verb, item, protocol))
                case Route():
                    self._requests.send(encode.route(verb, item, self.protocol))
                case Rule():
                    self._requests.send(encode.rule(verb, item, self.protocol))
                case ReplyMarks():
                    from ec2net.core.kernel import nft  # only with published_ports

                    nft.remove(item) if verb is Verb.REMOVE else nft.write(item)
                case LinkSetting(setting=Setting.ACCEPT_RA):
                    # By its present name: after a renaming the old one may be another link's.
                    link = socket.if_indextoname(item.link.index)
                    sysctl.write_accept_ra(link, int(item.value))
                case LinkSetting():
                    self._requests.send(encode.link(verb, item))

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """The kernel's refusals as our errors, with what was being done."""
        try:
            yield
        except OSError as error:
            raise _refused(doing, error) from error


def _keeping_secondaries(item: KernelObject) -> AbstractContextManager[None]:
    """Neither a /32 nor an IPv6 address has any."""
    if isinstance(item, Address) and item.interface.network.prefixlen < 32:
        with suppress(OSError):  # the link is gone
            return sysctl.keeping_secondaries(socket.if_indextoname(item.link.index))
    return nullcontext()


def _refused(doing: str, error: OSError) -> KernelError:
    """With the text of the kernel's extended ACK, where it has one."""
    code = error.errno or 0
    name, usual = errno.errorcode.get(code, str(code)), os.strerror(code)
    reason = f"{usual} ({name})" if code else "unknown error"
    if code and error.strerror not in (None, "", usual):
        reason += f', "{error.strerror}"'
    return KernelError(f"{doing}: {reason}", remedy=_REMEDIES.get(code, ""), errno=code)


def _modelled(rules: Iterable[Iterable[Found[Rule] | ForeignRule]]) -> tuple[Found[Rule], ...]:
    """The rules that can be objects of a plan."""
    found = (
        one.modelled if isinstance(one, ForeignRule) else one for same in rules for one in same
    )
    return tuple(one for one in found if one is not None)


def _further(foreign: Iterable[ForeignRule]) -> frozenset[tuple[int, int]]:
    """IP version and priority of the rules that cannot be objects of a plan."""
    return frozenset(
        (one.rule.version, one.rule.priority) for one in foreign if one.modelled is None
    )


def _with_ipv6(link: Link) -> Link:
    ipv6 = sysctl.has_ipv6(link.name)
    by_mtu = not ipv6 and link.mtu < IPV6_MTU_MIN and sysctl.is_off_by_mtu(link.name)
    return replace(link, ipv6=ipv6, ipv6_off_by_mtu=by_mtu)


def _vrf_tables(links: Collection[Link], drivers: Collection[str]) -> frozenset[int]:
    """The tables of VRFs with ports of these drivers."""
    masters = {link.master for link in links if link.driver in drivers}
    return frozenset(one.vrf_table for one in links if one.vrf_table and one.index in masters)


def _accept_ra(links: Iterable[Link]) -> tuple[LinkSetting, ...]:
    values = []
    for link in links:
        value = sysctl.read_accept_ra(link.name)
        if value is not None:
            values.append(LinkSetting(LinkRef(link.index, link.name), Setting.ACCEPT_RA, value))
    return tuple(values)


def _kernel_release() -> tuple[int, int]:
    numbers = os.uname().release.split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (IndexError, ValueError):
        return (0, 0)
