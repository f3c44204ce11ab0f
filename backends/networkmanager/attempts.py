# SPDX-License-Identifier: Apache-2.0
"""Which activations we made, under /run/ec2net/networkmanager: each link is activated anew once
for one content of the file.

If the routes are still where they were, something else decides, and doing it again would only
take the link down again.
"""

import zlib
from collections.abc import Collection

from ec2net.backends.networkmanager import conf
from ec2net.backends.networkmanager.device import Device
from ec2net.core.plugins.api import Mac, RunDir

_FOLDER = "networkmanager"


def note(run: RunDir, mac: Mac, active: str) -> None:
    """An activation of ours, by its object path. Raises ``StateError``."""
    run.write(_file(mac), {"activation": active, "defaults": _defaults()})


def was_made(run: RunDir, mac: Mac, device: Device) -> bool:
    """Whether the activation in force is one of ours."""
    data = run.read(_file(mac))
    return data == {"activation": device.active, "defaults": _defaults()}


def keep_only(run: RunDir, attached: Collection[Mac]) -> None:
    """Forget links that are gone. Raises ``StateError``."""
    kept = {_file(mac) for mac in attached}
    for name in run.names(_FOLDER):
        if name not in kept:
            run.remove(name)


def _defaults() -> int:
    file = conf.in_place()
    return zlib.crc32(file.content.encode()) if file is not None else 0


def _file(mac: Mac) -> str:
    return f"{_FOLDER}/{mac}.json"
