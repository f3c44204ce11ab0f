# SPDX-License-Identifier: Apache-2.0
"""The network manager that a host runs: the root file systems have networkd enabled, NetworkManager
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
    # D-Bus starts it, and systemd forgets that when the lab executes it again after the boot.
    "NetworkManager-dispatcher.service": "multi-user.target.wants",
}


_INTERFACES = """\
auto lo ens5
iface lo inet loopback
iface ens5 inet dhcp
iface ens5 inet6 dhcp
"""


def use_ifupdown(root: Path) -> None:
    """ifupdown for the primary instead of networkd, and a /etc/resolv.conf that is its DHCP client's."""
    mask_networkd(root)
    for name in ("networking.service", "sysinit.target.wants/systemd-resolved.service"):
        (root / UNITS / name).unlink()
    (root / "etc/network/interfaces").write_text(_INTERFACES)
    (root / "etc/resolv.conf").unlink()
    (root / "etc/resolv.conf").write_text("nameserver 169.254.169.253\n")


def mask_networkd(root: Path) -> None:
    """Keep systemd-networkd from every boot."""
    for unit in _NETWORKD:
        (root / UNITS / unit).symlink_to("/dev/null")


def use_networkmanager(root: Path) -> None:
    """NetworkManager instead of networkd, from the next boot on."""
    folder = root / UNITS
    mask_networkd(root)
    for unit, wants in _NETWORKMANAGER.items():
        (folder / unit).unlink()
        (folder / wants).mkdir(exist_ok=True)
        (folder / wants / unit).unlink(missing_ok=True)
        (folder / wants / unit).symlink_to(_SHIPPED / unit)
    alias = folder / "dbus-org.freedesktop.nm-dispatcher.service"
    alias.unlink(missing_ok=True)
    alias.symlink_to(_SHIPPED / "NetworkManager-dispatcher.service")
