# SPDX-License-Identifier: Apache-2.0
"""Whether udev is done with a link: until then its name is not its last one."""

from contextlib import suppress
from pathlib import Path

from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.kernel.packet_filter import Word

SECONDS = 5.0
"""For udev to name a link: systemd-networkd would wait for that as well."""

_NETLINK_KOBJECT_UEVENT = 15
_MONITOR = 2
"""Multicast group of events that udev has processed (libudev)."""

_MAGIC, _MAGIC_OFFSET = 0xFEEDCAFE, 8
_SUBSYSTEM_OFFSET = 24
_NET = 0xA74D3CC8
"""The header of an event of libudev, and its hash of "net" (struct monitor_netlink_header and
string_hash32 in systemd's src/libsystemd/sd-device)."""

_CONTROL = Path("/run/udev/control")
_DATA = Path("/run/udev/data")


def udev_events() -> KernelEvents:
    """Turns readable when udev is done with a network device, whichever.

    The kernel drops events of other devices, such as the hundreds of ``udevadm trigger``.
    """
    events = KernelEvents(_MONITOR, _NETLINK_KOBJECT_UEVENT)
    with suppress(OSError):  # without the filter, those events wake the daemon up
        events.accept_only(
            Word(_MAGIC_OFFSET, _MAGIC, otherwise_accept=True), Word(_SUBSYSTEM_OFFSET, _NET)
        )
    return events


def is_done_with(index: int) -> bool:
    """Whether udev has processed the link of this index (sd_device_get_is_initialized(3))."""
    return (_DATA / f"n{index}").exists()


def is_running() -> bool:
    return _CONTROL.exists()
