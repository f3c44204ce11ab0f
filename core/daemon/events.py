# SPDX-License-Identifier: Apache-2.0
"""Kernel events: does one concern an owned object, or the link of an ENI?

The filter reads bytes, since routers and container hosts cause events all the time. A lost event
costs nothing: an overrun counts as every event, and each pass reads everything.
"""

import socket
import struct
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass

from ec2net.core.kernel import next_hops, wire
from ec2net.core.kernel.driver import Drivers
from ec2net.core.kernel.dump import Dumps
from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.kernel.request import NLM_F_REPLACE
from ec2net.core.model.objects import LOCAL_TABLE, MAIN_TABLE

# include/uapi/linux/rtnetlink.h
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTM_NEWRULE, _RTM_DELRULE = 32, 33
_RTM_NEWNEXTHOP, _RTM_DELNEXTHOP = 104, 105
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18 | 1 << 31
"""RTMGRP_LINK, then IFADDR, ROUTE and RULE of IPv4 and IPv6; RTNLGRP_NEXTHOP (Linux 5.3), since the
IPv4 routes of a next hop object go with it without an event."""

_INDEX = struct.Struct("=4xiI")
"""Offsets in struct ifinfomsg: index and flags; struct ifaddrmsg has its index at the same offset.
"""
_BODY = wire.HEADER.size
"""Offset: behind struct nlmsghdr."""
_IFF_UP = 1
_IFNAME, _MTU, _MASTER, _GROUP = 3, 4, 10, 27
_LENGTH, _TABLE, _ROUTE_PROTOCOL, _FLAGS = 1, 4, 5, 8
"""Offsets in struct rtmsg."""
_BODY_OF_ONLY = _BODY + wire.ROUTES.body
_RTA_DST, _RTA_TABLE = 1, 15
_ROUTES = 1024
"""Foreign routes that are remembered: a host has a few default routes and routes through ENIs."""
_FRA_PROTOCOL = 21


@dataclass(frozen=True, slots=True)
class Changes:
    """The events since the last call."""

    links: bool = False
    """The link of an ENI appeared, disappeared, was renamed, set up or down, or got another master.
    """
    drift: bool = False
    """An object that ec2net may own was removed."""
    addresses: bool = False
    """An ENI got an address: a lease, perhaps, that something waits for."""
    routing: bool = False
    """Another tool changed a rule, or a route that can take an ENI's traffic."""
    routes: bool = False
    """Others changed main's routes through an ENI, or next hops."""

    def __or__(self, other: "Changes") -> "Changes":
        return Changes(
            self.links or other.links,
            self.drift or other.drift,
            self.addresses or other.addresses,
            self.routing or other.routing,
            self.routes or other.routes,
        )


EVERYTHING = Changes(links=True, drift=True, addresses=True, routing=True, routes=True)


class HostEvents(KernelEvents):
    """Events of links, addresses, routes and rules of this network namespace."""

    def __init__(self, protocol: int, drivers: Collection[str], tables: range = range(0)) -> None:
        """``protocol`` is our mark; links with one of ``drivers`` can be ENIs, which have ``tables``."""
        super().__init__(_GROUPS)
        self._protocol = protocol
        self._tables = tables
        self._routes: set[bytes] = set()
        self._copied: set[bytes] = set()
        self._drivers = frozenset(drivers)
        self._enis: dict[int, object] = {}
        self._others: set[int] = set()

    def follow(self) -> None:
        """Read the copies of main's routes that an earlier process made. Raises ``OSError``."""
        with closing(Dumps()) as dumps:
            for family in (socket.AF_INET, socket.AF_INET6):
                for raw in dumps.read(wire.ROUTES, bytes, family=family, wanted=self._is_ours):
                    self._note(raw, there=True)

    def _is_ours(self, raw: bytes) -> bool:
        return raw[_BODY + _ROUTE_PROTOCOL] == self._protocol

    def watch(self, enis: Collection[int]) -> None:
        """Indices of the links that are ENIs."""
        self._enis = {index: self._enis.get(index) for index in enis}
        self._others.difference_update(enis)

    def taken(self) -> Changes:
        """Consume what is queued."""
        changes = Changes()
        with Drivers() as drivers:
            for data in self.queued():
                if data is None:
                    changes |= EVERYTHING
                    continue
                for kind, flags, _, raw in wire.messages(data):
                    replaces = bool(flags & NLM_F_REPLACE)
                    changes |= self._sift(kind, raw, drivers, replaces=replaces)
        return changes

    def _sift(self, kind: int, raw: bytes, drivers: Drivers, *, replaces: bool) -> Changes:
        if kind in (_RTM_NEWLINK, _RTM_DELLINK):
            return Changes(links=self._link(kind, raw, drivers))
        if kind in (_RTM_NEWADDR, _RTM_DELADDR):
            ours = _INDEX.unpack_from(raw, _BODY)[0] in self._enis
            return Changes(drift=ours and kind == _RTM_DELADDR, addresses=ours)
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE):
            return self._route(kind, raw, replaces=replaces)
        if kind == _RTM_DELNEXTHOP or (kind == _RTM_NEWNEXTHOP and replaces):
            return Changes(routes=True)
        if kind in (_RTM_NEWRULE, _RTM_DELRULE):
            mark = wire.attribute_of(raw, wire.RULES, _FRA_PROTOCOL)
            if mark == bytes((self._protocol,)):
                return Changes(drift=kind == _RTM_DELRULE)
            return Changes(routing=True)
        return Changes()

    def _route(self, kind: int, raw: bytes, *, replaces: bool) -> Changes:
        if raw[_BODY + _ROUTE_PROTOCOL] == self._protocol:
            self._note(raw, there=kind == _RTM_NEWROUTE)
            return Changes(drift=kind == _RTM_DELROUTE)
        by_eni = not self._enis.keys().isdisjoint(next_hops.links(raw))
        in_main = raw[_BODY + _TABLE] == MAIN_TABLE
        routing = self._matters(kind, raw, by_eni=by_eni)
        # A replaced route has no RTM_DELROUTE, and the new one may lead through no ENI.
        of_copy = replaces and _destination(raw) in self._copied
        return Changes(routing=routing, routes=in_main and (by_eni or of_copy))

    def _note(self, raw: bytes, *, there: bool) -> None:
        """Keep the destinations of ec2net's routes in tables of ENIs, defaults excepted."""
        table = wire.number(raw, wire.ROUTES, _RTA_TABLE)
        if not raw[_BODY + _LENGTH] or table not in self._tables:
            return
        (self._copied.add if there else self._copied.discard)(_destination(raw))

    def _matters(self, kind: int, raw: bytes, *, by_eni: bool) -> bool:
        """Whether a foreign route can take an ENI's traffic: a default route, one through an ENI, or
        one in the table of an ENI. A repeated announcement is no news."""
        length, table = raw[_BODY + _LENGTH], raw[_BODY + _TABLE]
        if table == LOCAL_TABLE:
            return False
        whole = wire.number(raw, wire.ROUTES, _RTA_TABLE) or table
        if length and whole not in self._tables and not by_eni:
            return False
        route = raw[_BODY : _BODY + _FLAGS] + wire.only(raw, wire.ROUTES)[_BODY_OF_ONLY:]
        if kind == _RTM_NEWROUTE and route in self._routes:
            return False
        self._routes.discard(route)
        if kind == _RTM_NEWROUTE and len(self._routes) < _ROUTES:
            self._routes.add(route)
        return True

    def _link(self, kind: int, raw: bytes, drivers: Drivers) -> bool:
        index, flags = _INDEX.unpack_from(raw, _BODY)
        if raw[_BODY] != 0:
            return False  # AF_BRIDGE and the like: about a port's bridge, not about a link
        if kind == _RTM_DELLINK:
            self._others.discard(index)
            return index in self._enis
        name = wire.attribute_of(raw, wire.LINKS, _IFNAME) or b""
        if index not in self._enis:
            if index in self._others:
                return False
            driver = drivers.of(name.rstrip(b"\0").decode("utf-8", "surrogateescape"))
            if driver and driver not in self._drivers:
                self._others.add(index)
            # No answer proves nothing: the name may be old (udev renames), or the device is being
            # reset.
            return driver in self._drivers
        looks = (
            flags & _IFF_UP,
            name,
            *(wire.attribute_of(raw, wire.LINKS, each) for each in (_MTU, _MASTER, _GROUP)),
        )
        before, self._enis[index] = self._enis[index], looks
        return before != looks


def _destination(raw: bytes) -> bytes:
    """The family, length and address of a route's destination."""
    address = wire.attribute_of(raw, wire.ROUTES, _RTA_DST) or b""
    return raw[_BODY : _BODY + _LENGTH + 1] + address
