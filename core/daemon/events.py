# SPDX-License-Identifier: Apache-2.0
"""Kernel events: does one concern an owned object, or the link of an ENI?

The filter reads bytes, since routers and container hosts cause events all the time. A lost event
costs nothing: an overrun counts as every event, and each pass reads everything.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass

from ec2net.core.kernel import wire
from ec2net.core.kernel.driver import Drivers
from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.model.objects import MAIN_TABLE

# include/uapi/linux/rtnetlink.h
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_DELRULE = 24, 25, 33
_RTM_DELNEXTHOP = 105
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
_ROUTE_TABLE, _ROUTE_PROTOCOL = 4, 5
"""Offsets in struct rtmsg."""
_RTA_OIF = 4
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
    routes: bool = False
    """Others changed main's routes through an ENI, or next hops."""

    def __or__(self, other: "Changes") -> "Changes":
        return Changes(
            self.links or other.links,
            self.drift or other.drift,
            self.addresses or other.addresses,
            self.routes or other.routes,
        )


EVERYTHING = Changes(links=True, drift=True, addresses=True, routes=True)


class HostEvents(KernelEvents):
    """Events of links, addresses, routes and rules of this network namespace."""

    def __init__(self, protocol: int, drivers: Collection[str]) -> None:
        """``protocol`` is our mark; links with one of ``drivers`` can be ENIs."""
        super().__init__(_GROUPS)
        self._protocol = protocol
        self._drivers = frozenset(drivers)
        self._enis: dict[int, object] = {}
        self._others: set[int] = set()

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
                for kind, _, _, raw in wire.messages(data):
                    changes |= self._sift(kind, raw, drivers)
        return changes

    def _sift(self, kind: int, raw: bytes, drivers: Drivers) -> Changes:
        if kind in (_RTM_NEWLINK, _RTM_DELLINK):
            return Changes(links=self._link(kind, raw, drivers))
        if kind in (_RTM_NEWADDR, _RTM_DELADDR):
            ours = _INDEX.unpack_from(raw, _BODY)[0] in self._enis
            return Changes(drift=ours and kind == _RTM_DELADDR, addresses=ours)
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE):
            return self._route(kind, raw)
        if kind == _RTM_DELNEXTHOP:
            return Changes(routes=True)
        if kind == _RTM_DELRULE:
            mark = wire.attribute_of(raw, wire.RULES, _FRA_PROTOCOL)
            return Changes(drift=mark == bytes((self._protocol,)))
        return Changes()

    def _route(self, kind: int, raw: bytes) -> Changes:
        if raw[_BODY + _ROUTE_PROTOCOL] == self._protocol:
            return Changes(drift=kind == _RTM_DELROUTE)
        if raw[_BODY + _ROUTE_TABLE] != MAIN_TABLE:
            return Changes()
        return Changes(routes=wire.number(raw, wire.ROUTES, _RTA_OIF) in self._enis)

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
