# SPDX-License-Identifier: Apache-2.0
"""What is in place: our files (also of gone links), and which file networkd has in force."""

from collections.abc import Collection
from pathlib import Path

from ec2net.backends.networkd.files import FOLDER, in_folder
from ec2net.backends.networkd.match import foreseen
from ec2net.backends.networkd.state import link_state
from ec2net.core.plugins.api import Environment, InPlace, Link


def files_in_place() -> InPlace:
    """A file at a path of ours without our header is somebody's: it is reported, not replaced."""
    found = in_folder(FOLDER)
    return InPlace(
        ours=tuple(file for file in found if file.ours),
        foreign=tuple(file for file in found if not file.ours),
    )


def networkd_files(links: Collection[Link], environment: Environment) -> dict[int, Path | None]:
    """By link index, the file that networkd has in force, else the one that it would take."""
    return {
        link.index: link_state(link.index, environment).file or foreseen(link).file
        for link in links
    }
