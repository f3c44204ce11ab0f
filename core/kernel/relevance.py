# SPDX-License-Identifier: Apache-2.0
"""Which routes of a dump are relevant, decided by their bytes.

Relevant are ec2net's routes in all tables, main's default routes, foreign routes in ENIs' tables,
and foreign local routes. Irrelevant are main's other routes (a router's million) and the kernel's
own ones in the local table: no route of ec2net could conflict with them.
"""

import struct

from ec2net.core.kernel import wire
from ec2net.core.model.objects import LOCAL_TABLE, MAIN_TABLE

_RTMSG = struct.Struct("=8BI")
"""struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
_RTA_TABLE = 15
_RTPROT_KERNEL = 2
_RTM_F_CLONED = 0x200

LAST_SMALL_TABLE = 255
"""Tables above are no host's standard ones, and only RTA_TABLE and FRA_TABLE hold their numbers."""


class RelevantRoutes:
    """A predicate on raw RTM_NEWROUTE messages."""

    def __init__(self, protocol: int, tables: range | None) -> None:
        """``protocol`` is our mark; ``tables`` are ENIs' (None: all above 255)."""
        self._protocol = protocol
        self._tables = tables

    def __call__(self, raw: bytes) -> bool:
        _, length, _, _, table, protocol, _, _, flags = _RTMSG.unpack_from(raw, wire.HEADER.size)
        if flags & _RTM_F_CLONED:
            return False
        if protocol == self._protocol:
            return True
        if table == MAIN_TABLE:
            return bool(length == 0)
        if table == LOCAL_TABLE:
            return bool(protocol != _RTPROT_KERNEL)
        whole = wire.number(raw, wire.ROUTES, _RTA_TABLE) or table
        return whole > LAST_SMALL_TABLE if self._tables is None else whole in self._tables
