# SPDX-License-Identifier: Apache-2.0
"""Files that networkd has not read yet, recorded until networkd has read them.

A reload can fail, and this process can be killed before it: the file is right then, but networkd
does not know it. ec2net notes each change in advance in /run/ec2net/reload-due.json, and a
successful reload deletes the notes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ec2net.backends.networkd.files import NetworkFile
from ec2net.core.plugins.api import Mac, Rank, RunDir

_NAME = "reload-due.json"


@dataclass(frozen=True, slots=True)
class Unread:
    """In place until networkd has read the file. No intent has it: a plan removes it, by a reload.

    It has no ``owner``, so that no standing of its ENI keeps it: IMDS may be out of reach for
    the very reason that the file was not read.
    """

    path: Path
    mac: Mac | None

    rank = Rank.FILE

    @property
    def identity(self) -> tuple[object, ...]:
        return ("unread", self.path)

    def describe(self) -> str:
        return f"unread file {self.path}"


class UnreadFiles:
    """The note. All changes under the host lock."""

    def __init__(self, run: RunDir) -> None:
        self._run = run

    def all(self) -> tuple[Unread, ...]:
        """The files that networkd must read; an invalid entry only costs a reload."""
        found = []
        for path, mac in (self._run.read(_NAME) or {}).items():
            try:
                found.append(Unread(Path(path), Mac.parse(mac)))
            except (ValueError, TypeError, AttributeError):
                found.append(Unread(Path(path), None))
        return tuple(found)

    def note(self, files: Iterable[NetworkFile]) -> None:
        """Before they change. Raises ``StateError``."""
        notes = {str(unread.path): str(unread.mac or "") for unread in self.all()}
        notes |= {str(file.path): str(file.owner or "") for file in files}
        self._run.write(_NAME, notes)

    def clear(self) -> None:
        """After a reload. Raises ``StateError``."""
        self._run.remove(_NAME)
