# SPDX-License-Identifier: Apache-2.0
"""Whether NetworkManager has a link, from its unit and its state files. Pure over the environment."""

from ec2net.core.plugins.api import (
    NETWORKMANAGER_OWNER,
    NETWORKMANAGER_UNIT,
    Environment,
    Link,
    Manager,
    Suitability,
    link_manager,
    owner,
    will_return,
)

_KEPT = (Manager.NETWORKMANAGER, Manager.LEFT_ALONE, Manager.NETWORKMANAGER_NOT_UP)
"""The reason for its links while it is down."""


def suits(link: Link, environment: Environment) -> Suitability:
    """A link that NetworkManager has, or that no network manager has while it has another ENI.

    A link that a user took from it (``nmcli device set LINK managed no``) is its, too, and stays
    unmanaged; the netlink backend would configure the link otherwise.
    """
    manager = link_manager(link, environment)
    if will_return(NETWORKMANAGER_UNIT, environment) and manager in _KEPT:
        return Suitability(True, f"NetworkManager is not running now, but keeps {link.name}")
    if not environment.unit_is_active(NETWORKMANAGER_UNIT):
        return Suitability(False, "NetworkManager is not running")
    if manager not in (Manager.NETWORKMANAGER, Manager.NOBODY, Manager.LEFT_ALONE):
        return Suitability(False, f"{manager.value} manages {link.name}")
    if manager is Manager.NETWORKMANAGER:
        return Suitability(True, f"NetworkManager manages {link.name}")
    if manager is Manager.LEFT_ALONE:
        return Suitability(True, f"NetworkManager's configuration makes {link.name} unmanaged")
    if (name := owner(link, environment)) not in ("", NETWORKMANAGER_OWNER):
        return Suitability(False, f"udev says that {name} manages {link.name}")
    for other in environment.eni_links:
        if link_manager(other, environment) is Manager.NETWORKMANAGER:
            reason = (
                f"no network manager manages {link.name}, and NetworkManager manages {other.name}"
            )
            return Suitability(True, reason)
    return Suitability(False, "NetworkManager manages no ENI")
