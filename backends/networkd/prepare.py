# SPDX-License-Identifier: Apache-2.0
"""networkd's needs before it starts: the files of the boot's ENIs, and no default in addition."""

import logging
from collections.abc import Mapping

from ec2net.backends.networkd import defaults, files
from ec2net.backends.networkd.match import foreseen
from ec2net.backends.networkd.render import network_file, place
from ec2net.core.plugins.api import Boot, BootEni

_log = logging.getLogger("ec2net.early")


def prepare(boot: Boot) -> None:
    """Raises ``StateError``."""
    provided = {eni.link.index: provide(eni) for eni in boot.enis}
    withhold(provided, later_apart=boot.later_apart)


def provide(eni: BootEni) -> bool:
    """Write its file, or a drop-in for a foreign one. False if the link depends on the default."""
    link = eni.link
    if eni.apart:
        return not defaults.has_default(link)
    others = foreseen(link)
    path = place(link.name, others.file) if others.certain else None
    if path is None:
        _log.info("%s: a foreign file takes precedence", link.name)
        return others.certain
    file = network_file(path, eni.early, permanent=link.permanent)
    present_files = files.in_folder(files.FOLDER)
    if any(present.path == file.path and present.owner == link.mac for present in present_files):
        # not at boot: a pass has written it, with more facts; a new time means a reload
        return True
    files.write(file)
    _log.debug("%s: prepared as %s", link.name, "primary" if eni.early.primary else "secondary")
    return True


def withhold(provided: Mapping[int, bool], *, later_apart: bool) -> None:
    """Mask the defaults that no link depends on, by its index."""
    if all(provided.values()):
        defaults.withhold()
    elif later_apart and all(
        done for index, done in provided.items() if index != defaults.FIRST_INDEX
    ):
        defaults.withhold([defaults.LATER])
