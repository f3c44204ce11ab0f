# SPDX-License-Identifier: Apache-2.0
"""Which raw routes are decoded, and which attributes are cut from raw messages."""

import struct
from ipaddress import ip_network

import pytest
import vrf_dump

from ec2net.core.kernel import pyroute, wire
from ec2net.core.kernel.relevance import RelevantRoutes

pytestmark = pytest.mark.library

OURS, KERNEL, BOOT, BIRD = 236, 2, 3, 12
MAIN, LOCAL, COMPAT = 254, 255, 252
TABLES = range(10000, 13200)


def attribute(number: int, value: bytes) -> bytes:
    padded = value.ljust(-(-len(value) // 4) * 4, b"\0")
    return struct.pack("=HH", 4 + len(value), number) + padded


def route(
    table: int, protocol: int, *, length: int = 24, flags: int = 0, whole: int | None = None
) -> bytes:
    """RTM_NEWROUTE as the kernel writes it; RTA_TABLE is ``whole`` (by default the table)."""
    body = struct.pack("=8BI", 2, length, 0, 0, table, protocol, 0, 1, flags)
    body += attribute(15, struct.pack("=I", table if whole is None else whole))
    body += attribute(1, bytes((10, 0, 1, 0)))
    return struct.pack("=IHHII", 16 + len(body), 24, 2, 1, 0) + body


@pytest.mark.parametrize(
    ("raw", "matters"),
    [
        (route(MAIN, OURS), True),
        (route(LOCAL, OURS), True),
        (route(COMPAT, OURS, whole=777), True),
        (route(MAIN, BOOT, length=0), True),
        (route(MAIN, BIRD), False),
        (route(MAIN, KERNEL), False),
        (route(LOCAL, BOOT), True),
        (route(LOCAL, KERNEL), False),
        (route(COMPAT, BOOT, whole=10002), True),
        (route(COMPAT, BIRD, whole=4242), False),
        (route(100, BOOT), False),
        (route(MAIN, OURS, flags=0x200), False),
    ],
    ids=[
        "ours in main",
        "ours in local",
        "ours in another table",
        "a default route in main",
        "a router's route in main",
        "a connected subnet in main",
        "a foreign local route",
        "the kernel's local route",
        "a foreign route in an ENI's table",
        "a router's route in its own table",
        "a small table",
        "a cached route",
    ],
)
def test_owned_and_conflicting_routes_are_decoded(raw: bytes, matters: bool) -> None:
    """A router's million routes in main must not use up a pass; an ENI's table is decoded."""
    assert RelevantRoutes(OURS, TABLES)(raw) is matters


def test_a_route_with_several_next_hops_leads_through_each_of_them() -> None:
    body = struct.pack("=8BI", 2, 24, 0, 0, MAIN, BIRD, 0, 1, 0)
    hops = b"".join(struct.pack("=HBBi", 8, 0, 0, link) for link in (2, 3))
    raw = struct.pack("=IHHII", 32 + 4 + len(hops) - 4, 24, 2, 1, 0) + body + attribute(9, hops)
    matters = [RelevantRoutes(OURS, TABLES, links=[link])(raw) for link in (2, 3, 4)]
    assert matters == [True, True, False]


def test_without_a_range_every_table_above_255_could_belong_to_an_eni() -> None:
    relevant = RelevantRoutes(OURS, None)
    assert relevant(route(COMPAT, BIRD, whole=4242))
    assert not relevant(route(100, BOOT))


def test_an_unused_attribute_is_cut_before_decoding() -> None:
    body = struct.pack("=8BI", 2, 24, 0, 0, MAIN, OURS, 0, 1, 0)
    body += attribute(12, bytes(32))  # RTA_CACHEINFO
    body += attribute(1, bytes((10, 0, 1, 0)))
    raw = struct.pack("=IHHII", 16 + len(body), 24, 2, 7, 0) + body
    message = pyroute.message_class("rtmsg")(wire.only(raw, wire.ROUTES))
    message.decode()
    assert [pair[:2] for pair in message["attrs"]] == [["RTA_DST", "10.0.1.0"]]
    assert (message["dst_len"], message["header"]["type"]) == (24, 24)


@pytest.mark.parametrize("broken", [b"\x00\x00\x01\x00", b"\x01", b"\xff\xff\x01\x00"])
def test_attributes_that_end_early_do_not_loop(broken: bytes) -> None:
    raw = route(MAIN, OURS) + broken
    assert wire.number(raw, wire.ROUTES, 15) == MAIN
    assert wire.only(raw, wire.ROUTES).startswith(b"")


@pytest.mark.parametrize(
    ("length", "protocol", "matters"),
    [(0, BOOT, True), (24, KERNEL, True), (32, BIRD, False), (16, OURS, True)],
    ids=["a default route", "the ENI's subnet", "a router's route", "ours"],
)
def test_routes_in_the_table_of_a_vrf_count_as_those_of_main_do_from_a_written_dump(
    length: int, protocol: int, matters: bool
) -> None:
    subnets = (ip_network("10.0.1.0/24"),)
    in_vrf = RelevantRoutes(OURS, TABLES, subnets, (), (vrf_dump.VRF_TABLE,))
    raw = vrf_dump.route(length, protocol)
    assert in_vrf(raw) is matters
    assert RelevantRoutes(OURS, TABLES, subnets)(raw) is (protocol == OURS)
