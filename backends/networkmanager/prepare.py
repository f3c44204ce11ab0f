# SPDX-License-Identifier: Apache-2.0
"""NetworkManager's needs before it starts: one file for all ENIs of the boot."""

import logging

from ec2net.backends.networkmanager import conf
from ec2net.backends.networkmanager.render import conf_file
from ec2net.core.plugins.api import Boot

_log = logging.getLogger("ec2net.early")


def prepare(boot: Boot) -> None:
    """Raises ``StateError``."""
    links = [eni.link for eni in boot.enis]
    present = conf.in_place()
    if present is not None and present.owner in {link.mac for link in links}:
        return  # not at boot: a pass has written it, with more facts
    first = boot.enis[0]
    if first.doubled:
        return  # another tool configures all links of NetworkManager, later ones too
    early = first.early
    hands_off = [eni.link for eni in boot.enis if eni.apart]
    drivers = {link.driver for link in links}
    only = links if boot.later_apart else None
    conf.write(
        conf_file(first.link, early.main_metric, early.parking_table, drivers, hands_off, only=only)
    )
    _log.debug("%s: treated as the primary ENI", first.link.name)
