# SPDX-License-Identifier: Apache-2.0
"""Messages of the kernel, as pyroute2 gave them on Linux 6.18, to values; and values to requests."""

import struct
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
import vrf_dump

from ec2net.core.kernel import decode, wire
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, LinkRef, Route, RouteKind
from ec2net.core.model.snapshot import AddressState, Found

pytestmark = pytest.mark.library

NAMES = {1: "lo", 3: "ens6"}
ENS6 = LinkRef(3, "ens6")
MAC = "06:ec:02:00:00:01"


def link_message(*attrs: Any, **fields: Any) -> dict[str, Any]:
    found = {"index": 3, "ifi_type": 1, "flags": 69699, "family": 0, **fields}
    names = {name for name, *_ in attrs}
    usual = (("IFLA_IFNAME", "ens6"), ("IFLA_MTU", 1500), ("IFLA_GROUP", 236))
    return {**found, "attrs": [*(pair for pair in usual if pair[0] not in names), *attrs]}


VETH: tuple[Any, ...] = (
    ("IFLA_ADDRESS", MAC),
    ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]}),
    ("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", "eni-1")]}, 32768),
)


def test_a_link_is_decoded() -> None:
    plain = Link(3, "ens6", Mac(MAC), "", "veth", 1500, True, 236, ("eni-1",))
    assert decode.link(link_message(*VETH)) == plain
    down = decode.link(link_message(*VETH, flags=69698))
    assert down == replace(plain, up=False)


@pytest.mark.parametrize(
    ("attrs", "kind", "mac"),
    [
        pytest.param(
            [("IFLA_PERM_ADDRESS", MAC), ("IFLA_ADDRESS", "02:00:00:00:00:99")], 1, MAC,
            id="the permanent MAC, whatever was set since",
        ),
        pytest.param([("IFLA_ADDRESS", MAC.upper())], 1, MAC, id="the present one"),
        pytest.param([("IFLA_ADDRESS", "00:00:00:00:00:00")], 772, None, id="loopback"),
        pytest.param([("IFLA_ADDRESS", "00:00:00:00:00:00")], 1, None, id="no MAC at all"),
        pytest.param([("IFLA_ADDRESS", "10.0.0.1")], 776, None, id="a tunnel"),
        pytest.param(
            [("IFLA_ADDRESS", "00:00:10:86:fe:80:00:00:00:00:00:00:24:8a:07:03:00:a2:a0:c6")], 32,
            None, id="InfiniBand: 20 bytes",
        ),
        pytest.param([], 65534, None, id="tun: none"),
    ],
)  # fmt: skip
def test_the_mac_of_a_link_is_the_permanent_one(
    attrs: list[Any], kind: int, mac: str | None
) -> None:
    found = decode.link_mac(link_message(*attrs, ifi_type=kind))
    assert found == (Mac(mac) if mac else None)


def test_an_eni_of_hardware_has_no_kind() -> None:
    assert decode.link(link_message(("IFLA_ADDRESS", MAC))).kind == ""


def address_message(header: tuple[int, ...], **attributes: bytes) -> bytes:
    """``header``: family, length, flags, scope, index; ``attributes`` by number, as _2."""
    body = struct.pack("=4BI", *header)
    for name, value in attributes.items():
        attribute = struct.pack("=HH", 4 + len(value), int(name[1:])) + value
        body += attribute.ljust((len(attribute) + 3) & ~3, b"\0")
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


def packed(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.parametrize(
    ("message", "found"),
    [
        pytest.param(
            address_message((2, 24, 128, 0, 3), _1=packed("10.0.1.4"), _2=packed("10.0.1.4"),
                            _4=packed("10.0.1.255"), _3=b"ens6\0", _8=b"\x80\2\0\0"),
            Found(Address(ENS6, ip_interface("10.0.1.4/24")), 0),
            id="IPv4, of an unknown creator",
        ),
        pytest.param(
            address_message((2, 32, 128, 0, 3), _1=packed("10.0.1.9"), _2=packed("10.0.1.9"),
                            _11=b"\xec"),
            Found(Address(ENS6, ip_interface("10.0.1.9/32")), 236),
            id="IPv4, ours",
        ),
        pytest.param(
            address_message((2, 32, 128, 0, 3), _1=packed("10.9.9.9"), _2=packed("10.0.1.4")),
            Found(Address(ENS6, ip_interface("10.0.1.4/32")), 0),
            id="IPv4, point to point: our end",
        ),
        pytest.param(
            address_message((10, 64, 192, 253, 9), _1=packed("fe80::1"), _8=b"\xc0\0\0\0",
                            _11=b"\3", _99=b"x"),
            Found(Address(LinkRef(9, "9"), ip_interface("fe80::1/64")), 3),
            id="IPv6, on a link that came since",
        ),
        pytest.param(address_message((35, 0, 0, 0, 3), _2=b"\x10"), None, id="PhoNet"),
    ],
)  # fmt: skip
def test_an_address_is_decoded(message: bytes, found: Found[Address] | None) -> None:
    assert decode.address(message, NAMES) == found


@pytest.mark.parametrize(
    ("flags", "cache", "duplicate", "valid"),
    [
        (0x80, None, False, None),
        (0x80, (0xFFFFFFFF, 0xFFFFFFFF), False, None),
        (0x0, (100, 300), False, 300),
        (0x40, None, False, None),  # tentative: it may turn out well
        (0x4, None, False, None),  # optimistic: used all the same
        (0xC8, None, True, None),  # permanent, tentative, dadfailed
    ],
)
def test_the_flags_give_the_state_of_an_address(
    flags: int, cache: tuple[int, int] | None, duplicate: bool, valid: int | None
) -> None:
    attributes = {"_1": packed("2001:db8::4")}
    if cache is not None:
        attributes["_6"] = struct.pack("=4I", *cache, 5, 6)
    message = address_message((10, 128, flags, 0, 3), **attributes)
    address = ip_interface("2001:db8::4/128")
    expected = AddressState(ENS6, address, duplicate, valid, tentative=bool(flags & 0x40))
    assert decode.address_state(message, NAMES) == expected


def route_message(*attrs: Any, **fields: Any) -> dict[str, Any]:
    usual = {"family": 2, "dst_len": 0, "src_len": 0, "tos": 0, "table": 254, "proto": 3}
    return {**usual, "scope": 0, "type": 1, "flags": 0, **fields, "attrs": list(attrs)}


MULTIPATH = [{"attrs": [("RTA_GATEWAY", "10.0.1.1")], "flags": 4, "hops": 0, "oif": 3}] * 2


@pytest.mark.parametrize(
    ("message", "route", "protocol"),
    [
        pytest.param(
            route_message(("RTA_TABLE", 10001), ("RTA_PREFSRC", "10.0.1.4"),
                          ("RTA_GATEWAY", "10.0.1.1"), ("RTA_OIF", 3),
                          table=252, proto=236, flags=4),
            Route(ip_network("0.0.0.0/0"), 10001, 0, ENS6, ip_address("10.0.1.1"),
                  ip_address("10.0.1.4")),
            236,
            id="a default route in a table above 255",
        ),
        pytest.param(
            route_message(("RTA_TABLE", 10001), ("RTA_DST", "2001:db8:9::"),
                          ("RTA_PRIORITY", 1024), ("RTA_OIF", 3), family=10, dst_len=64,
                          table=252, proto=236),
            Route(ip_network("2001:db8:9::/64"), 10001, 1024, ENS6),
            236,
            id="IPv6 on-link",
        ),
        pytest.param(
            route_message(("RTA_TABLE", 255), ("RTA_DST", "10.0.1.16"), ("RTA_OIF", 3),
                          dst_len=28, table=255, proto=236, scope=254, type=2),
            Route(ip_network("10.0.1.16/28"), 255, 0, ENS6, kind=RouteKind.LOCAL),
            236,
            id="a delegated prefix as local",
        ),
        pytest.param(
            route_message(("RTA_TABLE", 254), ("RTA_DST", "10.99.0.0"), dst_len=16, type=7),
            Route(ip_network("10.99.0.0/16"), 254, 0, LinkRef(0, "0"),
                  kind=RouteKind.UNREACHABLE),
            3,
            id="unreachable",
        ),
        pytest.param(
            route_message(("RTA_TABLE", 254), ("RTA_DST", "10.98.0.0"),
                          ("RTA_MULTIPATH", MULTIPATH), dst_len=16),
            Route(ip_network("10.98.0.0/16"), 254, 0, LinkRef(0, "0"), kind=RouteKind.OTHER),
            3,
            id="several next hops are none that we make",
        ),
        pytest.param(
            route_message(("RTA_DST", "10.0.1.255"), ("RTA_OIF", 3), dst_len=32, type=3,
                          table=255, proto=2),
            Route(ip_network("10.0.1.255/32"), 255, 0, ENS6, kind=RouteKind.OTHER),
            2,
            id="broadcast, its table in the header only",
        ),
    ],
)  # fmt: skip
def test_a_route_is_decoded(message: dict[str, Any], route: Route, protocol: int) -> None:
    found = decode.route(message, NAMES)
    assert found == Found(route, protocol)
    assert found is not None
    assert str(found.item.link) == str(route.link)


@pytest.mark.parametrize("message", [route_message(family=128), route_message(flags=0x200)])
def test_multicast_and_cached_routes_are_omitted(message: dict[str, Any]) -> None:
    assert decode.route(message, NAMES) is None


@pytest.mark.parametrize("fields", [{"tos": 0x10}, {"family": 10, "src_len": 64}])
def test_routes_for_a_part_of_the_traffic_are_omitted(fields: dict[str, int]) -> None:
    """They exist in addition to ec2net's route, and do not replace it."""
    message = route_message(("RTA_OIF", 3), **fields)
    assert decode.route(message, NAMES) is None


def test_the_largest_mtu_of_a_link_is_decoded() -> None:
    assert decode.link(link_message(("IFLA_MAX_MTU", 3498))).mtu_max == 3498
    assert decode.link(link_message()).mtu_max == 0


def test_a_vrf_and_its_port_are_read_from_a_written_dump() -> None:
    vrf, port = (
        decode.link(decode.message(wire.only(raw, wire.LINKS), wire.LINKS))
        for raw in (vrf_dump.vrf(), vrf_dump.port(MAC))
    )
    assert (vrf.index, vrf.kind, vrf.vrf_table) == (vrf_dump.VRF, "vrf", vrf_dump.VRF_TABLE)
    assert (port.master, port.kind, port.vrf_table) == (vrf_dump.VRF, "", 0)
    assert (str(port.mac), port.name) == (MAC, "ens6")
