# SPDX-License-Identifier: Apache-2.0
"""The daemon as a real process in the guest of a simulated VPC, and its cost."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from instance import Instance, environment

from ec2net.core.state.run_dir import RunDir

LIMIT = 60.0
"""Seconds for anything that is awaited here, on a machine however busy."""


class Manager:
    """A running daemon, with its messages to the service manager and its log."""

    def __init__(
        self,
        instance: Instance,
        process: subprocess.Popen[bytes],
        notify: socket.socket,
        log: IO[str],
    ) -> None:
        self.instance = instance
        self.process = process
        self.pid = process.pid
        self._notify = notify
        self._log = log
        self.told: list[str] = []
        """By sd_notify: one entry per assignment."""

    def log(self) -> str:
        """Everything so far."""
        self._log.seek(0)
        return self._log.read()

    def hear(self, wanted: str, limit: float = LIMIT) -> str:
        """Wait until the service manager gets a message with this prefix; returns the whole
        message."""
        end = time.monotonic() + limit
        seen = len(self.told)
        while True:
            for line in self.told[seen:]:
                if line.startswith(wanted):
                    return line
            seen = len(self.told)
            self._notify.settimeout(max(0.01, end - time.monotonic()))
            try:
                self.told += self._notify.recv(4096).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"never told {wanted}: {self.told}\n{self.log()}") from None

    def states(self) -> dict[str, str]:
        """The state of each ENI, by MAC, as published."""
        document = RunDir(self.instance.run_dir).read("resident.json") or {"enis": []}
        return {row["mac"]: row["state"] for row in document["enis"]}

    def until(self, true: Callable[[], object], limit: float = LIMIT, what: str = "") -> float:
        """Wait until it is; seconds."""
        began = time.monotonic()
        while not true():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() - began < limit, f"not within {limit:g} s: {what}\n{self.log()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def until_configured(self, count: int, limit: float = LIMIT) -> float:
        """Wait until exactly this number of ENIs is configured and no other ENI is attached."""

        def done() -> bool:
            return list(self.states().values()) == ["configured"] * count

        return self.until(done, limit, f"{count} configured: {self.states()}")

    def poke(self) -> dict[str, Any]:
        """A refresh by hand, which the daemon performs."""
        done = self.instance.ec2net("refresh", "--json", status=None)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def rest(self) -> None:
        """Wait until the daemon is idle: later counts then include no earlier pass."""
        self.until(lambda: self.poke()["changes"] == [], what="at rest")

    def stop(self) -> int:
        """End it by SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)

    def stopped(self, stopped: bool) -> None:
        """SIGSTOP or SIGCONT."""
        self.process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    # Cost

    def cpu(self) -> float:
        """Seconds of user and system time so far, threads included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Resident set, KiB."""
        return self._status("VmRSS")

    def threads(self) -> int:
        return self._status("Threads")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
        raise KeyError(key)


@contextmanager
def managed(
    instance: Instance,
    *,
    ready: bool = True,
    env: dict[str, str] | None = None,
    under: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
) -> Iterator[Manager]:
    """A running daemon; the end of the block kills it. ``ready``: wait for its READY=1."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        (Path(folder) / "log").open("w+") as log,
    ):
        path = str(Path(folder) / "notify")
        notify.bind(path)
        command = ["ip", "netns", "exec", instance.guest.name, *under]
        command += instance.argv("run", *arguments)
        process = subprocess.Popen(
            command,
            env={**environment(instance.source), "NOTIFY_SOCKET": path, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        manager = Manager(instance, process, notify, log)
        try:
            if ready:
                manager.hear("READY=1")
            yield manager
        finally:
            process.kill()
            process.wait(LIMIT)
            said = manager.log()
        assert "Traceback" not in said, said
