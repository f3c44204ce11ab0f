# SPDX-License-Identifier: Apache-2.0
"""The default files of the package, for ENIs that ec2net has given no file of their own.

They are for a host whose ec2net does not come to work. Once it does they are masked for the rest
of the boot, as systemd masks files: then an ENI without file of ours has what others have for it,
and nothing else, whether it was there at boot or comes later.
"""

from collections.abc import Collection
from pathlib import Path

from ec2net.backends.networkd.files import FOLDER
from ec2net.backends.networkd.state import LinkState, link_state
from ec2net.core.plugins.api import NETWORKD_LINKS, Environment, Link, StateError, make_folder

LATER = "80-ec2net-later.network"
"""For all but the first link of the host."""
DEFAULTS = ("80-ec2net.network", LATER)
FIRST_INDEX = 2
"""Of the link that the other one is for (90-ec2net.rules); lo has index 1."""


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
