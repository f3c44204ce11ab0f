# SPDX-License-Identifier: Apache-2.0
"""Messages to the service manager, by datagrams on a real socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import HANGS

from ec2net.core.daemon.notify import ServiceManager


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield sock


def heard(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_systemd_gets_each_notification_and_an_unchanged_status_only_once(
    listener: socket.socket,
) -> None:
    service = ServiceManager()
    service.ready("ENIs: 1 configured")
    service.status("ENIs: 1 configured")
    service.alive()
    service.stopping()
    assert heard(listener) == ["READY=1", "STATUS=ENIs: 1 configured", "WATCHDOG=1", "STOPPING=1"]


def test_the_watchdog_interval_is_never_shortened(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    service = ServiceManager()
    assert service.watchdog == 120
    service.allow(100)
    assert heard(listener) == []
    service.allow(700)
    assert (service.watchdog, heard(listener)) == (700, ["WATCHDOG_USEC=700000000"])


def test_the_watchdog_is_fed_after_half_of_its_interval(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    service = ServiceManager()
    hungry = [service.hungry]
    before = time.monotonic()
    service.alive()
    hungry.append(service.hungry)
    assert hungry == [True, False]
    assert before + 60 <= service.hungry_at <= time.monotonic() + 60


def test_without_a_watchdog_nothing_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert not ServiceManager().hungry


def test_a_child_does_not_inherit_the_notify_socket(listener: socket.socket) -> None:
    ServiceManager()
    assert "NOTIFY_SOCKET" not in os.environ


def test_a_service_manager_that_does_not_read_delays_no_caller(listener: socket.socket) -> None:
    """A full queue made the loop spin for a second at each feeding."""
    service = ServiceManager()
    began = time.monotonic()
    for _ in range(1000):
        service.alive()
    service.ready("late")
    assert time.monotonic() - began < HANGS  # with a second for each it took 1000 s
    assert service.hungry
    assert "READY=1" not in heard(listener)
    service.alive()  # a message that found no room is sent again
    assert heard(listener)[:3] == ["WATCHDOG=1", "READY=1", "STATUS=late"]


def test_without_a_service_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "nonsense")
    service = ServiceManager()
    service.ready("")
    assert service.watchdog is None


def test_an_abstract_socket_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0ec2net-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@ec2net-test-{os.getpid()}")
        ServiceManager().alive()
        sock.setblocking(False)
        assert heard(sock) == ["WATCHDOG=1"]
