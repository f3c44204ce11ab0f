# SPDX-License-Identifier: Apache-2.0
"""The daemon reads the kernel's events by their bytes."""

import struct
from collections.abc import Iterator

import pytest

from ec2net.core.daemon.events import EVERYTHING, Changes, HostEvents

OURS, DHCP = 236, 16
NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWRULE, DELRULE = 20, 21, 24, 25, 32, 33
NEWNEXTHOP, DELNEXTHOP = 104, 105
RTA_OIF, RTA_TABLE = 4, 15
MAIN, LOCAL = 254, 255
TABLES = range(10000, 10100)
FRA_PROTOCOL = 21
ENI, ANOTHER = 3, 9


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def address(kind: int, index: int) -> bytes:
    local = struct.pack("=HH4B", 8, 2, 10, 0, 1, 4)
    return message(kind, struct.pack("=BBBBI", 2, 24, 0, 0, index) + local)


def route(
    protocol: int, *, kind: int = DELROUTE, length: int = 24, table: int = MAIN, link: int = 1
) -> bytes:
    small = table if table < 256 else 0
    attributes = struct.pack("=HHIHHI", 8, RTA_OIF, link, 8, RTA_TABLE, table)
    return message(kind, bytes((2, length, 0, 0, small, protocol, 0, 1)) + bytes(4) + attributes)


def rule(protocol: int, kind: int = DELRULE) -> bytes:
    attribute = struct.pack("=HHB3x", 5, FRA_PROTOCOL, protocol)
    return message(kind, bytes(12) + attribute)


@pytest.fixture
def events() -> Iterator[HostEvents]:
    with HostEvents(OURS, ["ena"], TABLES) as made:
        made.watch([ENI])
        yield made


@pytest.mark.parametrize(
    ("queued", "changes"),
    [
        ([], Changes()),
        ([None], EVERYTHING),  # events were lost: anything may have happened
        ([route(DHCP), None], EVERYTHING),
        ([route(OURS)], Changes(drift=True)),
        ([route(DHCP)], Changes()),
        ([route(DHCP, link=ENI)], Changes(routing=True, routes=True)),
        ([route(DHCP, kind=NEWROUTE, link=ANOTHER)], Changes()),
        ([route(OURS, kind=NEWROUTE)], Changes()),
        ([message(DELNEXTHOP, bytes(8))], Changes(routes=True)),
        ([message(NEWNEXTHOP, bytes(8))], Changes()),
        ([rule(OURS)], Changes(drift=True)),
        ([rule(DHCP)], Changes(routing=True)),
        ([rule(DHCP, NEWRULE)], Changes(routing=True)),
        ([rule(OURS, NEWRULE)], Changes()),
        ([route(OURS, kind=NEWROUTE, length=0)], Changes()),
        ([route(DHCP, kind=NEWROUTE)], Changes()),
        ([route(DHCP, kind=NEWROUTE, length=0)], Changes(routing=True)),
        ([route(DHCP, kind=NEWROUTE, link=ENI)], Changes(routing=True, routes=True)),
        ([route(DHCP, kind=NEWROUTE, link=ENI, table=LOCAL)], Changes()),
        ([route(DHCP, table=10001)], Changes(routing=True)),
        ([route(DHCP, table=4711)], Changes()),
        ([address(NEWADDR, ENI)], Changes(addresses=True)),
        ([address(DELADDR, ENI)], Changes(drift=True, addresses=True)),
        ([address(DELADDR, ANOTHER)], Changes()),
        (
            [route(DHCP) + rule(OURS)],
            Changes(drift=True),
        ),  # two messages in one datagram
        ([rule(OURS), address(NEWADDR, ENI)], Changes(drift=True, addresses=True)),
    ],
)
def test_each_event_has_its_effect(
    events: HostEvents,
    monkeypatch: pytest.MonkeyPatch,
    queued: list[bytes | None],
    changes: Changes,
) -> None:
    monkeypatch.setattr(events, "queued", lambda: iter(queued))
    assert events.taken() == changes


def test_a_repeated_announcement_of_a_route_has_no_effect(
    events: HostEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd-networkd does with each router advertisement."""
    new = route(DHCP, kind=NEWROUTE, length=0, link=ENI)
    gone = route(DHCP, length=0, link=ENI)
    said = []
    for queued in (new, new, gone, new):
        monkeypatch.setattr(events, "queued", lambda queued=queued: iter([queued]))
        said.append(events.taken().routing)
    assert said == [True, False, True, True]
