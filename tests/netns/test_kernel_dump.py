# SPDX-License-Identifier: Apache-2.0
"""Dumps against the real kernel: complete, and not slowed down by what does not matter."""

import errno
import os
from collections.abc import Iterator

import pytest

from ec2net.core.kernel import dump, wire
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.facts import Link
from ec2net.core.model.objects import LOCAL_TABLE, MAIN_TABLE, RouteKind, Rule
from ec2net.core.model.snapshot import AddressState, Snapshot
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = [pytest.mark.netns, pytest.mark.library]

OURS = 236
TABLES = range(10000, 13200)


@pytest.fixture
def host() -> Iterator[Namespace]:
    namespace = Namespace.create("dumped")
    namespace.ip(
        [
            "link set lo up",
            "link add eth0 address 06:00:00:00:00:01 mtu 9001 group 7 type veth peer name peer0",
            "link property add dev eth0 altname eni-0123456789abcdef0",
            "link set eth0 up",
            "link set peer0 up",
            "addr add 10.0.1.5/24 dev eth0",
            "addr add 2001:db8::5/64 dev eth0 nodad",
        ]
    )
    yield namespace
    namespace.delete()


def snapshot(host: Namespace, tables: range | None = TABLES) -> Snapshot:
    def look() -> Snapshot:
        with Kernel(OURS, tables) as kernel:
            return kernel.snapshot(["veth"])

    return host.call(look)


def found(snapshot: Snapshot, link: str) -> Link:
    return next(one for one in snapshot.links if one.name == link)


def test_a_link_is_read_with_all_used_attributes(host: Namespace) -> None:
    link = found(snapshot(host), "eth0")
    assert (str(link.mac), link.mtu, link.group, link.up) == ("06:00:00:00:00:01", 9001, 7, True)
    assert (link.kind, link.driver) == ("veth", "veth")
    assert link.altnames == ("eni-0123456789abcdef0",)
    assert found(snapshot(host), "lo").mac is None


def test_the_largest_mtu_of_a_device_is_read(host: Namespace) -> None:
    """A tap device takes 65535 bytes less its header of 14 (drivers/net/tun.c)."""
    host.run(["ip", "tuntap", "add", "tap0", "mode", "tap"])
    assert found(snapshot(host), "tap0").mtu_max == 65535 - 14


def test_relevant_routes_are_read_from_every_table(host: Namespace) -> None:
    host.ip(
        [
            "route add default via 10.0.1.1 dev eth0 proto dhcp metric 512",
            "route add 10.9.0.0/16 via 10.0.1.1 dev eth0 proto bird",
            "route add 10.8.0.0/16 dev eth0 table 10002 proto static",
            "route add 10.7.0.0/16 dev eth0 table 4242 proto static",
            f"route add default via 10.0.1.1 dev eth0 table 10001 proto {OURS} src 10.0.1.5",
            f"route add local 10.0.1.64/28 dev eth0 table local proto {OURS}",
            f"route add ::/0 via fe80::1 dev eth0 table 10001 proto {OURS}",
        ]
    )
    routes = {
        (str(f.item.destination), f.item.table, f.protocol): f.item for f in snapshot(host).routes
    }
    assert set(routes) == {
        ("0.0.0.0/0", MAIN_TABLE, 16),
        ("10.8.0.0/16", 10002, 4),
        ("0.0.0.0/0", 10001, OURS),
        ("10.0.1.64/28", LOCAL_TABLE, OURS),
        ("::/0", 10001, OURS),
    }
    own = routes["0.0.0.0/0", 10001, OURS]
    assert (str(own.gateway), str(own.source), str(own.link)) == ("10.0.1.1", "10.0.1.5", "eth0")
    assert routes["10.0.1.64/28", LOCAL_TABLE, OURS].kind is RouteKind.LOCAL
    assert routes["0.0.0.0/0", MAIN_TABLE, 16].metric == 512


def test_a_rule_with_an_unknown_selector_is_not_owned(host: Namespace) -> None:
    host.ip(
        [
            f"rule add from 10.0.1.5 lookup 10001 priority 10001 protocol {OURS}",
            f"rule add from 10.0.1.6 ipproto tcp lookup 10001 priority 10001 protocol {OURS}",
        ]
    )
    ours = [f.item for f in snapshot(host).rules if f.protocol == OURS]
    assert [(rule.priority, str(rule.source)) for rule in ours if isinstance(rule, Rule)] == [
        (10001, "10.0.1.5/32")
    ]


def test_a_dump_of_many_parts_is_complete(host: Namespace) -> None:
    """The kernel answers in parts of 32 KiB at most."""
    host.ip(f"addr add 10.2.{n // 250}.{1 + n % 250}/32 dev eth0" for n in range(2000))
    addresses = {str(f.item.interface.ip) for f in snapshot(host).addresses}
    assert {f"10.2.{n // 250}.{1 + n % 250}" for n in range(2000)} <= addresses


def test_routes_of_a_router_are_not_decoded(host: Namespace) -> None:
    """A full table (BGP) in main costs a pass next to nothing: 9 s for 100,000 if decoded."""
    host.ip(
        f"route add 20.{n // 256}.{n % 256}.0/24 via 10.0.1.1 dev eth0 proto bird"
        for n in range(5000)
    )
    calls = 0

    def look() -> None:
        nonlocal calls
        dumps = dump.Dumps()
        try:
            calls = len(dumps.read(wire.ROUTES, repr, family=2, wanted=lambda raw: False))
            assert len(dumps._whole(wire.ROUTES, 2, None)) > 5000
        finally:
            dumps.close()

    host.call(look)
    assert calls == 0
    assert not [f for f in snapshot(host).routes if str(f.item.destination).startswith("20.")]


def test_a_refused_dump_is_an_error_with_its_errno(host: Namespace) -> None:
    def ask() -> None:
        dumps = dump.Dumps()
        try:
            dumps._whole(wire.Kind("rtmsg", 26 + 4 * 1000, 12), 2, None)
        finally:
            dumps.close()

    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)) as raised:
        host.call(ask)
    assert raised.value.errno == errno.EOPNOTSUPP


def test_only_the_driver_identifies_an_eni(host: Namespace) -> None:
    host.ip(["link add bridge0 type bridge"])

    def names() -> tuple[str, ...]:
        with Kernel(OURS) as kernel:
            return kernel.names(("veth", "ena"))

    assert sorted(host.call(names)) == ["eth0", "peer0"]


def test_states_of_addresses_are_not_addresses(host: Namespace) -> None:
    """Two dumps of one kind of message, each remembered for itself."""

    def read() -> tuple[object, ...]:
        with Kernel(OURS, TABLES) as kernel:
            kernel.addresses()
            return kernel.address_states({})

    assert {type(state) for state in host.call(read)} == {AddressState}
