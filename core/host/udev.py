# SPDX-License-Identifier: Apache-2.0
"""Whether udev is done with a link: until then its name is not its last one."""

from pathlib import Path

from ec2net.core.kernel.link_events import KernelEvents

SECONDS = 5.0
"""For udev to name a link: systemd-networkd would wait for that as well."""

_NETLINK_KOBJECT_UEVENT = 15
_MONITOR = 2
"""Multicast group of events that udev has processed (libudev)."""

_CONTROL = Path("/run/udev/control")
_DATA = Path("/run/udev/data")


def udev_events() -> KernelEvents:
    """Turns readable when udev is done with a device, whichever."""
    return KernelEvents(_MONITOR, _NETLINK_KOBJECT_UEVENT)


def is_done_with(index: int) -> bool:
    """Whether udev has processed the link of this index (sd_device_get_is_initialized(3))."""
    return (_DATA / f"n{index}").exists()


def is_running() -> bool:
    return _CONTROL.exists()
