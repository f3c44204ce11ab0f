# SPDX-License-Identifier: Apache-2.0
"""The default files of the package, for ENIs without a file of their own from ec2net.

They serve a host on which ec2net cannot run. As soon as ec2net runs, it masks them for the rest of
the boot. An ENI without an ec2net file then has only foreign files, at boot or later.
"""

from collections.abc import Collection
from pathlib import Path

from ec2net.backends.networkd.files import FOLDER
from ec2net.backends.networkd.state import LinkState, link_state
from ec2net.core.plugins.api import NETWORKD_LINKS, Environment, Link, StateError, make_folder

LATER = "80-ec2net-later.network"
"""For all links of the host except the first."""
DEFAULTS = ("80-ec2net.network", LATER)
FIRST_INDEX = 2
"""Index of the link for the other file (90-ec2net.rules); lo has index 1."""


def has_default(link: Link) -> bool:
    """Whether one of them is in force for the link now."""
    return _is_default(link_state(link.index, Environment()))


def _is_default(state: LinkState) -> bool:
    return state.file is not None and state.file.name in DEFAULTS


def are_in_force(environment: Environment) -> bool:
    """Whether one of them is, for any link, now."""
    return any(
        _is_default(link_state(int(name), environment))
        for name in environment.list_folder(NETWORKD_LINKS)
        if name.isdecimal()
    )


def withhold(names: Collection[str] = DEFAULTS, folder: Path = FOLDER) -> None:
    """Mask them. An administrator's file of such a name, in /etc, comes before the mask. ``StateError``."""
    for name in names:
        path = folder / name
        try:
            make_folder(folder)
            path.symlink_to("/dev/null")
        except FileExistsError:
            continue
        except OSError as error:
            raise StateError(f"cannot mask {path}: {error.strerror}") from error
