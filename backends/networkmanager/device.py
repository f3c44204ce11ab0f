# SPDX-License-Identifier: Apache-2.0
"""What NetworkManager says of a link, as a value, and what follows from it. Pure.

The numbers are NetworkManager's D-Bus API: NMDeviceState, NMDeviceStateReason,
NMActivationStateFlags.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from ec2net.backends.networkmanager.typed import Section, Settings, plain
from ec2net.core.kernel.objects import MAIN_TABLE


class State(IntEnum):
    """Of a device; those in between are passed in order."""

    UNMANAGED = 10
    UNAVAILABLE = 20
    DISCONNECTED = 30
    PREPARE = 40
    IP_CHECK = 80
    """It has its addresses; scripts of ``pre-up`` run."""
    ACTIVATED = 100


REASON_USER_REQUESTED = 39
EXTERNAL = 0x80
"""Of an active connection: somebody else configured the link, and NetworkManager only shows it."""

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
    """Of ``applied``: a change in between makes Reapply fail."""
    routes: tuple[Section, ...] = ()
    """As NetworkManager tells them (``RouteData``, at most 100 of each family): leased, connected,
    and static ones of the profile. Good for the policy, not to verify anything by."""


def left_alone(device: Device) -> str:
    """Why nothing may be done to a device; empty if nothing speaks against it."""
    if not device.managed or device.state <= State.UNMANAGED:
        return "NetworkManager does not manage it"
    if device.flags & EXTERNAL:
        return "somebody else configured it (NetworkManager shows it as external)"
    if plain(device.applied.get("user", {}), "data", {}).get(_SKIP) in ("yes", "true", "1"):
        return f"its profile says {_SKIP}"
    if device.state == State.DISCONNECTED and device.reason == REASON_USER_REQUESTED:
        return "a user disconnected it"
    return ""


def waits(device: Device | None) -> str:
    """What is missing until something can be done with a device; empty if nothing is.

    A new link is passed from one state to the next within milliseconds; one whose profile is not to
    be activated by itself stays here.
    """
    if device is None:
        return "NetworkManager does not know it yet"
    if device.state < State.DISCONNECTED:
        return "NetworkManager is not ready with it (is there a carrier?)"
    if device.state == State.DISCONNECTED and device.profiles:
        return "NetworkManager has not activated its profile"
    if device.state > State.ACTIVATED:
        return "NetworkManager is taking its connection down"
    return ""


def routes(device: Device) -> Routes:
    """Where its leased routes are. Any family tells: both have one policy."""
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
    tables = {
        plain(route, "table", MAIN_TABLE)
        for route in device.routes
        if _destination(route) not in static and not _link_local(route)
    }
    if not tables:
        return Routes.UNKNOWN
    return Routes.MAIN if MAIN_TABLE in tables else Routes.PARKED


def _destination(route: Section) -> tuple[str, int]:
    return str(plain(route, "dest", "")), int(plain(route, "prefix", 0))


def _link_local(route: Section) -> bool:
    """IPv6 of the link itself, which is in main whatever the profile says."""
    return str(plain(route, "dest", "")).startswith(("fe80:", "ff"))
