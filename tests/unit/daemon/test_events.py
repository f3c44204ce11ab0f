# SPDX-License-Identifier: Apache-2.0
"""The resident manager reads the kernel's events by their bytes."""

import struct
from collections.abc import Iterator

import pytest

from ec2net.core.daemon.events import EVERYTHING, Changes, HostEvents

OURS, DHCP = 236, 16
NEWADDR, DELADDR, DELROUTE, DELRULE = 20, 21, 25, 33
NEWROUTE, NEWNEXTHOP, DELNEXTHOP = 24, 104, 105
FRA_PROTOCOL, RTA_OIF = 21, 4
ENI, ANOTHER = 3, 9


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def address(kind: int, index: int) -> bytes:
    local = struct.pack("=HH4B", 8, 2, 10, 0, 1, 4)
    return message(kind, struct.pack("=BBBBI", 2, 24, 0, 0, index) + local)


def route(protocol: int, kind: int = DELROUTE, table: int = 254, link: int = ENI) -> bytes:
    body = bytes((2, 24, 0, 0, table, protocol, 0, 1)) + bytes(4)
    return message(kind, body + struct.pack("=HHI", 8, RTA_OIF, link))


def rule(protocol: int) -> bytes:
    attribute = struct.pack("=HHB3x", 5, FRA_PROTOCOL, protocol)
    return message(DELRULE, bytes(12) + attribute)


@pytest.fixture
def events() -> Iterator[HostEvents]:
    with HostEvents(OURS, ["ena"]) as made:
        made.watch([ENI])
        yield made


@pytest.mark.parametrize(
    ("queued", "changes"),
    [
        ([], Changes()),
        ([None], EVERYTHING),  # events were lost: anything may have happened
        ([route(DHCP), None], EVERYTHING),
        ([route(OURS)], Changes(drift=True)),
        ([route(DHCP)], Changes(routes=True)),
        ([route(DHCP, NEWROUTE)], Changes(routes=True)),
        ([route(DHCP, NEWROUTE, link=ANOTHER)], Changes()),
        ([route(DHCP, NEWROUTE, table=0)], Changes()),
        ([route(OURS, NEWROUTE)], Changes()),
        ([message(DELNEXTHOP, bytes(8))], Changes(routes=True)),
        ([message(NEWNEXTHOP, bytes(8))], Changes()),
        ([rule(OURS)], Changes(drift=True)),
        ([rule(DHCP)], Changes()),
        ([address(NEWADDR, ENI)], Changes(addresses=True)),
        ([address(DELADDR, ENI)], Changes(drift=True, addresses=True)),
        ([address(DELADDR, ANOTHER)], Changes()),
        (
            [route(DHCP) + rule(OURS)],
            Changes(drift=True, routes=True),
        ),  # two messages in one datagram
        ([rule(OURS), address(NEWADDR, ENI)], Changes(drift=True, addresses=True)),
    ],
)
def test_what_events_mean(
    events: HostEvents,
    monkeypatch: pytest.MonkeyPatch,
    queued: list[bytes | None],
    changes: Changes,
) -> None:
    monkeypatch.setattr(events, "queued", lambda: iter(queued))
    assert events.taken() == changes
