# SPDX-License-Identifier: Apache-2.0
"""Requests to NetworkManager, one method for each. D-Bus as values."""

from collections.abc import Mapping
from typing import Any

from ec2net.backends.networkmanager.bus import Bus, BusError
from ec2net.backends.networkmanager.device import Device, State
from ec2net.backends.networkmanager.typed import Section, Settings, Typed, plain
from ec2net.core.plugins.api import Deadline

NAME = "org.freedesktop.NetworkManager"
_PATH = "/org/freedesktop/NetworkManager"
_DEVICE = f"{NAME}.Device"
_PROPERTIES = "org.freedesktop.DBus.Properties"

RELOAD_CONF = 0x1
"""NM_MANAGER_RELOAD_FLAG_CONF: the files in conf.d and nothing else."""

PRESERVE_EXTERNAL_IP = 0x1
"""NM_DEVICE_REAPPLY_FLAGS_PRESERVE_EXTERNAL_IP (1.42): what others added to the link stays."""

VERSION_ID_MISMATCH = f"{_DEVICE}.VersionIdMismatch"
NOT_ACTIVE = f"{_DEVICE}.NotActive"
_UNKNOWN = (
    f"{NAME}.UnknownDevice",
    # The device disappeared between two calls.
    "org.freedesktop.DBus.Error.UnknownObject",
    "org.freedesktop.DBus.Error.UnknownMethod",
)
ABSENT = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
)
"""No process has NetworkManager's name on the bus."""

_NOTHING = "/"
"""The object path that stands for none."""


class NetworkManager:
    """NetworkManager's side of a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    def device(self, link: str, deadline: Deadline) -> Device | None:
        """NetworkManager's data of a link by name; None if it does not know the link (any more)."""
        try:
            path = self._call(_PATH, NAME, "GetDeviceByIpIface", "s", (link,), deadline)[0]
            return self._device(path, deadline)
        except BusError as error:
            if error.name in _UNKNOWN:
                return None
            raise

    def _device(self, path: str, deadline: Deadline) -> Device:
        told = self._all(path, _DEVICE, deadline)
        active = plain(told, "ActiveConnection", _NOTHING)
        device = Device(
            path,
            state=plain(told, "State", 0),
            reason=plain(told, "StateReason", (0, 0))[1],
            managed=plain(told, "Managed", False),
            profiles=len(plain(told, "AvailableConnections", ())),
        )
        if active == _NOTHING or not State.PREPARE <= device.state <= State.ACTIVATED:
            return device
        activation = self._all(active, f"{NAME}.Connection.Active", deadline)
        settings, version = self.applied(path, deadline)
        return Device(
            path,
            device.state,
            device.reason,
            device.managed,
            device.profiles,
            plain(activation, "Connection", ""),
            active,
            plain(activation, "StateFlags", 0),
            settings,
            version,
            *self._configured(told, deadline),
        )

    def _configured(
        self, told: Section, deadline: Deadline
    ) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
        """Routes and addresses."""
        routes: list[Section] = []
        addresses: list[Section] = []
        for family in ("IP4Config", "IP6Config"):
            path = plain(told, f"Ip{family[2:]}", _NOTHING)
            if path != _NOTHING:
                config = self._all(path, f"{NAME}.{family}", deadline)
                routes += plain(config, "RouteData", ())
                addresses += plain(config, "AddressData", ())
        return tuple(routes), tuple(addresses)

    def applied(self, device: str, deadline: Deadline) -> tuple[Settings, int]:
        """The settings in force on a device, and their version; empty if none are."""
        try:
            settings, version = self._call(
                device, _DEVICE, "GetAppliedConnection", "u", (0,), deadline
            )
        except BusError as error:
            if error.name == NOT_ACTIVE:
                return {}, 0
            raise
        return settings, version

    def reapply(self, device: str, settings: Settings, version: int, deadline: Deadline) -> None:
        """Put settings in force. ``BusError`` of VERSION_ID_MISMATCH if others changed them."""
        body = (settings, version, PRESERVE_EXTERNAL_IP)
        self._call(device, _DEVICE, "Reapply", "a{sa{sv}}tu", body, deadline)

    def reload_conf(self, deadline: Deadline) -> None:
        """Read conf.d again: it counts from each profile's next activation on."""
        self._call(_PATH, NAME, "Reload", "u", (RELOAD_CONF,), deadline)

    def activate(self, connection: str, device: str, deadline: Deadline) -> str:
        """Activate a profile (again) on a device; the activation's object path."""
        body = (connection, device, _NOTHING)
        return str(self._call(_PATH, NAME, "ActivateConnection", "ooo", body, deadline)[0])

    def add_and_activate(self, settings: Settings, device: str, deadline: Deadline) -> str:
        """Activate a profile that is in memory only and disappears with the device."""
        options: Mapping[str, Typed] = {"persist": Typed("s", "volatile")}
        answer = self._call(
            _PATH,
            NAME,
            "AddAndActivateConnection2",
            "a{sa{sv}}ooa{sv}",
            (settings, device, _NOTHING, options),
            deadline,
        )
        return str(answer[1])

    def await_addresses(self, device: str, active: str, deadline: Deadline) -> None:
        """Wait until an activation has got its addresses. Raises ``DeadlineExceeded``."""

        def has_addresses() -> bool:
            told = self._all(device, _DEVICE, deadline)
            if plain(told, "ActiveConnection", _NOTHING) != active:
                return False
            return State.IP_CHECK <= int(plain(told, "State", 0)) <= State.ACTIVATED

        rule = f"type='signal',sender='{NAME}',path='{device}',interface='{_DEVICE}'"
        self.bus.wait_until(has_addresses, (f"{rule},member='StateChanged'",), deadline)

    def _all(self, path: str, interface: str, deadline: Deadline) -> Section:
        answer = self._call(path, _PROPERTIES, "GetAll", "s", (interface,), deadline)
        properties: Section = answer[0]
        return properties

    def _call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: tuple[Any, ...],
        deadline: Deadline,
    ) -> tuple[Any, ...]:
        return self.bus.call(NAME, path, interface, member, signature, body, deadline=deadline)
