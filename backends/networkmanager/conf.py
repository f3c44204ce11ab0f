# SPDX-License-Identifier: Apache-2.0
"""The file that NetworkManager is given, as an item of a plan: defaults for the ENIs' profiles.

Values that a profile leaves open are taken from it when the profile is activated (NetworkManager.conf(5),
CONNECTION SECTION), so no profile is ever touched, and an ENI that is attached later is right from
its first activation. It holds nothing that IMDS could change but the primary's MAC.
"""

from pathlib import Path

from ec2net.core.live import owned_file as textfile
from ec2net.core.live.owned_file import OwnedFile
from ec2net.core.runtime.files import regular

PATH = Path("/run/NetworkManager/conf.d/80-ec2net.conf")

DNS_PRIORITY = 200
"""Of secondaries' servers: behind the primary's 100, which are the same ones in a VPC."""


SIZE_MAX = 2**20
"""Bytes of the file that are read."""


class ConfFile(OwnedFile):
    """The file. Its owner is the primary."""

    __slots__ = ()


def in_place() -> ConfFile | None:
    """The file that is there, whoever made it."""
    try:
        return ConfFile(PATH, regular(PATH, SIZE_MAX, follow=True).decode(errors="replace"))
    except OSError:
        return None


def write(file: ConfFile) -> None:
    """Raises ``StateError``."""
    textfile.write(PATH, file.content)


def remove() -> None:
    """Raises ``StateError``."""
    textfile.remove(PATH)
