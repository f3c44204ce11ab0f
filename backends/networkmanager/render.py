# SPDX-License-Identifier: Apache-2.0
"""The defaults for the ENIs' profiles, as text. Pure. Why these: docs/networkmanager.md.

A secondary's leased routes go to a table that nothing looks up, since in main they would catch
the primary's replies; its own table is made of live routes.
"""

from collections.abc import Collection

from ec2net.backends.networkmanager.conf import DNS_PRIORITY, PATH, ConfFile
from ec2net.core.plugins.api import HEADER, Link


def conf_file(
    primary: Link,
    metric: int,
    parking_table: int,
    drivers: Collection[str],
    hands_off: Collection[Link] = (),
    *,
    only: Collection[Link] | None = None,
) -> ConfFile:
    """``metric`` is the primary's in main, ``drivers`` tell an ENI; ``hands_off`` get nothing.

    ``only``: these links are the ENIs, and one that comes gets nothing.
    """
    apart = {_told(primary), *map(_told, hands_off)}
    if only is None:
        match = [f"driver:{driver}" for driver in sorted(drivers)]
        others = sorted(apart - {_told(primary)})
        match += [f"except:{told}" for told in (_told(primary), *others)]
    else:
        match = sorted({_told(link) for link in only} - apart)
    sections: list[tuple[str, dict[str, str]]] = []
    if match:
        parked = {
            "match-device": ",".join(match),
            "ipv4.route-table": str(parking_table),
            "ipv6.route-table": str(parking_table),
            "ipv4.dns-priority": str(DNS_PRIORITY),
            "ipv6.dns-priority": str(DNS_PRIORITY),
        }
        sections.append(("connection-80-ec2net", parked))
    if primary not in hands_off:
        own = {
            "match-device": _told(primary),
            "ipv4.route-metric": str(metric),
            "ipv6.route-metric": str(metric),
        }
        sections.insert(0, ("connection-80-ec2net-primary", own))
    lines = [
        f"{HEADER} the primary ENI {primary.mac}",
        "# What a profile says itself counts more; a file of this name in",
        "# /etc/NetworkManager/conf.d replaces this one.",
    ]
    for name, settings in sections:
        lines += ["", f"[{name}]", *(f"{key}={value}" for key, value in settings.items())]
    return ConfFile(PATH, "\n".join(lines) + "\n")


def _told(link: Link) -> str:
    """By MAC; NetworkManager compares the permanent one only, so by name where there is none."""
    return f"mac:{link.mac}" if link.permanent else f"interface-name:={link.name}"
