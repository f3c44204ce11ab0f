# SPDX-License-Identifier: Apache-2.0
"""The D-Bus client with a real bus, and a NetworkManager that hangs, refuses or exits."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import HANGS
from private_bus import (
    FakeNetworkManager,
    PrivateBus,
    Refusal,
    descriptors,
    fake_networkmanager,
    number,
    private_bus,
    text,
)

from ec2net.backends.networkmanager.bus import Bus, BusError, Silence
from ec2net.backends.networkmanager.typed import Typed
from ec2net.core.model.errors import DeadlineExceeded, Stopped
from ec2net.core.runtime import progress
from ec2net.core.runtime.deadline import Deadline

pytestmark = pytest.mark.library

NAME, PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
DEVICE = f"{PATH}/Devices/1"


@pytest.fixture
def daemon() -> Iterator[PrivateBus]:
    with private_bus() as bus:
        yield bus


@pytest.fixture
def fake(daemon: PrivateBus) -> Iterator[FakeNetworkManager]:
    with fake_networkmanager(daemon) as manager:
        yield manager


@pytest.fixture
def bus(daemon: PrivateBus) -> Iterator[Bus]:
    with Bus(daemon.address) as client:
        yield client


def call(bus: Bus, member: str, seconds: float = 3 * HANGS) -> tuple[object, ...]:
    return bus.call(NAME, PATH, NAME, member, deadline=Deadline(seconds, "test"))


def after(event: threading.Event, act: Callable[[], object]) -> threading.Thread:
    """A thread that acts as soon as something has happened."""

    def wait() -> None:
        if event.wait(HANGS):
            act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_variants_keep_their_types_in_both_directions(bus: Bus, fake: FakeNetworkManager) -> None:
    """An unchanged value must return in its own type: NetworkManager refuses a u that became an
    i."""
    fake.answers["Echo"] = lambda body: ("a{sa{sv}}", body)
    settings = {
        "ipv4": {
            "address-data": Typed("aa{sv}", [{"address": Typed("s", "10.0.2.4")}]),
            "route-table": Typed("u", 9999),
        },
        "user": {"data": Typed("a{ss}", {"org.ec2net.record": "x"})},
    }
    answer = bus.call(
        NAME, PATH, NAME, "Echo", "a{sa{sv}}", (settings,), deadline=Deadline(3 * HANGS, "test")
    )
    assert answer == (settings,)
    [[sent]] = fake.of("Echo")
    assert sent["ipv4"]["route-table"] == number(9999)
    assert sent["ipv4"]["address-data"].value == [{"address": text("10.0.2.4")}]


def test_a_refusal_carries_the_name_of_the_error(bus: Bus, fake: FakeNetworkManager) -> None:
    def refuse(body: list[object]) -> tuple[str, list[object]]:
        raise Refusal(f"{NAME}.UnknownDevice", "No device found")

    fake.answers["Get"] = refuse
    with pytest.raises(BusError, match="No device found") as caught:
        call(bus, "Get")
    assert caught.value.name == f"{NAME}.UnknownDevice"


def test_a_missing_service_is_an_error_and_is_not_started(bus: Bus) -> None:
    with pytest.raises(BusError) as caught:
        call(bus, "Get")
    assert caught.value.name.endswith(("ServiceUnknown", "NameHasNoOwner"))


def test_a_call_without_an_answer_ends_at_its_deadline(bus: Bus, fake: FakeNetworkManager) -> None:
    """Neither library has a time limit (dbus-next#92)."""
    fake.silent.add("Hang")
    fake.answers["Get"] = lambda body: ("u", [7])
    began = time.monotonic()
    with pytest.raises(Silence, match=r"Hang of .*: no answer within 0.3 s"):
        call(bus, "Hang", 0.3)
    assert 0.3 <= time.monotonic() - began < HANGS
    assert call(bus, "Get") == (7,)


def test_a_long_call_is_shown(
    bus: Bus, fake: FakeNetworkManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Often(progress.InLog):
        def look(self, what: str, seconds: float) -> float:
            seen.append(what)
            return 0.05

    monkeypatch.setattr(Deadline, "onlooker", Often())
    fake.silent.add("Hang")
    with pytest.raises(Silence):
        call(bus, "Hang", 1.0)
    assert 3 <= seen.count(f"Hang of {NAME}") <= 22


def test_a_daemon_that_dies_ends_a_pending_call(
    daemon: PrivateBus, bus: Bus, fake: FakeNetworkManager
) -> None:
    fake.silent.add("Hang")
    killer = after(fake.kept_silent, daemon.kill)
    began = time.monotonic()
    with pytest.raises(BusError):
        call(bus, "Hang")
    assert time.monotonic() - began < HANGS
    killer.join(HANGS)


def test_a_restart_of_the_bus_is_survived(daemon: PrivateBus, bus: Bus) -> None:
    """dbus-next hangs without end on a connection whose bus daemon died; the daemon must
    continue."""
    with fake_networkmanager(daemon) as fake:
        fake.answers["Get"] = lambda body: ("u", [7])
        assert call(bus, "Get") == (7,)
        daemon.kill()
        with pytest.raises((BusError, Silence)):
            call(bus, "Get", 1.0)
        with pytest.raises(BusError, match="is the system bus running"):
            call(bus, "Get")
    daemon.start()
    with fake_networkmanager(daemon) as fake:
        fake.answers["Get"] = lambda body: ("u", [8])
        assert call(bus, "Get") == (8,)


def test_connecting_to_a_stopped_bus_ends_at_the_deadline(daemon: PrivateBus) -> None:
    daemon.send(signal.SIGSTOP)
    began = time.monotonic()
    with Bus(daemon.address) as bus, pytest.raises(Silence):
        call(bus, "Get", 0.3)
    assert time.monotonic() - began < HANGS
    daemon.send(signal.SIGCONT)


def test_a_missing_bus_is_an_error(tmp_path: Path) -> None:
    with Bus(f"unix:path={tmp_path}/none") as bus, pytest.raises(BusError):
        call(bus, "Get")


def test_connections_leave_no_open_descriptor(daemon: PrivateBus, fake: FakeNetworkManager) -> None:
    """dbus-next's disconnect() leaves the socket to the garbage collector, with a warning."""
    fake.answers["Get"] = lambda body: ("u", [7])
    fake.silent.add("Hang")
    gc.collect()
    before = descriptors()
    for round_ in range(20):
        with Bus(daemon.address) as bus:
            call(bus, "Get")
            if round_ % 5 == 0:
                with pytest.raises(Silence):
                    call(bus, "Hang", 0.05)
    assert descriptors() == before
    gc.collect()


class _Interrupted:
    """Due as soon as its pipe is readable."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def fileno(self) -> int:
        return self.read

    def check(self) -> None:
        raise Stopped("SIGTERM")


def test_a_signal_to_ec2net_ends_a_call(bus: Bus, fake: FakeNetworkManager) -> None:
    fake.silent.add("Hang")
    fake.answers["Get"] = lambda body: ("u", [7])
    interrupted = _Interrupted()
    writer = after(fake.kept_silent, lambda: os.write(interrupted.write, b"x"))
    began = time.monotonic()
    with pytest.raises(Stopped):
        bus.call(
            *(NAME, PATH, NAME, "Hang"),
            deadline=Deadline(3 * HANGS, "test", interruptions=[interrupted]),
        )
    assert time.monotonic() - began < HANGS
    writer.join(HANGS)
    assert call(bus, "Get") == (7,)
    os.close(interrupted.read)
    os.close(interrupted.write)


RULE = f"type='signal',path='{DEVICE}',member='StateChanged'"


def test_a_signal_of_the_bus_ends_the_wait_for_a_state(bus: Bus, fake: FakeNetworkManager) -> None:
    """Read once before and once after the signal: ec2net does not poll."""
    states = iter((30, 100))
    asked = threading.Event()

    def state(body: list[object]) -> tuple[str, list[object]]:
        asked.set()
        return "u", [next(states)]

    def change() -> None:
        fake.emit(DEVICE, f"{NAME}.Device", "StateChanged", "uuu", [100, 90, 0])

    fake.answers["Get"] = state
    changer = after(asked, change)
    bus.wait_until(lambda: call(bus, "Get") == (100,), (RULE,), Deadline(3 * HANGS, "test"))
    assert len(fake.of("Get")) == 2
    changer.join(HANGS)


def test_a_wait_ends_at_its_deadline(bus: Bus, fake: FakeNetworkManager) -> None:
    with pytest.raises(DeadlineExceeded):
        bus.wait_until(lambda: False, (RULE,), Deadline(2, "test"))


def test_a_wait_ends_with_the_bus(daemon: PrivateBus, bus: Bus, fake: FakeNetworkManager) -> None:
    asked = threading.Event()

    def holds() -> bool:
        asked.set()
        return False

    killer = after(asked, daemon.kill)
    began = time.monotonic()
    with pytest.raises(BusError):
        bus.wait_until(holds, (RULE,), Deadline(3 * HANGS, "test"))
    assert time.monotonic() - began < HANGS
    killer.join(HANGS)


def test_a_lost_connection_ends_the_wait_that_uses_it(bus: Bus, fake: FakeNetworkManager) -> None:
    """The subscriptions are lost with the connection: no signal would arrive any more."""

    def closing() -> bool:
        bus.close()
        return False

    with pytest.raises(BusError, match="the connection ended while waiting"):
        bus.wait_until(closing, (RULE,), Deadline(0.3, "test"))


def test_a_closed_connection_can_be_closed_again_and_opened_again(
    bus: Bus, fake: FakeNetworkManager
) -> None:
    fake.answers["Get"] = lambda body: ("u", [7])
    assert call(bus, "Get") == (7,)
    bus.close()
    bus.close()
    assert call(bus, "Get") == (7,)
