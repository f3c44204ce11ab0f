# SPDX-License-Identifier: Apache-2.0
"""Link events: wait for a link, and notice at once when it goes. No polling, no library.

The kernel says *that* links changed (RTMGRP_LINK); whether the one in question is there is then
asked directly (SIOCGIFINDEX), so nothing is parsed and a lost event costs nothing: the socket
that overflowed is readable too. A link that moves to another network namespace is gone here.
"""

import errno
import socket
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from ec2net.core.kernel.packet_filter import Word, attach
from ec2net.core.model import identity
from ec2net.core.model.errors import DeadlineExceeded, LinkGone
from ec2net.core.runtime.deadline import Deadline

T = TypeVar("T")

_RTMGRP_LINK = 1

_LARGEST = 65536
"""Bytes of an event; the largest is a link's, some two thousand."""


class KernelEvents:
    """A subscription to the kernel's multicast messages. Callers use only the fact that one
    arrived."""

    def __init__(self, groups: int, protocol: int = socket.NETLINK_ROUTE) -> None:
        """``groups`` is the mask of bind(2), RTMGRP_* for rtnetlink."""
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            protocol,
        )
        self._socket.bind((0, groups))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept_only(self, *words: Word) -> None:
        """Have the kernel drop other messages. Raises ``OSError``."""
        attach(self._socket, *words)

    def drain(self) -> None:
        """Consume what is queued; the caller looks for itself at what changed."""
        for _ in self.queued():
            pass

    def wait_for(self, look: Callable[[], T | None], limit: Deadline) -> T:
        """Wait until ``look``, called again after each event, finds something.

        Raises ``DeadlineExceeded``.
        """
        while not (found := look()):  # ends by deadline
            limit.wait(self.fileno())
            self.drain()
        return found

    def queued(self) -> Iterator[bytes | None]:
        """Consume the queued messages; None stands for lost events (ENOBUFS)."""
        while True:  # ends when the queue is empty
            try:
                yield self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None


class LinkEvents(KernelEvents):
    """The link events of this network namespace."""

    def __init__(self) -> None:
        super().__init__(_RTMGRP_LINK)


class LinkPresence:
    """An ``Interruption``: ends the work on a link when the link goes."""

    def __init__(self, events: LinkEvents, name: str, index: int) -> None:
        self._events = events
        self._name = name
        self._index = index

    def fileno(self) -> int:
        return self._events.fileno()

    def check(self) -> None:
        """Raise ``LinkGone`` if the name does not lead to the same link any more."""
        self._events.drain()
        if link_index(self._name) != self._index:
            raise LinkGone("the link was removed", subject=self._name)


def wait_for_link(name: str, events: LinkEvents, deadline: Deadline) -> int:
    """The link's index, as soon as the link exists. Raises ``LinkGone`` at the deadline.

    Each link event ends one poll(2). On a quiet host, a wait for a link that never appears is a
    single system call.
    """
    try:
        waiting = deadline.named(f"waiting for link {name}")
        return events.wait_for(lambda: link_index(name), waiting)
    except DeadlineExceeded as error:
        raise LinkGone(
            f"no such link appeared within {deadline.seconds:g} s", subject=name
        ) from error


def link_index(name: str) -> int | None:
    """The index of the link called ``name`` in this namespace, None if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def link_is_there(index: int) -> bool:
    """Whether this namespace has a link of that index."""
    return link_name(index) is not None


def link_name(index: int) -> str | None:
    """The name of the link of that index in this namespace, None if there is none."""
    try:
        return identity.link_name(socket.if_indextoname(index))
    except OSError:
        return None
