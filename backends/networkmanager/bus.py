# SPDX-License-Identifier: Apache-2.0
"""A conversation over D-Bus with a bound on each part. The only importer of a D-Bus library.

Asynchronous inside, plain calls outside. The libraries have no time limit of their own. They
hang without end on a connection whose daemon died, and leave the socket to the garbage collector.
This module solves all three. Callers give the signatures, so no call introspects.

dbus-next cannot be imported on Python 3.15 (CPython gh-133601); dbus-fast, its maintained fork, has
the same names.
"""

import asyncio
import importlib
import math
import os
import socket
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

from ec2net.backends.networkmanager.typed import Typed
from ec2net.core.plugins.api import Deadline, Ec2netError

T = TypeVar("T")

CALL_SECONDS = 5.0
"""For one call: NetworkManager answers in milliseconds; after this time it is stopped or stuck."""

CLOSE_SECONDS = 1.0
"""For the connection's own end, which the daemon only has to notice."""

_UNIX_PATH = "unix:path="
_SYSTEM_BUS = f"{_UNIX_PATH}/run/dbus/system_bus_socket"
_DAEMON = "org.freedesktop.DBus"
_LIBRARIES = ("dbus_next", "dbus_fast")


class BusError(Ec2netError):
    """The bus is not there, or the other side refused; ``name`` is the D-Bus error's name."""

    def __init__(self, problem: str, *, name: str = "", remedy: str = "") -> None:
        super().__init__(problem, subject="D-Bus", remedy=remedy)
        self.name = name


class Silence(Ec2netError):
    """No answer came in time: whether the call took effect is not known."""


class Bus:
    """The system bus (or the one at ``address``), connected by the first call; a context manager.

    After a silence, or when the daemon has gone, the connection is closed and the next call makes
    a new one; so a restart of the bus costs one failed call.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", _SYSTEM_BUS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._library = ""
        self._rules: dict[str, None] = {}
        self._heard: asyncio.Event | None = None
        self._ended: asyncio.Task[None] | None = None
        """Done when the connection has ended, for whatever reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        deadline: Deadline,
    ) -> tuple[Any, ...]:
        """The answer's values, variants as ``Typed``. Raises ``BusError`` or ``Silence``."""
        limit = deadline.within(CALL_SECONDS, f"{member} of {destination}")
        call = self._call(destination, path, interface, member, signature, list(body))
        return self._run(call, limit)

    def wait_until(
        self, holds: Callable[[], bool], rules: Sequence[str], deadline: Deadline
    ) -> None:
        """Wait until ``holds``, asked again after each signal that one of ``rules`` matches.

        Subscribed before it is asked first, so nothing is missed. Raises ``DeadlineExceeded``.
        """
        for rule in rules:
            self._subscribe(rule, deadline)
        while True:  # ends by deadline
            if self._heard is not None:
                self._heard.clear()
            if holds():
                return
            if self._connection is None or self._heard is None:
                raise BusError("the connection ended while waiting")  # with its subscriptions
            try:
                self._run(self._signal(), deadline)
            except Silence:
                raise deadline.exceeded() from None

    def close(self) -> None:
        """End the connection; a later call makes a new one."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        self._loop = loop
        try:
            self._drop()
        finally:
            self._loop = None
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    # Inside

    def _subscribe(self, rule: str, deadline: Deadline) -> None:
        if rule not in self._rules:
            arguments = (_DAEMON, "/org/freedesktop/DBus", _DAEMON, "AddMatch", "s", (rule,))
            self.call(*arguments, deadline=deadline)
            self._rules[rule] = None

    def _run(self, work: Coroutine[Any, Any, T], deadline: Deadline) -> T:
        """``work``, within ``deadline`` and watching what may interrupt that."""
        loop = self._loop = self._loop or asyncio.new_event_loop()
        task = loop.create_task(work)
        interrupted: list[BaseException] = []

        def look(check: Callable[[], None]) -> None:
            try:
                check()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the waiting thread
                interrupted.append(error)
                task.cancel()

        watched = deadline.interruptions
        for interruption in watched:
            loop.add_reader(interruption.fileno(), look, interruption.check)
        try:
            with deadline.looked_at() as tell, _repeated(tell, loop):
                return loop.run_until_complete(asyncio.wait_for(task, deadline.remaining()))
        except TimeoutError:
            self._drop()
            raise Silence(
                f"no answer within {deadline.seconds:.3g} s", subject=deadline.what
            ) from None
        except asyncio.CancelledError:
            self._drop()
            if interrupted:
                raise interrupted[0] from None
            raise
        except (OSError, EOFError) as error:
            self._drop()
            raise BusError(
                f"{deadline.what}: {str(error) or type(error).__name__}",
                remedy="is the system bus running?",
            ) from error
        finally:
            for interruption in watched:
                loop.remove_reader(interruption.fileno())

    async def _call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: list[Any],
    ) -> tuple[Any, ...]:
        # The library hangs on a connection that has ended.
        if self._connection is not None and not self._connection.connected:
            await self._end()
        if self._connection is None:
            await self._connect()
        message_module = self._module("message")
        constants = self._module("constants")
        variant = self._module("signature").Variant
        message = message_module.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[_to_library(value, variant) for value in body],
            # A call must not start a stopped daemon.
            flags=constants.MessageFlag.NO_AUTOSTART,
        )
        reply = await self._connection.call(message)
        if reply.message_type is constants.MessageType.ERROR:
            name = str(reply.error_name)
            text = str(reply.body[0]) if reply.body else name
            raise BusError(f"{member} of {destination}: {text}", name=name)
        return tuple(_from_library(value, variant) for value in reply.body)

    async def _connect(self) -> None:
        self._import()
        bus_type = self._module("constants").BusType.SYSTEM
        make = self._module("aio.message_bus").MessageBus
        _try(self._address)
        self._connection = connection = make(bus_address=self._address, bus_type=bus_type)
        await connection.connect()
        self._heard = asyncio.Event()
        self._ended = asyncio.create_task(_end_of(connection))
        connection.add_message_handler(self._listen)

    def _listen(self, message: Any) -> None:
        if message.message_type is self._module("constants").MessageType.SIGNAL and self._heard:
            self._heard.set()

    async def _signal(self) -> None:
        """The next signal, or the connection's end."""
        assert self._heard is not None
        assert self._ended is not None
        heard = asyncio.ensure_future(self._heard.wait())
        try:
            await asyncio.wait((heard, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if not heard.done():
                raise EOFError("the bus closed the connection")
        finally:
            heard.cancel()

    def _drop(self) -> None:
        """End the connection now."""
        if self._loop is not None and self._connection is not None:
            self._loop.run_until_complete(self._end())

    async def _end(self) -> None:
        connection, self._connection, self._heard = self._connection, None, None
        ended, self._ended = self._ended, None
        self._rules.clear()
        sock, stream = connection._sock, getattr(connection, "_stream", None)
        try:
            if connection.connected and ended is not None:
                connection.disconnect()
                await asyncio.wait((ended,), timeout=CLOSE_SECONDS)
        finally:
            if ended is not None:
                ended.cancel()
            loop = asyncio.get_running_loop()
            if sock is not None and sock.fileno() >= 0:
                loop.remove_reader(sock.fileno())
                loop.remove_writer(sock.fileno())
                sock.close()
            # dbus-next only shuts it down, and leaves the descriptor to the garbage collector.
            if stream is not None:
                stream.close()

    def _import(self) -> None:
        if self._library:
            return
        names = _LIBRARIES if sys.version_info < (3, 15) else _LIBRARIES[::-1]
        for name in names:
            try:
                with warnings.catch_warnings():
                    # dbus-next on 3.13: typing.no_type_check_decorator is deprecated.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    importlib.import_module(name)
            except ImportError:
                continue
            self._library = name
            return
        raise BusError(
            f"neither of the D-Bus libraries {' and '.join(names)} can be imported",
            remedy="install python3-dbus-next or python3-dbus-fast",
        )

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self._library}.{name}")


@contextmanager
def _repeated(tell: Callable[[], float], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """``tell`` may be called any number of times while ``loop`` runs."""
    due: asyncio.TimerHandle | None = None

    def again() -> None:
        nonlocal due
        seconds = tell()
        due = loop.call_later(seconds, again) if seconds < math.inf else None

    again()
    try:
        yield
    finally:
        if due is not None:
            due.cancel()


def _try(address: str) -> None:
    """Raises ``OSError`` if no process listens or the queue is full.

    The library would wait for a place in the queue without a limit, and leaves the socket of a
    failed attempt to the garbage collector.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as attempt:
        attempt.connect(address.removeprefix(_UNIX_PATH).split(",")[0])


async def _end_of(connection: Any) -> None:
    """Wait for a connection's end, which is an exception if ec2net did not cause it."""
    with suppress(Exception):
        await connection.wait_for_disconnect()


def _to_library(value: Any, variant: Any) -> Any:
    if isinstance(value, Typed):
        return variant(value.signature, _to_library(value.value, variant))
    return _each(value, lambda entry: _to_library(entry, variant))


def _from_library(value: Any, variant: Any) -> Any:
    if isinstance(value, variant):
        return Typed(value.signature, _from_library(value.value, variant))
    return _each(value, lambda entry: _from_library(entry, variant))


def _each(value: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: convert(entry) for key, entry in value.items()}
    return [convert(entry) for entry in value] if isinstance(value, list | tuple) else value
