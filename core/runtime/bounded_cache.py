# SPDX-License-Identifier: Apache-2.0
"""A cache that is bounded by the size of what it holds, not by the number of entries."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps what was used last, while all sizes together are at most ``room``.

    512 answers of IMDS may be 512 lines or two million: with a bound by entries the manager grew
    from 32 to 177 MiB, and no single answer was too large.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """``size`` in the unit of ``room``. A value that is larger than ``room`` is not kept."""
        _, before = self._entries.pop(key, (None, 0))
        self.held -= before
        if size > self.room:
            return
        self._entries[key] = value, size
        self.held += size
        while self.held > self.room:
            _, (_, gone) = self._entries.popitem(last=False)
            self.held -= gone
