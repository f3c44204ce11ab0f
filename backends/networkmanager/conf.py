# SPDX-License-Identifier: Apache-2.0
"""NetworkManager's file from ec2net, as an item of a plan: defaults for the ENIs' profiles.

An activation fills the values that a profile leaves open from this file (NetworkManager.conf(5),
CONNECTION SECTION). ec2net therefore never changes a profile, and a later ENI is right from its
first activation. The file holds nothing that IMDS could change except the primary's MAC.
"""

from pathlib import Path

from ec2net.core.plugins.api import OwnedFile, read_file, remove_file, write_file

PATH = Path("/run/NetworkManager/conf.d/80-ec2net.conf")

DNS_PRIORITY = 200
"""For secondary ENIs' servers: after the primary's 100, which are the same ones in a VPC."""


SIZE_MAX = 2**20
"""Bytes of the file that are read."""


class ConfFile(OwnedFile):
    """The file. Its owner is the primary."""

    __slots__ = ()


def in_place() -> ConfFile | None:
    """The present file, owned or foreign."""
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
