# SPDX-License-Identifier: Apache-2.0
"""The file that NetworkManager is given, as an item of a plan: defaults for the ENIs' profiles.

Values that a profile leaves open are taken from it when the profile is activated (NetworkManager.conf(5),
CONNECTION SECTION), so no profile is ever touched, and an ENI that is attached later is right from
its first activation. It holds nothing that IMDS could change but the primary's MAC.
"""

from pathlib import Path

from ec2net.core.plugins.api import OwnedFile, read_file, remove_file, write_file

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
        return ConfFile(PATH, read_file(PATH, SIZE_MAX, follow=True).decode(errors="replace"))
    except OSError:
        return None


def write(file: ConfFile) -> None:
    """Raises ``StateError``."""
    write_file(PATH, file.content)


def remove() -> None:
    """Raises ``StateError``."""
    remove_file(PATH)
