# SPDX-License-Identifier: Apache-2.0
"""DHCP clients that ifupdown has started for ENIs.

Each is suspended until its successor has a lease, and then killed: one that ends in good order, by
ifdown too, takes its address off the link (dhclient-script, RELEASE and STOP) and so cuts the host
off. Started again, each is a unit of its own.
"""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ec2net.core.migration.steps import Command
from ec2net.core.runtime.deadline import Deadline

_NAMES = ("dhclient", "udhcpc")
_BUSYBOX = "busybox"
"""The program of udhcpc."""
ANOTHER = "dhcpcd"
"""It serves all links in one process, under a title instead of its arguments: ec2net could not
restart it."""


@dataclass(frozen=True, slots=True)
class Client:
    """One process; ``words``: its arguments, with the program."""

    link: str
    words: tuple[str, ...]
    pid: int = 0
    suspended: bool = False

    @property
    def name(self) -> str:
        return os.path.basename(self.words[0])

    def __str__(self) -> str:
        return f"the DHCP client of {self.link} ({self.name}, PID {self.pid})"


@dataclass(frozen=True, slots=True)
class Clients:
    """The running clients; ``another``: whether dhcpcd runs."""

    of_enis: tuple[Client, ...] = ()
    another: bool = False


def look(names: Collection[str], proc: Path = Path("/proc")) -> Clients:
    """The clients of these links, of this user (root) and in these namespaces. Those of
    NetworkManager end with it.

    Every user can choose a program's arguments, and so can root in a container. ec2net later runs
    the recorded command as root, so the caller's identity matters.
    """
    found, another = [], False
    for pid, comm, words in _processes(proc):
        another |= comm == ANOTHER
        of = [name for name in names if name in words]
        if (
            comm in _NAMES
            and of
            and _is_own(pid, proc)
            and not any("NetworkManager" in word for word in words)
        ):
            found.append(Client(of[0], words, pid, _is_suspended(pid, proc)))
    return Clients(tuple(found), another)


def _processes(proc: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    with suppress(OSError):
        here = os.readlink(proc / "self/ns/net")
        for pid in filter(str.isdigit, os.listdir(proc)):
            with suppress(OSError):  # it has ended
                comm = (proc / pid / "comm").read_text(errors="replace").strip()
                if comm not in (*_NAMES, ANOTHER) or os.readlink(proc / pid / "ns/net") != here:
                    continue
                words = (proc / pid / "cmdline").read_bytes().decode(errors="surrogateescape")
                yield int(pid), comm, tuple(words.rstrip("\0").split("\0"))


def _is_own(pid: int, proc: Path) -> bool:
    """Identity: all user ids (proc_pid_status(5)), the namespace of processes, and the program.
    Every user can run a link of this name to a setuid program such as sudo, with any arguments."""
    with suppress(OSError):
        lines = (proc / str(pid) / "status").read_text(errors="replace").splitlines()
        uids = [line.split()[1:] for line in lines if line.startswith("Uid:")]
        here, there = (os.readlink(proc / name / "ns/pid") for name in ("self", str(pid)))
        program = os.readlink(proc / str(pid) / "exe").removesuffix(" (deleted)")
        named = os.path.basename(program) in (*_NAMES, _BUSYBOX)
        return uids == [[str(os.geteuid())] * 4] and here == there and named
    return False


def _is_suspended(pid: int, proc: Path) -> bool:
    with suppress(OSError):
        told = (proc / str(pid) / "stat").read_text(errors="replace")
        return told.rpartition(")")[2].split()[0] == "T"
    return False


_WORDS = {signal.SIGSTOP: "suspend", signal.SIGCONT: "resume", signal.SIGKILL: "kill"}


@dataclass(frozen=True, slots=True)
class Signal:
    """Without a word to the server, and without a change of the link."""

    number: signal.Signals
    client: Client

    def describe(self) -> str:
        return f"{_WORDS[self.number]} {self.client}"

    def do(self, deadline: Deadline) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.client.pid, self.number)


def start(client: Client, number: int) -> Command:
    """Start the client again with its former arguments. It goes into the background after it has
    its lease; ec2net does not wait for that, since the address is present."""
    unit = f"ec2net-given-back-{client.name}-{number}"
    words = ("systemd-run", "--quiet", "--no-block", "--collect", f"--unit={unit}")
    return Command((*words, "--property=Type=forking", *client.words))
