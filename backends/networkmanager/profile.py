# SPDX-License-Identifier: Apache-2.0
"""The profile of an ENI without one in NetworkManager (no-auto-default): in memory only. Pure.

The defaults in conf.d fill everything that it leaves open, as in a user's profile. It disappears
with the device; a profile of a user takes precedence.
"""

from ec2net.backends.networkmanager.items import Activation
from ec2net.backends.networkmanager.typed import Settings, Typed

MARK = "org.ec2net.profile"
"""In ``user.data``: whose the profile is."""


def in_memory(item: Activation) -> Settings:
    """DHCP on both families, for this link only."""
    auto = {"method": Typed("s", "auto")}
    return {
        "connection": {
            "id": Typed("s", f"ec2net {item.link}"),
            "type": Typed("s", "802-3-ethernet"),
            "interface-name": Typed("s", str(item.link)),
            "autoconnect-priority": Typed("i", -999),  # like NetworkManager's own default profiles
        },
        "802-3-ethernet": {},
        "ipv4": dict(auto),
        "ipv6": dict(auto),
        "user": {"data": Typed("a{ss}", {MARK: str(item.mac)})},
    }
