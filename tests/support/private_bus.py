# SPDX-License-Identifier: Apache-2.0
"""A bus of the tests' own, and a NetworkManager on it that can misbehave on purpose."""

import asyncio
import os
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # dbus-next on Python 3.13
    from dbus_next.aio.message_bus import MessageBus
    from dbus_next.constants import MessageFlag, MessageType
    from dbus_next.message import Message
    from dbus_next.signature import Variant

NAME = "org.freedesktop.NetworkManager"
STARTED_WITHIN = 30.0

Answer = Callable[[list[Any]], tuple[str, list[Any]]]
"""The arguments of a call to the signature and the values of its answer."""


class Refusal(Exception):
    """An answer that is a D-Bus error."""

    def __init__(self, name: str, text: str = "no") -> None:
        super().__init__(text)
        self.name = name


class PrivateBus:
    """A dbus-daemon whose address stays the same after a restart."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:path={folder}/bus"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"]
        self._process = subprocess.Popen(
            [*command, f"--address={self.address}"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("unix:")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class FakeNetworkManager:
    """Returns prepared answers by the member's name, and records each call."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answers: dict[str, Answer] = {}
        self.silent: set[str] = set()
        """Members that are never answered."""
        self.kept_silent = threading.Event()
        """A recorded call."""
        self.calls: list[tuple[str, list[Any]]] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(STARTED_WITHIN)

    def stop(self) -> None:
        """Leave the bus."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
            self._thread.join(STARTED_WITHIN)

    def emit(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        """Send a signal."""
        message = Message.new_signal(path, interface, member, signature, body)
        self._loop.call_soon_threadsafe(self._bus.send, message)

    def of(self, member: str) -> list[list[Any]]:
        """The arguments of each call of a member."""
        return [body for name, body in self.calls if name == member]

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        bus: Any = await MessageBus(bus_address=self._address).connect()
        self._bus = bus
        self._bus.add_message_handler(self._handle)
        await self._bus.request_name(NAME)
        self._ready.set()
        gone = asyncio.ensure_future(bus.wait_for_disconnect())
        await asyncio.wait((self._ended, gone), return_when=asyncio.FIRST_COMPLETED)
        if not gone.done():
            bus.disconnect()
            await asyncio.wait((gone,), timeout=STARTED_WITHIN)
        gone.exception()  # retrieved, so that asyncio does not warn
        self._loop.remove_reader(self._bus._sock)
        self._bus._sock.close()
        self._bus._stream.close()

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.destination != NAME:
            return None
        assert message.flags & MessageFlag.NO_AUTOSTART
        self.calls.append((message.member, message.body))
        if message.member in self.silent:
            self.kept_silent.set()
            return True  # the message counts as handled
        try:
            signature, body = self.answers[message.member](message.body)
        except Refusal as refusal:
            return Message.new_error(message, refusal.name, str(refusal))
        return Message.new_method_return(message, signature, body)


@contextmanager
def private_bus() -> Iterator[PrivateBus]:
    """A started bus; its folder has a short name, since a socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="ec2net-", dir="/tmp") as folder:
        bus = PrivateBus(Path(folder))
        bus.start()
        try:
            yield bus
        finally:
            bus.kill()


@contextmanager
def fake_networkmanager(bus: PrivateBus) -> Iterator[FakeNetworkManager]:
    fake = FakeNetworkManager(bus.address)
    fake.start()
    try:
        yield fake
    finally:
        fake.stop()


def descriptors() -> set[str]:
    """The open descriptors of this process, by kind and number."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
        except OSError:
            continue
    return found


def text(value: str) -> Variant:
    return Variant("s", value)


def number(value: int) -> Variant:
    return Variant("u", value)


def variant(signature: str, value: object) -> Variant:
    return Variant(signature, value)
