# SPDX-License-Identifier: Apache-2.0
"""The source of IMDS keys: IMDS itself, or a recorded tree (``plan --imds FILE``)."""

from collections.abc import Mapping
from typing import Any, Protocol

from ec2net.core.model.facts import Absent, Reading, Unknown, Value
from ec2net.core.runtime.deadline import Deadline


class Imds(Protocol):
    """The interface that the reader uses: ``ImdsClient`` or ``RecordedImds``."""

    @property
    def requests_made(self) -> int:
        """Requests so far."""

    def new_pass(self) -> None:
        """Forget what only counts for one round of reading."""

    def expect(self, enis: int) -> None:
        """The number of ENIs to read: the budget of the pass depends on it."""

    @property
    def heard(self) -> bool:
        """Whether anything was answered in this round."""

    def get(self, path: str, deadline: Deadline) -> Reading[str]:
        """The key at ``path``, such as ``latest/meta-data/mac``."""

    def answers(self, path: str, deadline: Deadline) -> bool:
        """Whether it still answers in the way in which it did before, once asked."""


class RecordedImds:
    """A tree of folders (objects) and keys (text), as ``ec2net record`` writes it.

    ``unread`` has the paths that could not be read, and why: they are no more known from the record.
    """

    requests_made = 0
    heard = False

    def __init__(self, tree: Mapping[str, Any], unread: Mapping[str, str] | None = None) -> None:
        self._tree = tree
        self._unread = unread or {}

    def new_pass(self) -> None:
        """Nothing counts here."""

    def expect(self, enis: int) -> None:
        """Nothing costs here."""

    def answers(self, path: str, deadline: Deadline) -> bool:
        return False

    def get(self, path: str, deadline: Deadline) -> Reading[str]:
        if path in self._unread:
            return Unknown(str(self._unread[path]))
        node: Any = self._tree
        for part in filter(None, path.split("/")):
            if not isinstance(node, Mapping) or part not in node:
                return Absent()
            node = node[part]
        if isinstance(node, Mapping):
            return Value(
                "\n".join(f"{k}/" if isinstance(v, Mapping) else k for k, v in node.items())
            )
        return Value(str(node))
