# SPDX-License-Identifier: Apache-2.0
"""The driver of a link: udev's ID_NET_DRIVER, asked of the kernel directly.

The driver identifies an ENI (``links.drivers``, compared in ``core/decide/candidate.py``:
``eni_links``). ec2net uses an ioctl instead of sysfs, which may show another namespace's links.
"""

import fcntl
import os
import socket
import struct
from array import array
from typing import Self

_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3
_DRVINFO = struct.Struct("I32s32s32s32s32s12s5I")
"""struct ethtool_drvinfo (include/uapi/linux/ethtool.h); the driver's name is its second field."""
_IFREQ = struct.Struct("16sP")


class Drivers:
    """Use as a context manager."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def of(self, link: str) -> str:
        """The driver's name; empty where the link has none, is gone, or cannot say now.

        A device that is being reset is detached for a while, and answers ENODEV to every
        ethtool request (netif_device_present in net/ethtool/ioctl.c).
        """
        answer = array("B", bytes(_DRVINFO.size))  # an array has an address to give to the kernel
        struct.pack_into("I", answer, 0, _ETHTOOL_GDRVINFO)
        request = _IFREQ.pack(os.fsencode(link), answer.buffer_info()[0])
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        except OSError:
            return ""
        name: bytes = _DRVINFO.unpack(answer.tobytes())[1]
        return name.split(b"\0", 1)[0].decode("ascii", "replace")
