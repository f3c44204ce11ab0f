# SPDX-License-Identifier: Apache-2.0
"""Dumps of a host with an ENI in a VRF, written by hand: the tests' kernel has no VRF.

Attributes: include/uapi/linux/if_link.h (IFLA_VRF_TABLE, IFLA_INFO_SLAVE_KIND) and fib_rules.h; what
the kernel fills in: rtnl_fill_ifinfo (net/core/rtnetlink.c), vrf_fillinfo and vrf_fib_rule
(drivers/net/vrf.c), fib_nl_fill_rule (net/core/fib_rules.c), all of Linux 6.1.
"""

import struct

VRF_TABLE = 1042
VRF, PORT = 20, 3
"""Indices: of the VRF, and of the ENI's link."""


def _attribute(number: int, value: bytes) -> bytes:
    padded = value.ljust(-(-len(value) // 4) * 4, b"\0")
    return struct.pack("=HH", 4 + len(value), number) + padded


def _number(number: int, value: int) -> bytes:
    return _attribute(number, struct.pack("=I", value))


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def _link(index: int, name: str, mac: str, *more: bytes) -> bytes:
    """RTM_NEWLINK of an Ethernet link that is up."""
    body = struct.pack("=BxHiII", 0, 1, index, 0x11043, 0)
    attributes = (
        _attribute(3, name.encode() + b"\0"),
        _attribute(1, bytes.fromhex(mac.replace(":", ""))),
        _number(4, 9001),
        *more,
    )
    return _message(16, body + b"".join(attributes))


def vrf(name: str = "vrf-blue") -> bytes:
    """IFLA_LINKINFO with kind ``vrf`` and IFLA_VRF_TABLE."""
    info = _attribute(1, b"vrf\0") + _attribute(2, _number(1, VRF_TABLE))
    return _link(VRF, name, "de:ad:be:ef:00:01", _attribute(18, info))


def port(mac: str, name: str = "ens6") -> bytes:
    """IFLA_MASTER, and in IFLA_LINKINFO only IFLA_INFO_SLAVE_KIND and its IFLA_VRF_PORT_TABLE."""
    info = _attribute(4, b"vrf\0") + _attribute(5, _number(1, VRF_TABLE))
    return _link(PORT, name, mac, _number(10, VRF), _attribute(18, info))


def l3mdev_rule(family: int = 2) -> bytes:
    """The rule that the first VRF of a host brings: FRA_L3MDEV at priority 1000, without a table."""
    body = struct.pack("=8BI", family, 0, 0, 0, 0, 0, 0, 1, 0)
    body += _number(15, 0) + _number(14, 0xFFFFFFFF) + _number(6, 1000)
    return _message(32, body + _attribute(21, b"\2") + _attribute(19, b"\1"))


def route(length: int, protocol: int, table: int = VRF_TABLE) -> bytes:
    """RTM_NEWROUTE to 10.0.1.0 with a prefix of this length."""
    body = struct.pack("=8BI", 2, length, 0, 0, 252, protocol, 0, 1, 0)
    body += _number(15, table) + (_attribute(1, bytes((10, 0, 1, 0))) if length else b"")
    return _message(24, body + _number(4, PORT))
