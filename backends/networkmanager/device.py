# SPDX-License-Identifier: Apache-2.0
"""NetworkManager's state of a link, as a value, and the conclusions from it. Pure.

The numbers are NetworkManager's D-Bus API: NMDeviceState, NMDeviceStateReason,
NMActivationStateFlags.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from ec2net.backends.networkmanager.typed import Section, Settings, plain
from ec2net.core.plugins.api import MAIN_TABLE


class State(IntEnum):
    """States of a device; it passes those in between in order."""

    UNMANAGED = 10
    UNAVAILABLE = 20
    DISCONNECTED = 30
    PREPARE = 40
    IP_CHECK = 80
    """It has its addresses; scripts of ``pre-up`` run."""
    ACTIVATED = 100


REASON_USER_REQUESTED = 39
EXTERNAL = 0x80
"""Flag of an active connection: another program configured the link, and NetworkManager only shows
it."""

FAMILIES = ("ipv4", "ipv6")

_SKIP = "org.freedesktop.nm-cloud-setup.skip"


class Routes(Enum):
    """Where a device's leased routes are, which its profile's activation decided."""

    MAIN = "main"
    PARKED = "parked"
    PROFILE = "profile"
    """The profile names a table itself: a user's decision."""
    NONE = "none"
    """No connection is active, and NetworkManager has no profile for it."""
    UNKNOWN = "unknown"
    """No lease yet, or in between."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device, its active connection and the settings that are applied."""

    path: str
    state: int
    reason: int = 0
    managed: bool = True
    profiles: int = 0
    """How many profiles could be activated on it."""
    connection: str = ""
    """Object path of the profile that is active; empty if none is."""
    active: str = ""
    """Object path of the activation."""
    flags: int = 0
    applied: Settings = field(default_factory=dict, hash=False)
    version: int = 0
    """Version of ``applied``: a change in between makes Reapply fail."""
    routes: tuple[Section, ...] = ()
    """As NetworkManager reports them (``RouteData``, at most 100 of each family): leased,
    connected, static ones of the profile, and foreign ones on the link. Sufficient for the policy,
    not for a verification."""
    addresses: tuple[Section, ...] = ()
    """``AddressData``, foreign and owned."""


NOT_MANAGED = "NetworkManager does not manage it"
EXTERNAL_REASON = "another program configured it (NetworkManager shows it as external)"


def left_alone(device: Device) -> str:
    """Why nothing may be done to a device; empty if nothing speaks against it."""
    if not device.managed or device.state <= State.UNMANAGED:
        return NOT_MANAGED
    if device.flags & EXTERNAL:
        return EXTERNAL_REASON
    if plain(device.applied.get("user", {}), "data", {}).get(_SKIP) in ("yes", "true", "1"):
        return f"its profile says {_SKIP}"
    if device.state == State.DISCONNECTED and device.reason == REASON_USER_REQUESTED:
        return "a user disconnected it"
    return ""


def waits(device: Device | None) -> str:
    """The condition that a device does not meet yet; empty if there is none.

    A new link passes from one state to the next within milliseconds; one whose profile does not
    autoconnect stays here.
    """
    if device is None:
        return "NetworkManager does not know it yet"
    if device.state < State.DISCONNECTED:
        return "NetworkManager cannot activate it yet (is there a carrier?)"
    if device.state == State.DISCONNECTED and device.profiles:
        return "NetworkManager has not activated its profile"
    if device.state > State.ACTIVATED:
        return "NetworkManager is deactivating its connection"
    return ""


def routes(device: Device) -> Routes:
    """The table of its leased routes, as those to its subnets show: others may be foreign.

    If one family has them in main, so has the device: both have one policy.
    """
    if device.state == State.DISCONNECTED and not device.profiles:
        return Routes.NONE
    if not State.PREPARE <= device.state <= State.ACTIVATED:
        return Routes.UNKNOWN
    if any(plain(device.applied.get(family, {}), "route-table", 0) for family in FAMILIES):
        return Routes.PROFILE
    static = {
        _destination(route)
        for family in FAMILIES
        for route in plain(device.applied.get(family, {}), "route-data", ())
    }
    own = [ip_address(plain(address, "address", "")) for address in device.addresses]
    tables: dict[int, set[int]] = {4: set(), 6: set()}
    defaults: set[int] = set()
    for route in device.routes:
        network, table = _network(route), plain(route, "table", MAIN_TABLE)
        if network.prefixlen == 0 and table == MAIN_TABLE:
            defaults.add(network.version)
        elif _destination(route) not in static and _connects(route, own):
            tables[network.version].add(table)
    if not any(tables.values()):
        return Routes.UNKNOWN
    # Owned routes in main are not among them: NetworkManager lists no route of a protocol such as
    # 236 (ip_route_is_tracked in src/libnm-platform/nm-linux-platform.c; seen with 1.42 and 1.52).
    # If one route is in a table of its own, another one in main is foreign, such as a VIP's. If
    # main also has a default route, that route is of a lease before a restart of NetworkManager.
    in_main = (
        MAIN_TABLE in found and (len(found) == 1 or version in defaults)
        for version, found in tables.items()
    )
    return Routes.MAIN if any(in_main) else Routes.PARKED


def _connects(route: Section, own: Collection[IPv4Address | IPv6Address]) -> bool:
    """Whether it leads to a subnet of the link: a lease brings such a route, and a user's static
    route by the link is none, nor is a default route."""
    network = _network(route)
    if network.prefixlen == 0 or network.is_link_local or plain(route, "next-hop", ""):
        return False
    return any(address in network for address in own)


def _destination(route: Section) -> tuple[str, int]:
    return str(plain(route, "dest", "")), int(plain(route, "prefix", 0))


def _network(route: Section) -> IPv4Network | IPv6Network:
    return ip_network(_destination(route), strict=False)
