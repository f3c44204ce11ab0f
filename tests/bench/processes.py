# SPDX-License-Identifier: Apache-2.0
"""Whole processes and what they cost, as the kernel accounts for it."""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ec2net.core.simulation.vpc.namespace import Namespace

LIMIT_SECONDS = 120.0
"""No process here takes a third of it, traced ones included."""

_CALL = re.compile(r"^\d+\s+(?P<name>\w+)\((?P<arguments>.*)")
_FORKS = frozenset(("fork", "vfork", "clone", "clone3"))


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources of one process, or the medians of several runs."""

    cpu: float
    """User and system time, in seconds."""
    wall: float


@dataclass(frozen=True, slots=True)
class Trace:
    """System calls of one process, with its children and threads."""

    calls: Counter[str]
    forks: int
    threads: int

    @property
    def total(self) -> int:
        return sum(self.calls.values())


def python(code: str, *arguments: str) -> list[str]:
    """The interpreter that runs this, on ``code``."""
    return [sys.executable, "-c", code, *arguments]


def script(folder: Path) -> list[str]:
    """The command ``ec2net`` as an installer writes it."""
    path = folder / "ec2net"
    path.write_text("import sys\nfrom ec2net.core.cli.main import main\nsys.exit(main())\n")
    return [sys.executable, str(path)]


def environment(cache: Path, source: Path) -> dict[str, str]:
    """The environment of an installed package: bytecode is kept, and no variable interferes."""
    dropped = ("PYTHON", "AWS_", "JOURNAL_STREAM")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(cache)}


def run(
    command: Sequence[str], environ: Mapping[str, str], inside: Namespace | None = None
) -> Usage:
    """Run the command to its end, or for ``LIMIT_SECONDS`` at most.

    Raises ``RuntimeError`` with the output if the command fails.
    """
    used, status, text = attempt(command, environ, inside)
    if status != 0:
        raise RuntimeError(f"{command}: exit status {status}: {text}")
    return used


def attempt(
    command: Sequence[str], environ: Mapping[str, str], inside: Namespace | None = None
) -> tuple[Usage, int, str]:
    """Like ``run``, but returns the exit status and the output of any run."""
    with tempfile.TemporaryFile() as said:

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=dict(environ)
            )

        began = time.monotonic()
        process = start() if inside is None else inside.call(start)
        killer = threading.Timer(LIMIT_SECONDS, os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        _, status, used = os.wait4(process.pid, 0)
        killer.cancel()
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    return Usage(used.ru_utime + used.ru_stime, wall), process.returncode, text


def peak(
    code: str, environ: Mapping[str, str], *arguments: str, inside: Namespace | None = None
) -> int:
    """Peak resident set of a Python that runs ``code``, in KiB, as that process reports.

    The value of wait4(2) is never less than that of the parent at the fork.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "status")
        last = f"\nopen({str(path)!r}, 'w').write(open('/proc/self/status').read())"
        run(python(code + last, *arguments), environ, inside)
        status = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(status["VmHWM"].split()[0])


def median(usages: Iterable[Usage]) -> Usage:
    found = list(usages)
    return Usage(
        statistics.median(usage.cpu for usage in found),
        statistics.median(usage.wall for usage in found),
    )


def trace(command: Sequence[str], environ: Mapping[str, str], inside: Namespace) -> Trace:
    """Run it under strace. ``RuntimeError`` if it fails, or strace may not trace."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "trace")
        run(["strace", "-f", "-qq", "-s", "0", "-o", str(output), *command], environ, inside)
        calls: Counter[str] = Counter()
        forks = threads = 0
        for line in output.read_text(errors="replace").splitlines():
            if (match := _CALL.match(line)) is None:
                continue  # the second half of a call, a signal, an exit
            calls[match["name"]] += 1
            if match["name"] in _FORKS:
                thread = "CLONE_THREAD" in match["arguments"]
                threads += thread
                forks += not thread
    return Trace(calls, forks, threads)
