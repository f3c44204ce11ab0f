# SPDX-License-Identifier: Apache-2.0
"""Which activations we made, under /run/ec2net/networkmanager: each link is activated anew once
for one content of the file.

If the routes are still where they were, something else decides, and doing it again would only
take the link down again.
"""

import zlib

from ec2net.backends.networkmanager import conf
from ec2net.backends.networkmanager.device import Device
from ec2net.core.plugins.api import Mac, RunDir, state_file

_FOLDER = "networkmanager"


def note(run: RunDir, mac: Mac, active: str) -> None:
    """An activation by ec2net, by its object path. Raises ``StateError``."""
    run.write(state_file(_FOLDER, mac), {"activation": active, "defaults": _defaults()})


def was_made(run: RunDir, mac: Mac, device: Device) -> bool:
    """Whether ec2net made the activation in force."""
    data = run.read(state_file(_FOLDER, mac))
    return data == {"activation": device.active, "defaults": _defaults()}


def _defaults() -> int:
    present = conf.in_place()
    return zlib.crc32(present.content.encode()) if present is not None else 0
