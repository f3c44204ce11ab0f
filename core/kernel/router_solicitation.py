# SPDX-License-Identifier: Apache-2.0
"""Ask the routers of a link to advertise themselves now (RFC 4861, section 6.3.7).

systemd-networkd waits a random time of up to one second before it asks. It listens meanwhile, and
accepts an answer to another program's request.
"""

import socket
import struct

from ec2net.core.model.errors import KernelError

_ALL_ROUTERS = "ff02::2"
_SOLICITATION = struct.pack("!BBHI", 133, 0, 0, 0)
"""Type, code, checksum (the kernel computes it), reserved; without a source link-layer address."""
_HOPS = 255
"""Routers ignore any other value (RFC 4861, section 6.1.1)."""


def solicit_router(link: int) -> None:
    """Send one solicitation through the link of this index. Raises ``KernelError``."""
    try:
        with socket.socket(
            socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
        ) as sender:
            sender.setblocking(False)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
            sender.sendto(_SOLICITATION, (_ALL_ROUTERS, 0, 0, link))
    except OSError as error:
        raise KernelError(
            f"no router solicitation through link {link}: {error.strerror}", errno=error.errno or 0
        ) from error
