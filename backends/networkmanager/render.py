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
    metric: int | None,
    parking_table: int,
    drivers: Collection[str],
    hands_off: Collection[Link] = (),
    *,
    only: Collection[Link] | None = None,
) -> ConfFile:
    """``metric`` is the primary's in main (None: NetworkManager's own), ``drivers`` identify an ENI;
    ``hands_off`` get nothing.

    ``only``: these links are the ENIs, and a later one gets nothing.
    """
    sections: dict[str, dict[str, str]] = {}
    if metric is not None and primary not in hands_off:
        sections["connection-80-ec2net-primary"] = {
            "match-device": _told(primary),
            **_both("route-metric", metric),
        }
    if match := _secondaries(primary, drivers, hands_off, only):
        sections["connection-80-ec2net"] = {
            "match-device": ",".join(match),
            **_both("route-table", parking_table),
            **_both("dns-priority", DNS_PRIORITY),
        }
    lines = [
        f"{HEADER} the primary ENI {primary.mac}",
        "# What a profile says itself counts more; a file of this name in",
        "# /etc/NetworkManager/conf.d replaces this one.",
    ]
    for name, settings in sections.items():
        lines += ["", f"[{name}]", *(f"{key}={value}" for key, value in settings.items())]
    return ConfFile(PATH, "\n".join(lines) + "\n")


def _secondaries(
    primary: Link,
    drivers: Collection[str],
    hands_off: Collection[Link],
    only: Collection[Link] | None,
) -> list[str]:
    """The devices that a section matches; empty for none at all."""
    first, apart = _told(primary), {_told(link) for link in hands_off}
    if only is not None:
        return sorted({_told(link) for link in only} - {first} - apart)
    excepted = (first, *sorted(apart - {first}))
    return [
        *(f"driver:{driver}" for driver in sorted(drivers)),
        *(f"except:{told}" for told in excepted),
    ]


def _both(key: str, value: int) -> dict[str, str]:
    """For both IP versions."""
    return {f"{family}.{key}": str(value) for family in ("ipv4", "ipv6")}


def _told(link: Link) -> str:
    """By MAC; NetworkManager compares only the permanent one, so by name for a link without it."""
    return f"mac:{link.mac}" if link.permanent else f"interface-name:={link.name}"
