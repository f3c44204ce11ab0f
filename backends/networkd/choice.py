# SPDX-License-Identifier: Apache-2.0
"""Whether systemd-networkd has a link, from its unit and its state files. Pure over the environment."""

from ec2net.backends.networkd.state import is_running, link_state
from ec2net.core.plugins.api import (
    NETWORKD_OWNER,
    NETWORKMANAGER_UNIT,
    Environment,
    Link,
    Manager,
    Suitability,
    link_manager,
    owner,
)

AMAZON_LINUX = "amzn"
"""``ID`` in os-release(5): networkd is its default."""


def suits(link: Link, environment: Environment) -> Suitability:
    """A link that networkd has, or that no network manager has while networkd has another ENI.

    networkd keeps its links while it is down. With another backend their leases would not be
    renewed after its return, and an ENI without its file would be unmanaged then.
    """
    manager = link_manager(link, environment)
    if manager is Manager.NETWORKD_NOT_UP:
        return _while_down(link, environment)
    if not is_running(environment):
        return Suitability(False, "systemd-networkd is not running")
    if manager is Manager.NETWORKD:
        return Suitability(True, f"{manager.value} manages {link.name}")
    if manager is not Manager.NOBODY:
        return Suitability(False, f"{manager.value} manages {link.name}")
    if (name := owner(link, environment)) not in ("", NETWORKD_OWNER):
        return Suitability(False, f"udev says that {name} manages {link.name}")
    if environment.keys("/etc/os-release").get("ID") == AMAZON_LINUX:
        return Suitability(
            True, f"no network manager manages {link.name}, and this is Amazon Linux"
        )
    for other in environment.eni_links:
        if link_state(other.index, environment).managed:
            reason = (
                f"no network manager manages {link.name}, and systemd-networkd manages {other.name}"
            )
            return Suitability(True, reason)
    return Suitability(False, "systemd-networkd manages no ENI")


def _while_down(link: Link, environment: Environment) -> Suitability:
    if (name := owner(link, environment)) not in ("", NETWORKD_OWNER):
        return Suitability(False, f"udev says that {name} manages {link.name}")
    if environment.unit_is_active(NETWORKMANAGER_UNIT):
        return Suitability(False, f"{Manager.NETWORKD_NOT_UP.value} manages {link.name}")
    return Suitability(True, f"systemd-networkd is not running now, but keeps {link.name}")
