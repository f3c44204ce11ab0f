# SPDX-License-Identifier: Apache-2.0
"""Files that a network manager reads: written completely, and marked as ec2net's in their first
line."""

from dataclasses import dataclass
from pathlib import Path

from ec2net.core.model.errors import StateError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Rank
from ec2net.core.runtime.files import write_whole

_MODE = 0o644

TEMPORARY = ".ec2net-"
"""The prefix of temporary file names; a killed writer leaves such a file."""

HEADER = "# Made by ec2net for"
"""The first words of every file of ec2net: the mark of ownership."""


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """A file with its whole content, as an item of a plan."""

    path: Path
    content: str

    rank = Rank.FILE

    @property
    def identity(self) -> tuple[object, ...]:
        return ("file", self.path)

    def describe(self) -> str:
        return f"file {self.path}"

    @property
    def ours(self) -> bool:
        return self.content.startswith(HEADER)

    @property
    def owner(self) -> Mac | None:
        """From the header, ``# Made by ec2net for ens6 06:53:e1:d8:f9:29``; None for a foreign
        file."""
        try:
            return Mac.parse(self.content.split("\n", 1)[0].split()[-1]) if self.ours else None
        except (IndexError, ValueError):
            return None


def write(path: Path, content: str) -> None:
    """Write a file that every user can read. Raises ``StateError``."""
    try:
        write_whole(path, content.encode(), mode=_MODE, prefix=TEMPORARY)
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from error


def remove(path: Path) -> None:
    """Delete a file; a missing file is a success. Raises ``StateError``."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(f"cannot remove {path}: {error.strerror}") from error
