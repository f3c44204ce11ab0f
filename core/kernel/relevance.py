# SPDX-License-Identifier: Apache-2.0
"""Which routes of a dump are relevant, decided by their bytes.

Relevant are ec2net's routes in all tables, and main's default routes, routes to ENIs' subnets and
routes through secondary ENIs. Foreign routes in ENIs' tables and foreign local routes are relevant,
too. Main's other routes (a router's million) and the kernel's own ones in the local table are not:
no route of ec2net could conflict with them.
"""

import socket
import struct
from collections.abc import Iterable
from functools import lru_cache

from ec2net.core.kernel import next_hops, wire
from ec2net.core.model.objects import LOCAL_TABLE, MAIN_TABLE, AnyNetwork
from ec2net.core.model.policy_rule import KERNEL

_RTMSG = struct.Struct("=8BI")
"""struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}
_ONE_LINK = struct.pack("=HH", 8, _RTA_OIF)
"""A route with several next hops has RTA_MULTIPATH instead."""
_RTM_F_CLONED = 0x200


@lru_cache(maxsize=1)  # the same subnets pass after pass; 7 ms for those of 64 ENIs
def _around(subnets: tuple[AnyNetwork, ...]) -> frozenset[tuple[int, int, bytes]]:
    """Version, length and address of each network that one of ``subnets`` is a part of."""
    return frozenset(
        (subnet.version, length, subnet.supernet(new_prefix=length).network_address.packed)
        for subnet in subnets
        for length in range(1, subnet.prefixlen + 1)
    )


LAST_SMALL_TABLE = 255
"""Tables above are no host's standard ones, and only RTA_TABLE and FRA_TABLE hold their numbers."""


class RelevantRoutes:
    """A predicate on raw RTM_NEWROUTE messages."""

    def __init__(
        self,
        protocol: int,
        tables: range | None,
        subnets: Iterable[AnyNetwork] = (),
        links: Iterable[int] = (),
        vrfs: Iterable[int] = (),
    ) -> None:
        """``protocol`` is ec2net's mark; ``tables`` are ENIs' (None: all above 255).

        Routes of main are relevant if they contain one of ``subnets`` or lead through ``links``.
        ``vrfs``: tables of ENIs' VRFs, whose default routes and routes to ``subnets`` are relevant.
        """
        self._inputs = protocol, tables, tuple(subnets), frozenset(links), frozenset(vrfs)
        self._protocol = protocol
        self._tables = tables
        self._around = _around(self._inputs[2])
        self._lengths = {(version, length) for version, length, _ in self._around}
        self._links = self._inputs[3]
        self._through = [struct.pack("=HHI", 8, _RTA_OIF, index) for index in self._links]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelevantRoutes) and self._inputs == other._inputs

    def __hash__(self) -> int:
        return hash(self._inputs)

    def __call__(self, raw: bytes) -> bool:
        family, length, _, _, table, protocol, _, _, flags = _RTMSG.unpack_from(
            raw, wire.HEADER.size
        )
        if flags & _RTM_F_CLONED:
            return False
        if protocol == self._protocol:
            return True
        if table == MAIN_TABLE:
            return (
                bool(length == 0)
                or self._is_around(_VERSIONS.get(family, 0), length, raw)
                or self._is_through(raw)
            )
        if table == LOCAL_TABLE:
            return bool(protocol != KERNEL)
        whole = wire.number(raw, wire.ROUTES, _RTA_TABLE) or table
        if whole in self._inputs[4]:
            return length == 0 or self._is_around(_VERSIONS.get(family, 0), length, raw)
        return whole > LAST_SMALL_TABLE if self._tables is None else whole in self._tables

    def _is_around(self, version: int, length: int, raw: bytes) -> bool:
        """Whether the route's destination has a subnet as its part."""
        if (version, length) not in self._lengths:
            return False
        destination = wire.attribute_of(raw, wire.ROUTES, _RTA_DST)
        return (version, length, destination) in self._around

    def _is_through(self, raw: bytes) -> bool:
        """The attribute as bytes is looked for first: that is quick, and a million routes have none."""
        if _ONE_LINK in raw and not any(through in raw for through in self._through):
            return False
        return not self._links.isdisjoint(next_hops.links(raw))
