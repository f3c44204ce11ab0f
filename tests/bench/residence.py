# SPDX-License-Identifier: Apache-2.0
"""Cost of the daemon: per poll, between polls, in memory; and the time until an ENI is usable."""

import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host import REACHABLE_SECONDS, BenchedHost

from ec2net.core.daemon.control import poke
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.connections import Answer
from ec2net.core.simulation.vpc.eni import Presence
from ec2net.core.state.run_dir import RunDir

POLLS = 15
IDLE_SECONDS = 4.0
"""Traced between two polls."""
LIMIT_SECONDS = 30.0

_CALL = re.compile(r"^(?:\d+ +)?(?:\[pid +\d+\] )?(\w+)\(")
_FORKS = frozenset(("fork", "vfork", "clone", "clone3"))


@dataclass(frozen=True, slots=True)
class Cost:
    """Values of one host. CPU in seconds, memory in KiB."""

    refresh: float
    """CPU of a requested poll: all keys and all listings."""
    interval: float
    """CPU of a whole interval: a poll, and the listings of keys half an interval later."""
    requests: int
    """CPU of a regular poll."""
    listings: int
    calls: int
    """System calls of a requested poll."""
    forks: int
    idle_calls: int
    """In IDLE_SECONDS between two polls."""
    memory: int


class Manager:
    """One that runs in a benched host's guest."""

    def __init__(self, benched: BenchedHost, process: subprocess.Popen[bytes], run: RunDir) -> None:
        self.benched = benched
        self.pid = process.pid
        self._run = run

    def poll(self) -> None:
        """Have it poll, and wait for the end."""
        answer = poke(self._run, Deadline(LIMIT_SECONDS, "a poll"))
        assert answer is not None
        assert answer["exit_status"] == 0, answer
        assert answer["changes"] == [], answer

    def cpu(self) -> float:
        """Seconds on a processor so far (proc(5), schedstat)."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def memory(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1])

    @contextmanager
    def traced(self) -> Iterator[list[str]]:
        """Names of the system calls that it makes in the block."""
        calls: list[str] = []
        with tempfile.NamedTemporaryFile("r") as out:
            command = ["strace", "-f", "-q", "-o", out.name, "-p", str(self.pid)]
            with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
                _await(lambda: "TracerPid:\t0" not in self._status(), "strace")
                yield calls
                strace.send_signal(signal.SIGINT)
                strace.wait(LIMIT_SECONDS)
            found = (_CALL.match(line) for line in out.read().splitlines())
            # The poll(2) that strace interrupts when it attaches continues by restart_syscall(2).
            calls += [match[1] for match in found if match and match[1] != "restart_syscall"]

    def _status(self) -> str:
        return Path(f"/proc/{self.pid}/status").read_text()

    def hotplug(self) -> float:
        """Seconds from an ENI's link to a connection from outside."""
        benched = self.benched
        eni = benched.attach(len(benched.vpc.enis), Presence.IMDS_ONLY)
        benched.vpc.plug(eni)
        began = time.monotonic()
        while time.monotonic() < began + REACHABLE_SECONDS:
            answer = benched.vpc.connect(
                benched.vpc.outside.namespace, None, eni.ipv4s[0], timeout=0.02
            )
            if isinstance(answer, Answer):
                return time.monotonic() - began
        raise RuntimeError(f"{eni.name} is not reachable after {REACHABLE_SECONDS:g} s")


@contextmanager
def resident(benched: BenchedHost, environ: Mapping[str, str], settings: str) -> Iterator[Manager]:
    """A running daemon, with ``settings`` of the section ``resident``."""
    root = Path(benched.where[1])
    drop_in = root / "etc/ec2net/ec2net.toml.d"
    drop_in.mkdir(exist_ok=True)
    (drop_in / "bench.toml").write_text(f"[resident]\n{settings}\n")
    run = RunDir(Path(benched.where[3]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = root / "notify"
        path.unlink(missing_ok=True)
        notify.bind(str(path))
        notify.settimeout(LIMIT_SECONDS)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                benched.command("run"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environ, "NOTIFY_SOCKET": str(path)},
            )

        process = benched.vpc.guest.call(start)
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            yield Manager(benched, process, run)
        finally:
            process.kill()  # an old revision may miss a SIGTERM right after its answer
            process.wait(LIMIT_SECONDS)


def cost(benched: BenchedHost, environ: Mapping[str, str]) -> Cost:
    """Measured in three parts: requested polls, one traced poll, and whole intervals.

    (On a host with a single address an interval is five times as long.)
    """
    imds = benched.vpc.imds
    with resident(benched, environ, "fast_for = 0.1\npoll = 3600") as manager:
        for _ in range(3):
            manager.poll()
        used = []
        for _ in range(POLLS):
            before = manager.cpu()
            manager.poll()
            used.append(manager.cpu() - before)
        with manager.traced() as calls:
            manager.poll()
        with manager.traced() as idle:
            time.sleep(IDLE_SECONDS)
        memory = manager.memory()
    with resident(benched, environ, "fast_for = 0.1\npoll = 1") as manager:
        manager.poll()
        imds.clear_log()
        _await(lambda: _polls(benched) >= 1, "a poll")
        imds.clear_log()
        before = manager.cpu()
        _await(lambda: _polls(benched) >= 3, "three intervals")
        interval = (manager.cpu() - before) / 3
        paths = [request.path for request in imds.requests]
    listings = sum(path.endswith("/") and not path.endswith("macs/") for path in paths)
    return Cost(
        refresh=statistics.median(used),
        interval=interval,
        requests=round((len(paths) - listings) / 3),
        listings=round(listings / 3),
        calls=len(calls),
        forks=sum(call in _FORKS for call in calls),
        idle_calls=len(idle),
        memory=memory,
    )


def _polls(benched: BenchedHost) -> int:
    return sum(r.path.endswith("interfaces/macs/") for r in benched.vpc.imds.requests)


def _await(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not true():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {LIMIT_SECONDS:g} s: {what}")
        time.sleep(0.005)


def hotplugs(benched: BenchedHost, environ: Mapping[str, str], times: int) -> list[float]:
    """Seconds of so many, after one to warm up."""
    with resident(benched, environ, "fast_for = 0.1") as manager:
        manager.hotplug()
        return [manager.hotplug() for _ in range(times)]
