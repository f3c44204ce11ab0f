# SPDX-License-Identifier: Apache-2.0
"""NetworkManager in a sandbox: a private bus, its state files, and a lease on each link that comes.

Each device is activated. Its leased routes are in main until an activation that finds ec2net's file.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from private_bus import (
    NAME,
    FakeNetworkManager,
    PrivateBus,
    Refusal,
    number,
    private_bus,
    text,
    variant,
)

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

_RUN = Path("/run/NetworkManager")
_CONF = _RUN / "conf.d/80-ec2net.conf"
_UNITS = Path("/run/systemd/units")
_PARKED = 9999


class Double(FakeNetworkManager):
    """Answers from what it leased."""

    def __init__(self, bus: PrivateBus, guest: Namespace) -> None:
        super().__init__(bus.address)
        self._guest = guest
        self._enis: dict[str, Eni] = {}
        self._tables: dict[str, int] = {}
        self._activations: dict[str, int] = {}
        self._path = ""

    def lease(self, eni: Eni) -> None:
        """Bring a link up and give it the addresses of its leases."""
        assert eni.subnet.ipv4 is not None
        addresses = (f"{eni.ipv4s[0]}/{eni.subnet.ipv4.prefixlen}", f"{eni.ipv6s[0]}/128")
        options = f"dev {eni.name} noprefixroute nodad"
        lines = [f"addr replace {address} {options}" for address in addresses]
        self._guest.ip([f"link set {eni.name} up", *lines])
        index = self._guest.run(["ip", "-o", "link", "show", eni.name]).stdout.partition(":")[0]
        (_RUN / "devices" / index).write_text("[device]\nmanaged=true\n")
        self._enis[eni.name], self._activations[eni.name] = eni, 1
        self._tables[eni.name] = 254

    def _handle(self, message: Any) -> Any:
        self._path = message.path or ""
        return super()._handle(message)

    def answer_all(self) -> None:
        """Have an answer for each member that the backend calls."""
        self.answers |= {
            "GetDeviceByIpIface": lambda body: ("o", [self._device(body[0])]),
            "GetAll": lambda body: ("a{sv}", [self._properties(body[0])]),
            "GetAppliedConnection": lambda _: ("a{sa{sv}}t", [{"ipv4": {}}, 1]),
            "Reload": lambda _: ("", []),
            "ActivateConnection": lambda body: ("o", [self._activate(body[1])]),
        }

    def _device(self, link: str) -> str:
        if link not in self._enis:
            raise Refusal(f"{NAME}.UnknownDevice")
        return f"/device/{link}"

    def _activate(self, device: str) -> str:
        link = device.rpartition("/")[2]
        self._activations[link] += 1
        primary = self._enis[link].device == 0
        self._tables[link] = _PARKED if _CONF.exists() and not primary else 254
        return self._active(link)

    def _active(self, link: str) -> str:
        return f"/active/{self._activations[link]}/{link}"

    def _properties(self, interface: str) -> dict[str, Any]:
        link = self._path.rpartition("/")[2]
        eni = self._enis[link]
        if interface.endswith(".Active"):
            return {"Connection": variant("o", f"/profile/{link}"), "StateFlags": number(0)}
        if interface.endswith(("IP4Config", "IP6Config")):
            six = interface.endswith("IP6Config")
            block = eni.subnet.ipv6 if six else eni.subnet.ipv4
            first = eni.ipv6s[0] if six else eni.ipv4s[0]
            assert block is not None
            route = {
                "dest": text(str(block.network_address)),
                "prefix": number(block.prefixlen),
                "table": number(self._tables[link]),
            }
            address = {"address": text(str(first)), "prefix": number(block.prefixlen)}
            return {
                "RouteData": variant("aa{sv}", [route]),
                "AddressData": variant("aa{sv}", [address]),
            }
        return {
            "State": number(100),
            "StateReason": variant("(uu)", [100, 0]),
            "Managed": variant("b", True),
            "AvailableConnections": variant("ao", [f"/profile/{link}"]),
            "ActiveConnection": variant("o", self._active(link)),
            "Ip4Config": variant("o", f"/ip4/{link}"),
            "Ip6Config": variant("o", f"/ip6/{link}"),
        }


@contextmanager
def networkmanager(guest: Namespace) -> Iterator[tuple[Double, dict[str, str]]]:
    """It runs, and has no ENI. With the variables for processes that call it."""
    for folder in (_RUN / "devices", _RUN / "conf.d", _UNITS):
        folder.mkdir(parents=True)
    (_UNITS / "invocation:NetworkManager.service").symlink_to("id")
    try:
        with private_bus() as bus:
            double = Double(bus, guest)
            double.answer_all()
            double.start()
            try:
                yield double, {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
            finally:
                double.stop()
    finally:
        shutil.rmtree(_RUN)
        shutil.rmtree(_UNITS.parent)


def files() -> dict[str, str]:
    """The files that ec2net wrote for it."""
    return {_CONF.name: _CONF.read_text()} if _CONF.exists() else {}
