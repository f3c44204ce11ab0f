# SPDX-License-Identifier: Apache-2.0
"""Which network manager a host runs: the root file systems have networkd enabled, NetworkManager
masked."""

from pathlib import Path

UNITS = Path("etc/systemd/system")
_SHIPPED = Path("/lib/systemd/system")
_NETWORKD = (
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
)
_NETWORKMANAGER = {
    "NetworkManager.service": "multi-user.target.wants",
    "NetworkManager-wait-online.service": "network-online.target.wants",
    # It is started by D-Bus, which systemd forgets when the lab lets it start anew after the boot.
    "NetworkManager-dispatcher.service": "multi-user.target.wants",
}


def use_networkmanager(root: Path) -> None:
    """NetworkManager instead of networkd, from the next boot on."""
    folder = root / UNITS
    for unit in _NETWORKD:
        (folder / unit).symlink_to("/dev/null")
    for unit, wants in _NETWORKMANAGER.items():
        (folder / unit).unlink()
        (folder / wants).mkdir(exist_ok=True)
        (folder / wants / unit).unlink(missing_ok=True)
        (folder / wants / unit).symlink_to(_SHIPPED / unit)
    alias = folder / "dbus-org.freedesktop.nm-dispatcher.service"
    alias.unlink(missing_ok=True)
    alias.symlink_to(_SHIPPED / "NetworkManager-dispatcher.service")
