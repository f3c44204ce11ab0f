# SPDX-License-Identifier: Apache-2.0
"""Whether a neighbour answers ARP or neighbour solicitations, asked and awaited by netlink.

The kernel resolves (net/core/neighbour.c) and sends all packets. ec2net needs no answer to ping and
no permission to send IP traffic. The message is so small that this module builds it.
"""

import socket
import struct

from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.kernel.request import NLM_F_ACK, NLM_F_CREATE
from ec2net.core.kernel.wire import ATTRIBUTE, HEADER, NLM_F_REQUEST
from ec2net.core.model.objects import AnyAddress

_RTMGRP_NEIGH = 0x4
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_NDA_DST = 1
_NTF_USE = 0x1
_REACHABLE, _STALE, _DELAY, _PROBE, _FAILED, _NOARP, _PERMANENT = (1 << bit for bit in range(1, 8))
"""NUD_* (include/uapi/linux/neighbour.h)."""
_INCOMPLETE = 0x01

_NDMSG = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, link, state, flags, type."""


class Neighbours(KernelEvents):
    """It is readable when something about any neighbour changed."""

    def __init__(self) -> None:
        super().__init__(_RTMGRP_NEIGH)
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._requests = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)

    def close(self) -> None:
        self._requests.close()
        super().close()

    def answers(self, link: int, address: AnyAddress) -> bool:
        """Whether it is known to have answered (within some 30 s), or needs no asking."""
        return bool(self._state(link, address) & (_REACHABLE | _NOARP | _PERMANENT))

    def has_answered(self, link: int, address: AnyAddress) -> bool | None:
        """Whether it ever answered. False: it left three solicitations unanswered. None: the kernel
        does not know yet."""
        state = self._state(link, address)
        if state & _FAILED:
            return False
        return True if state & ~_INCOMPLETE else None

    def ask(self, link: int, address: AnyAddress) -> None:
        """Resolve the neighbour now, even if it answered a moment ago: ``answers`` is false until
        then.

        NTF_USE trusts a stale entry for 5 s more (DELAY) before the kernel asks, and a permanent
        entry loses its state (6.18). ec2net uses it on neither.
        """
        state = self._state(link, address)
        if state & (_REACHABLE | _STALE | _DELAY):
            self._request(_RTM_NEWNEIGH, NLM_F_ACK, link, address, state=_PROBE)
        elif not state & (_PROBE | _NOARP | _PERMANENT):
            self._request(_RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE, link, address, flags=_NTF_USE)

    def _state(self, link: int, address: AnyAddress) -> int:
        """NUD_* of the entry; 0 if there is none."""
        answer = self._request(_RTM_GETNEIGH, 0, link, address)
        if len(answer) < HEADER.size + _NDMSG.size or HEADER.unpack_from(answer)[1] != (
            _RTM_NEWNEIGH
        ):
            return 0
        state: int = _NDMSG.unpack_from(answer, HEADER.size)[2]
        return state

    def _request(
        self, kind: int, how: int, link: int, address: AnyAddress, *, state: int = 0, flags: int = 0
    ) -> bytes:
        """The kernel's answer, which is queued before the call that asks returns.

        An error is an answer too; empty if there is none.
        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = _NDMSG.pack(family, link, state, flags, 0)
        body += ATTRIBUTE.pack(ATTRIBUTE.size + len(address.packed), _NDA_DST) + address.packed
        size = HEADER.size + len(body)
        try:
            self._requests.send(HEADER.pack(size, kind, NLM_F_REQUEST | how, 1, 0) + body)
            return self._requests.recv(65536)
        except OSError:
            return b""
