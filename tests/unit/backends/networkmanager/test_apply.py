# SPDX-License-Identifier: Apache-2.0
"""Reapply: once, only for a difference, on the version that was read; a bound on trying again.
And an activation that failed.
"""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eni_facts import mac
from private_bus import FakeNetworkManager, PrivateBus, Refusal, fake_networkmanager, private_bus
from private_bus import number as variant_number
from private_bus import text as variant_text

from ec2net.backends.networkmanager.apply import REAPPLY_ATTEMPTS, apply, set_mtu
from ec2net.backends.networkmanager.bus import Bus, BusError, Silence
from ec2net.backends.networkmanager.client import (
    NAME,
    PRESERVE_EXTERNAL_IP,
    VERSION_ID_MISMATCH,
    NetworkManager,
)
from ec2net.backends.networkmanager.device import Device, Routes, State
from ec2net.backends.networkmanager.items import Activation, AppliedMtu
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef, Rule
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.model.plan import Applied as LiveApplied
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

DEVICE = "/org/freedesktop/NetworkManager/Devices/2"


@pytest.fixture
def daemon() -> Iterator[PrivateBus]:
    with private_bus() as bus:
        yield bus


class Applied(FakeNetworkManager):
    """One device with an applied connection. ``others`` change it that often before a Reapply."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.version = 3
        self.others = 0
        self.settings: dict[str, Any] = {
            "802-3-ethernet": {},
            "ipv4": {"method": variant_text("auto"), "dns-priority": variant_number(0)},
        }
        self.answers["GetAppliedConnection"] = lambda body: (
            "a{sa{sv}}t",
            [self.settings, self.version],
        )
        self.answers["Reapply"] = self._reapply

    def _reapply(self, body: list[Any]) -> tuple[str, list[Any]]:
        settings, version, flags = body
        assert flags == PRESERVE_EXTERNAL_IP
        if self.others:
            self.others -= 1
            self.version += 1
        if version != self.version:
            raise Refusal(VERSION_ID_MISMATCH)
        self.settings, self.version = settings, version + 1
        return "", []


@pytest.fixture
def fake(daemon: PrivateBus) -> Iterator[Applied]:
    fake = Applied(daemon.address)
    fake.start()
    try:
        yield fake
    finally:
        fake.stop()


@pytest.fixture
def manager(daemon: PrivateBus) -> Iterator[NetworkManager]:
    with Bus(daemon.address) as bus:
        yield NetworkManager(bus)


def put(manager: NetworkManager, mtu: int | None, seconds: float = 5.0) -> None:
    set_mtu(DEVICE, mtu, manager, Deadline(seconds, "test"))


def test_a_change_is_applied_once_and_reverted(manager: NetworkManager, fake: Applied) -> None:
    before = fake.settings
    put(manager, 1500)
    assert fake.settings["802-3-ethernet"]["mtu"] == variant_number(1500)
    put(manager, 1500)
    assert len(fake.of("Reapply")) == 1
    put(manager, None)
    assert fake.settings == before
    put(manager, None)
    assert len(fake.of("Reapply")) == 2


@pytest.mark.parametrize("others", [1, REAPPLY_ATTEMPTS - 1])
def test_a_concurrent_foreign_change_is_read_again(
    manager: NetworkManager, fake: Applied, others: int
) -> None:
    fake.others = others
    put(manager, 1500)
    assert len(fake.of("Reapply")) == others + 1
    assert len(fake.of("GetAppliedConnection")) == others + 1
    assert fake.settings["802-3-ethernet"]["mtu"] == variant_number(1500)


def test_attempts_to_reapply_are_limited(manager: NetworkManager, fake: Applied) -> None:
    fake.others = 100
    with pytest.raises(BusError) as caught:
        put(manager, 1500)
    assert caught.value.name == VERSION_ID_MISMATCH
    assert len(fake.of("Reapply")) == REAPPLY_ATTEMPTS


def test_a_reapply_without_effect_is_not_repeated(manager: NetworkManager, fake: Applied) -> None:
    """It may have taken effect: the next pass reads again first."""
    fake.silent.add("Reapply")
    with pytest.raises(Silence):
        put(manager, 1500, 0.3)
    assert len(fake.of("Reapply")) == 1


def test_a_device_without_a_connection_stays_unchanged(
    manager: NetworkManager, daemon: PrivateBus
) -> None:
    def not_active(body: list[Any]) -> tuple[str, list[Any]]:
        raise Refusal("org.freedesktop.NetworkManager.Device.NotActive")

    with fake_networkmanager(daemon) as fake:
        fake.answers["GetAppliedConnection"] = not_active
        put(manager, 1500)
        assert fake.of("Reapply") == []


ENS6, ENS7 = LinkRef(6, "ens6"), LinkRef(7, "ens7")


@pytest.mark.parametrize(
    ("item", "before", "made"),
    [
        pytest.param(
            Activation(ENS6, mac(1), Routes.PARKED),
            Activation(ENS6, mac(1), Routes.MAIN),
            [mac(2)],
            id="its routes are still in main",
        ),
        pytest.param(AppliedMtu(ENS6, mac(1), 1500), None, [mac(1), mac(2)], id="only its MTU"),
    ],
)
def test_an_eni_whose_activation_failed_gets_no_rules_and_other_enis_do(
    manager: NetworkManager,
    daemon: PrivateBus,
    tmp_path: Path,
    item: Activation | AppliedMtu,
    before: Activation | None,
    made: list[Mac],
) -> None:
    """Its rules would misroute replies, as long as its leased routes are in main."""

    def refuse(_: list[Any]) -> tuple[str, list[Any]]:
        raise Refusal(f"{NAME}.ConnectionActivationFailed")

    def live(part: Plan, _: object, __: Deadline) -> LiveApplied:
        return LiveApplied(part.changes)

    rules = [
        Change(Action.ADD, Rule(ip_network(f"10.0.{n}.4/32"), 10000 + n, 10000 + n), mac(n))
        for n in (1, 2)
    ]
    own = Change(Action.ADD if before is None else Action.REPLACE, item, mac(1), before)
    host: Any = SimpleNamespace(run=RunDir(tmp_path))
    devices = {mac(n): Device(DEVICE, State.ACTIVATED, connection=DEVICE) for n in (1, 2)}
    with fake_networkmanager(daemon) as fake:
        fake.answers |= {"ActivateConnection": refuse, "GetAppliedConnection": refuse}
        plan = Plan((own, *rules))
        applied = apply(plan, manager, devices, host, live, Deadline(5.0, "test"))
    assert [change.mac for change in applied.done] == made
    assert {f.change for f in applied.failed} == {*plan.changes} - {*applied.done}
    assert {type(f.error) for f in applied.failed} == {BusError}
