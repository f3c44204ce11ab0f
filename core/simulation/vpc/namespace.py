# SPDX-License-Identifier: Apache-2.0
"""A named network namespace, as ``ip netns`` makes it, and what can be done inside it."""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from ec2net.core.model.errors import DeadlineExceeded, Ec2netError, KernelError
from ec2net.core.simulation.vpc.sandbox import CLONE_NEWNET, command_path

T = TypeVar("T")

COMMAND_LIMIT = 30.0
"""Seconds that ``ip`` or ``nft`` may take; they take milliseconds on an idle machine."""

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace under ``/run/netns``. Making the object does not make the namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns", name)

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    @classmethod
    def create(cls, name: str) -> "Namespace":
        """Make it, with ``lo`` down as the kernel does. ``KernelError`` if the name is taken."""
        execute(["ip", "netns", "add", name])
        return cls(name)

    def exists(self) -> bool:
        return self.path.exists()

    def delete(self) -> None:
        """Remove the name; the namespace goes when its last process and socket are gone."""
        execute(["ip", "netns", "delete", self.name])

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = COMMAND_LIMIT,
        input: str | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, with its /sys showing the namespace; any exit status is returned.

        Raises ``DeadlineExceeded`` (the program is killed) after ``timeout`` seconds.
        """
        command = ["ip", "netns", "exec", self.name, *argv]
        return _run(command, timeout=timeout, input=input, env=env)

    def call(self, action: Callable[[], T]) -> T:
        """Run ``action`` in a thread of its own inside the namespace; its result or its error.

        setns(2) concerns one thread only, so callers and other threads stay where they are.
        Sockets and child processes belong to the namespace in which they were made.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def inside() -> None:
            try:
                self._join()
                results.append(action())
            except BaseException as error:  # noqa: BLE001 - handed on to the caller below
                errors.append(error)

        thread = threading.Thread(target=inside, name=f"in-{self.name}", daemon=True)
        thread.start()
        thread.join(COMMAND_LIMIT)
        if errors:
            raise errors[0]
        if not results:
            raise DeadlineExceeded(f"did not end within {COMMAND_LIMIT:g} s", subject=self.name)
        return results[0]

    def socket(
        self, family: socket.AddressFamily, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        """A socket that belongs to the namespace, for use by this process."""
        return self.call(lambda: socket.socket(family, kind))

    def ip(self, lines: Iterable[str], *, version: int | None = None) -> None:
        """Run ``ip`` commands inside as one batch; ``KernelError`` at the first that fails.

        ``version`` 6 is for commands that take IPv4 for granted, such as ``rule``.
        """
        batch = list(lines)
        family = [] if version is None else [f"-{version}"]
        if batch:
            command = ["ip", *family, "-n", self.name, "-batch", "-"]
            execute(command, input="\n".join(batch) + "\n")

    def ip_each(self, lines: Iterable[str], *, version: int | None = None) -> None:
        """Run ``ip`` commands inside; those that fail (there already, gone already) are skipped."""
        batch = "".join(f"{line}\n" for line in lines)
        if batch:
            family = [f"-{version}"] if version is not None else []
            command = ["ip", *family, "-force", "-n", self.name, "-batch", "-"]
            _run(command, timeout=COMMAND_LIMIT, input=batch, env=None)

    def bridge(self, lines: Iterable[str]) -> None:
        """Run ``bridge`` commands inside as one batch; ``KernelError`` at the first that fails."""
        batch = list(lines)
        if batch:
            execute(["bridge", "-n", self.name, "-batch", "-"], input="\n".join(batch) + "\n")

    def nft(self, script: str) -> None:
        """Run an nft script inside, as one transaction."""
        self.call(lambda: execute(["nft", "-f", "-"], input=script))

    def nft_json(self, *arguments: str) -> str:
        """The output of ``nft --json`` for ``arguments``."""
        return self.call(lambda: execute(["nft", "--json", *arguments]).stdout)

    def sysctl(self, values: dict[str, str]) -> None:
        """Write ``net.*`` sysctls, given as paths below /proc/sys such as ``net/ipv4/ip_forward``."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys", name).write_text(value)

        self.call(write)

    def _join(self) -> None:
        with self.path.open("rb") as handle:
            if _libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                errno = ctypes.get_errno()
                raise KernelError(
                    f"cannot enter the namespace: {os.strerror(errno)}",
                    subject=self.name,
                    errno=errno,
                )


def execute(
    command: Sequence[str], *, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``ip``, ``bridge`` or ``nft``; ``KernelError`` with what it said if it fails."""
    done = _run(command, timeout=COMMAND_LIMIT, input=input, env=None)
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise KernelError(_with_failed_line(said, input), subject=" ".join(command[:4]))
    return done


def _run(
    command: Sequence[str], *, timeout: float, input: str | None, env: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=command_path() if env is None else env,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(
            f"did not end within {timeout:g} s", subject=" ".join(command)
        ) from error
    except FileNotFoundError as error:
        raise Ec2netError(
            f"there is no {command[0]} command", remedy="install iproute2 and nftables"
        ) from error


def _with_failed_line(said: str, batch: str | None) -> str:
    """iproute2 names only the number of the line of a batch that failed: add the line."""
    reason, failed, rest = said.partition("Command failed -:")
    lines = [] if batch is None else batch.splitlines()
    number = rest.strip()
    if not failed or not number.isdigit() or not 0 < int(number) <= len(lines):
        return said
    return f"{reason.strip()}: {lines[int(number) - 1]}"
