# SPDX-License-Identifier: Apache-2.0
"""The file that NetworkManager is given, as an item of a plan: defaults for the ENIs' profiles.

Values that a profile leaves open are taken from it when the profile is activated (NetworkManager.conf(5),
CONNECTION SECTION), so no profile is ever touched, and an ENI that is attached later is right from
its first activation. It holds nothing that IMDS could change but the primary's MAC.
"""

from dataclasses import dataclass
from pathlib import Path

from ec2net.core import textfile
from ec2net.core.identity import Mac
from ec2net.core.kernel.objects import Rank

PATH = Path("/run/NetworkManager/conf.d/80-ec2net.conf")
HEADER = "# Made by ec2net for the primary ENI"
"""First words of the file: the mark of ownership."""

DNS_PRIORITY = 200
"""Of secondaries' servers: behind the primary's 100, which are the same ones in a VPC."""


@dataclass(frozen=True, slots=True)
class ConfFile:
    """The file with its whole content."""

    content: str

    rank = Rank.FILE

    @property
    def identity(self) -> tuple[object, ...]:
        return ("file", PATH)

    def describe(self) -> str:
        return f"file {PATH}"

    @property
    def ours(self) -> bool:
        return self.content.startswith(HEADER)

    @property
    def owner(self) -> Mac | None:
        """The primary, by the header; None if it is not ours."""
        try:
            return Mac.parse(self.content.split("\n", 1)[0].split()[-1]) if self.ours else None
        except (IndexError, ValueError):
            return None


def in_place() -> ConfFile | None:
    """The file that is there, whoever made it."""
    try:
        return ConfFile(PATH.read_text(errors="replace"))
    except OSError:
        return None


def write(file: ConfFile) -> None:
    """Raises ``StateError``."""
    textfile.write(PATH, file.content)


def remove() -> None:
    """Raises ``StateError``."""
    textfile.remove(PATH)
