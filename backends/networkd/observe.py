# SPDX-License-Identifier: Apache-2.0
"""The present files of ec2net (also of removed links), and the path for the file of each ENI."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ec2net.backends.networkd.files import FOLDER, in_folder
from ec2net.backends.networkd.match import foreseen
from ec2net.backends.networkd.render import place
from ec2net.backends.networkd.state import is_up, link_state
from ec2net.core.plugins.api import Ec2netError, Environment, InPlace, Link, Mac


@dataclass(frozen=True, slots=True)
class Seen:
    """The results of one observation of systemd-networkd."""

    places: Mapping[int, Path | None] = field(default_factory=dict)
    """Where our file goes, by link index; None: nowhere."""
    up: bool = True
    """Whether it can be asked to read files, and leases addresses."""
    unread: frozenset[Mac | None] = frozenset()
    """ENIs whose file networkd did not read in an earlier pass, although asked: it may have lost
    its D-Bus connection, which systemd-networkd 252 does not restore."""

    @property
    def problem(self) -> Ec2netError | None:
        """Why only live changes are made."""
        if self.up:
            return None
        return Ec2netError(
            "is not running",
            subject="systemd-networkd",
            remedy="run: systemctl start systemd-networkd;"
            " until then ec2net changes only the kernel",
        )


def look(links: Collection[Link], environment: Environment, unread: Collection[Mac | None]) -> Seen:
    """systemd-networkd's state of the links, by its state files; while it is down, the state that
    is known without them."""
    if is_up(environment):
        places = {link.index: _place(link, environment) for link in links}
        return Seen(places, unread=frozenset(unread))
    given = {file.owner: file.path for file in in_folder(FOLDER) if file.ours}
    return Seen({link.index: given.get(link.mac) or _foreseen(link) for link in links}, up=False)


def _place(link: Link, environment: Environment) -> Path | None:
    return place(link.name, link_state(link.index, environment).file or foreseen(link).file)


def _foreseen(link: Link) -> Path | None:
    """No path if networkd's future file is unknown."""
    others = foreseen(link)
    return place(link.name, others.file) if others.certain else None


def files_in_place() -> InPlace:
    """A file at an ec2net path without ec2net's header is foreign: it is reported, not replaced."""
    found = in_folder(FOLDER)
    return InPlace(
        ours=tuple(file for file in found if file.ours),
        foreign=tuple(file for file in found if not file.ours),
    )
