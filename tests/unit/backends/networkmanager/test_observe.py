# SPDX-License-Identifier: Apache-2.0
"""NetworkManager's state as ``observe`` reads it, link by link."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

import pytest
from private_bus import (
    FakeNetworkManager,
    PrivateBus,
    Refusal,
    fake_networkmanager,
    number,
    private_bus,
    text,
    variant,
)

from ec2net.backends.networkmanager.bus import Bus
from ec2net.backends.networkmanager.client import NAME, NetworkManager
from ec2net.backends.networkmanager.device import EXTERNAL_REASON, Device, Routes, State, routes
from ec2net.backends.networkmanager.items import Activation
from ec2net.backends.networkmanager.observe import Seen, in_place, look, serve_own, without_it
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, LinkRef, LinkSetting, Setting
from ec2net.core.model.plan import InPlace
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

PATH = "/org/freedesktop/NetworkManager"
DEVICE, ACTIVE, IP4 = f"{PATH}/Devices/2", f"{PATH}/ActiveConnection/7", f"{PATH}/IP4Config/3"


def link(n: int) -> Link:
    return Link(n, f"ens{n}", Mac(f"06:ec:02:00:00:0{n}"), "ena", "", 9001, True, 0)


ENS6 = link(6)
LIMIT = 60.0

NOTHING = RunDir(Path("/nonexistent"))


@pytest.fixture
def daemon() -> Iterator[PrivateBus]:
    with private_bus() as bus:
        yield bus


@pytest.fixture
def manager(daemon: PrivateBus) -> Iterator[NetworkManager]:
    with Bus(daemon.address) as bus:
        yield NetworkManager(bus)


def refuse(name: str) -> Any:
    def answer(body: list[Any]) -> tuple[str, list[Any]]:
        raise Refusal(name)

    return answer


@pytest.fixture
def fake(daemon: PrivateBus) -> Iterator[FakeNetworkManager]:
    """Has ens6: activated, its leased routes in table 9999; no other link."""
    with fake_networkmanager(daemon) as found:
        objects: dict[str, dict[str, Any]] = {
            f"{NAME}.Device": {
                "State": number(100),
                "StateReason": variant("(uu)", [100, 0]),
                "Managed": variant("b", True),
                "ActiveConnection": variant("o", ACTIVE),
                "AvailableConnections": variant("ao", [f"{PATH}/Settings/1"]),
                "Ip4Config": variant("o", IP4),
                "Ip6Config": variant("o", "/"),
            },
            f"{NAME}.Connection.Active": {
                "Connection": variant("o", f"{PATH}/Settings/1"),
                "StateFlags": number(0x5C),
            },
            f"{NAME}.IP4Config": {
                "RouteData": variant(
                    "aa{sv}",
                    [{"dest": text("10.0.2.0"), "prefix": number(24), "table": number(9999)}],
                ),
                "AddressData": variant(
                    "aa{sv}", [{"address": text("10.0.2.4"), "prefix": number(24)}]
                ),
            },
        }

        def by_name(body: list[Any]) -> tuple[str, list[Any]]:
            if body != ["ens6"]:
                raise Refusal(f"{NAME}.UnknownDevice")
            return "o", [DEVICE]

        found.answers["GetDeviceByIpIface"] = by_name
        found.answers["GetAll"] = lambda body: ("a{sv}", [objects[body[0]]])
        found.answers["GetAppliedConnection"] = lambda body: (
            "a{sa{sv}}t",
            [{"ipv4": {"method": text("auto")}}, 3],
        )
        yield found


def test_a_device_and_its_applied_connection_are_read(
    manager: NetworkManager, fake: FakeNetworkManager
) -> None:
    seen = look(manager, NOTHING, [ENS6], Deadline(LIMIT, "test"))
    assert ENS6.mac is not None
    device = seen.devices[ENS6.mac]
    assert (device.path, device.active, device.version) == (DEVICE, ACTIVE, 3)
    assert device.connection == f"{PATH}/Settings/1"
    assert routes(device) is Routes.PARKED
    assert (seen.left_alone, seen.waiting, seen.problem) == ({}, {}, None)


def test_ec2net_waits_for_a_link_that_networkmanager_does_not_list_yet(
    manager: NetworkManager, fake: FakeNetworkManager
) -> None:
    seen = look(manager, NOTHING, [link(9), ENS6], Deadline(LIMIT, "test"))
    assert list(seen.devices) == [ENS6.mac]
    assert list(seen.waiting.values()) == ["NetworkManager does not know it yet"]


@pytest.mark.parametrize("error", ["UnknownObject", "UnknownMethod", "AccessDenied"])
def test_an_error_on_one_device_affects_only_that_device(
    manager: NetworkManager, fake: FakeNetworkManager, error: str
) -> None:
    """The device was removed between two calls, or NetworkManager refuses."""
    fake.answers["GetAll"] = refuse(f"org.freedesktop.DBus.Error.{error}")
    seen = look(manager, NOTHING, [ENS6], Deadline(LIMIT, "test"))
    assert list(seen.waiting) == [ENS6.mac]
    assert seen.problem is None


def test_a_device_without_an_applied_connection_is_read(
    manager: NetworkManager, fake: FakeNetworkManager
) -> None:
    fake.answers["GetAppliedConnection"] = refuse(f"{NAME}.Device.NotActive")
    seen = look(manager, NOTHING, [ENS6], Deadline(LIMIT, "test"))
    assert [device.applied for device in seen.devices.values()] == [{}]


def test_a_missing_networkmanager_is_one_problem(manager: NetworkManager) -> None:
    seen = look(manager, NOTHING, [ENS6, link(9)], Deadline(LIMIT, "test"))
    assert "is not running" in str(seen.problem)
    assert (seen.devices, seen.waiting) == ({}, {})


def test_a_silent_networkmanager_is_asked_only_once(
    manager: NetworkManager, fake: FakeNetworkManager
) -> None:
    """The other links' live changes are not to wait for it."""
    fake.silent.add("GetDeviceByIpIface")
    seen = look(manager, NOTHING, [ENS6, link(9)], Deadline(2, "test"))
    assert "does not answer" in str(seen.problem)
    assert len(fake.of("GetDeviceByIpIface")) == 1


def test_without_networkmanager_ec2net_reports_the_missing_first_address() -> None:
    """NetworkManager would call the link external from then on, and lease nothing (seen with 1.42
    and 1.52)."""
    seen = Seen(problem=Ec2netError("does not answer"))
    ref = LinkRef(ENS6.index, ENS6.name)
    held = Found(Address(ref, IPv4Interface("10.0.32.4/20")), 0)
    own = Found(Address(LinkRef(9, "ens9"), IPv6Interface("fe80::1/64")), 0)
    there, group = Snapshot(addresses=(held, own)), LinkSetting(ref, Setting.GROUP, 236)
    without_it(seen, [ENS6, link(9)], there, [group], Environment())
    assert list(seen.waiting) == [link(9).mac]


def test_without_networkmanager_an_eni_that_was_never_configured_is_pending() -> None:
    """A user may have configured it, or may have taken it from NetworkManager."""
    seven, nine = link(7), link(9)
    there = [
        Found(Address(LinkRef(one.index, one.name), IPv4Interface("10.0.32.4/20")), 0)
        for one in (seven, nine)
    ]
    state = {f"/run/NetworkManager/devices/{seven.index}": "[device]\nmanaged=false\n"}
    wants = "/etc/systemd/system/multi-user.target.wants/NetworkManager.service"
    environment = Environment(
        lambda path: state.get(path, "[Unit]" if path.endswith("NetworkManager.service") else None),
        {wants: "n"}.get,
        lambda path: (),
    )
    seen = Seen(problem=Ec2netError("is not running"))
    without_it(seen, [seven, nine], Snapshot(addresses=tuple(there)), (), environment)
    assert (list(seen.left_alone), list(seen.waiting)) == ([seven.mac], [nine.mac])


@pytest.mark.parametrize(
    ("further", "served"),
    [
        pytest.param("10.0.32.5/32", True, id="all of its addresses are ec2net's"),
        pytest.param("10.0.32.99/32", False, id="one is foreign"),
    ],
)
def test_an_external_link_is_managed_if_ec2net_brought_it_up(further: str, served: bool) -> None:
    """ec2net brought it up while NetworkManager was masked, and it got no new address after
    NetworkManager's return."""
    ref = LinkRef(ENS6.index, ENS6.name)
    ours = [Address(ref, IPv4Interface(text)) for text in ("10.0.32.4/20", "10.0.32.5/32")]
    there = (*ours[:1], Address(ref, IPv4Interface(further)))
    assert ENS6.mac is not None
    seen = Seen(left_alone={ENS6.mac: EXTERNAL_REASON})
    serve_own(seen, [ENS6], Snapshot(addresses=tuple(Found(a, 236) for a in there)), ours)
    assert (seen.live, not seen.left_alone) == ({ENS6.mac} if served else set(), served)


def test_only_managed_links_of_networkmanager_are_planned_for() -> None:
    """A link that a user made unmanaged, a link not listed yet, and a link without a MAC are
    not."""
    seven = link(7)
    assert ENS6.mac is not None
    assert seven.mac is not None
    devices = {mac: Device(DEVICE, State.DISCONNECTED) for mac in (ENS6.mac, seven.mac)}
    seen = Seen(devices=devices, left_alone={seven.mac: "a user disconnected it"})
    found = in_place(seen, [ENS6, seven, link(9), replace(link(8), mac=None)])
    only = Activation(LinkRef(6, "ens6"), ENS6.mac, Routes.NONE)
    assert found == InPlace(adjustable=(only,))
