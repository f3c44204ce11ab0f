# SPDX-License-Identifier: Apache-2.0
"""A host with real systemd, udev, networkd and resolved in the guest namespace of a VPC."""

import json
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lab_journal
import lab_package
from lab_cgroup import ControlGroup
from lab_journal import Entry
from lab_package import Installed
from lab_root import LAYERS, LabUnavailable, Release, cached_root, layered_root, neighbours_layer

from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp

_FOR_NEIGHBOURS = (
    "--capability=all",
    "--system-call-filter=@keyring bpf",
    "--bind=/dev/net/tun",
    "--bind=/dev/kmsg",
)
"""Rights of Docker and WireGuard in user space; the sandbox separates them from the machine's
network."""

BOOT_LIMIT = 180.0
"""Seconds; 2 to 4 on an idle machine."""

STOP_LIMIT = 60.0
RUN_LIMIT = 120.0

_REBOOTED = 133
"""Exit status of systemd-nspawn --keep-unit after a reboot of the container."""
_RTNETLINK_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""Links, addresses, routes and rules of both families (linux/rtnetlink.h, RTMGRP_*)."""
_INITIAL_RULES = (("local", 0), ("main", 32766), ("default", 32767))


class HostError(AssertionError):
    """A command in a host failed, or a wait ended without success."""


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    """Inside the host."""
    command: str


class LabHost:
    """One boot after another of one root file system, as a context manager.

    The VPC must be in a sandbox. ENIs may be attached before or after the boot.
    """

    _made = 0

    def __init__(
        self,
        vpc: VpcWithDhcp,
        release: Release,
        *,
        files: dict[str, str] | None = None,
        installed: Installed = Installed.PROGRAM,
        deb: Path | None = None,
        neighbours: bool = False,
        layers: Sequence[Path] = (),
        before_boot: Callable[[Path], None] | None = None,
    ) -> None:
        """``files``: path (in the host) to text, written before the boot. ``installed``: the
        installed parts of the package; presets enable its units and those of ``files``. ``deb``:
        the package (None: this checkout's). ``neighbours``: with the other programs of
        tests/lab/neighbours.sh, and with the rights that they need. ``layers``: further layers over
        the root file system, the uppermost first."""
        self.vpc = vpc
        self.release = release
        LabHost._made += 1
        self.name = f"lab{LabHost._made}-{release.value}"
        self._files = files or {}
        self._installed = installed
        self._deb = deb
        self._neighbours = neighbours
        self._layers = layers
        self._before_boot = before_boot
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()
        self.leader = 0
        """PID 1 of the host, as seen from outside."""
        self.boot_seconds = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            layers = [cached_root(self.release)]
            if self._installed is not Installed.NOTHING:
                layers.insert(0, lab_package.layer(self.release, self._deb or lab_package.built()))
            if self._neighbours:
                layers.insert(0, neighbours_layer(self.release))
            layers[:0] = self._layers
            self.root = stack.enter_context(layered_root(self.name, *layers))
            self._group = ControlGroup()
            stack.callback(self._group.remove)
            stack.callback(self._stop)
            self._install()
            self._boot()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _install(self) -> None:
        lab_package.add_lab(self.root)
        if self._installed is Installed.PROGRAM:
            lab_package.drop_units(self.root)
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        # A DHCP client derives its identity from the machine id, which must outlive a reboot.
        number = f"{LabHost._made:032x}"
        (self.root / "etc/machine-id").write_text(f"{number[:-8]}ec2e{number[-4:]}\n")
        for path, text in self._files.items():
            self.write(path, text)
        if self._before_boot is not None:
            self._before_boot(self.root)
        if self._installed is Installed.PACKAGE:
            lab_package.preset(self.root)

    # Boot and end

    def _boot(self) -> None:
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            path = LAYERS / f"{self.name}.notify"
            ready.bind(str(path))
            self._nspawn = self._spawn(path)
            try:
                self._await_ready(ready, began + BOOT_LIMIT)
            finally:
                path.unlink()
        # PID 1 starts before udevd, and so watches no devices until it is executed again.
        self.run(["systemctl", "daemon-reexec"])
        self.boot_seconds = time.monotonic() - began

    @property
    def _unified(self) -> bool:
        """Containers need control groups that they may write, and systemd 258 and later boots with no
        others."""
        return self._neighbours or self.release is Release.SID

    def _spawn(self, notify: Path) -> "subprocess.Popen[bytes]":
        command = [
            # "ip netns exec" remounts /sys without cgroups; nspawn's own option for it shows
            # the other namespace's devices in /sys.
            *("nsenter", f"--net={self.vpc.guest.path}"),
            *("systemd-nspawn", "--quiet", "--directory", str(self.root), "--boot"),
            *("--machine", self.name, "--register=no", "--keep-unit", "--notify-ready=yes"),
            *(_FOR_NEIGHBOURS if self._neighbours else ("--capability=CAP_NET_ADMIN,CAP_NET_RAW",)),
            # cloud-init writes to the console: the host hangs if no program reads that.
            f"--console={'read-only' if self._layers else 'passive'}",
            *("--link-journal=no", "--resolv-conf=off", "--timezone=off"),
        ]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(notify),
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes",  # udevd wants a writable /sys
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1" if self._unified else "0",
        }
        with (LAYERS / f"{self.name}.console").open("ab") as console:
            return subprocess.Popen(
                self._group.joining(command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment,
            )

    def _await_ready(self, ready: socket.socket, end: float) -> None:
        assert self._nspawn is not None
        with selectors.DefaultSelector() as selector:
            selector.register(ready, selectors.EVENT_READ)
            pidfd = os.pidfd_open(self._nspawn.pid)
            try:
                selector.register(pidfd, selectors.EVENT_READ)
                while (left := end - time.monotonic()) > 0:
                    keys = [key.fileobj for key, _ in selector.select(left)]
                    if ready in keys:
                        message = dict(
                            line.split("=", 1)
                            for line in ready.recv(4096).decode().splitlines()
                            if "=" in line
                        )
                        self.leader = int(message.get("X_NSPAWN_LEADER_PID", self.leader))
                        if message.get("READY") == "1":
                            return
                    elif pidfd in keys:
                        break
            finally:
                os.close(pidfd)
        console = (LAYERS / f"{self.name}.console").read_text(errors="replace")
        raise LabUnavailable(f"{self.name} did not boot:\n{console[-4000:]}")

    def _stop(self) -> None:
        if self._nspawn is None:
            return
        with suppress(ProcessLookupError):
            # Twice: nspawn requests a halt of the host at the first signal, and ends at once at
            # the second.
            self._nspawn.terminate()
            self._nspawn.terminate()
        try:
            self._nspawn.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(STOP_LIMIT)
        self._nspawn = None

    def reboot(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Reboot in good order; files stay except in /run, and the kernel state is new: links are
        unconfigured, rules and routes are removed. ``meanwhile`` runs while the host is off."""
        assert self._nspawn is not None
        self.run(["systemctl", "reboot"], check=False)
        status = self._nspawn.wait(STOP_LIMIT)
        if status != _REBOOTED:
            raise HostError(f"{self.name}: systemd-nspawn ended with {status}, not by a reboot")
        self._nspawn = None
        plugged = [eni for eni in self.vpc.enis if eni in self.vpc._plugged]
        for eni in plugged:
            self.vpc.unplug(eni)
        for family, tables in ((4, _INITIAL_RULES), (6, _INITIAL_RULES[:2])):
            self.vpc.guest.ip(["rule flush"], version=family)
            # Priority 0 survives a flush.
            self.vpc.guest.ip(
                # Without the kernel's mark, networkd would consider these routes foreign.
                [f"rule add lookup {t} priority {n} protocol kernel" for t, n in tables[1:]],
                version=family,
            )
        meanwhile()
        for eni in plugged:
            if eni in self.vpc.enis:
                self.vpc.plug(eni)
        self._boot()

    # Use

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = RUN_LIMIT,
        check: bool = True,
        input: str = "",
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program inside. ``HostError`` if it fails or lasts longer than ``timeout``."""
        try:
            done = subprocess.run(
                ["nsenter", "--target", str(self.leader), "--all", "--", *argv],
                capture_output=True,
                text=True,
                input=input,
                timeout=timeout,
                check=False,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired as error:
            raise HostError(f"{self.name}: {' '.join(argv)}: not done in {timeout:g} s") from error
        if check and done.returncode != 0:
            raise HostError(
                f"{self.name}: {' '.join(argv)}: exit status {done.returncode}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def ec2net(
        self, *arguments: str, timeout: float = RUN_LIMIT, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command ``ec2net`` inside."""
        return self.run(["ec2net", *arguments], timeout=timeout, check=check)

    def dpkg(self, *arguments: str) -> None:
        """Run dpkg inside, without questions."""
        self.run(["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *arguments])

    def install(self, deb: Path) -> None:
        """``dpkg --install``, as an administrator upgrades or downgrades a host that runs."""
        place = self.root / "root" / deb.name
        place.write_bytes(deb.read_bytes())
        self.dpkg("--install", f"/root/{deb.name}")
        place.unlink()

    def write(self, path: str, text: str) -> None:
        """Write a file of the host (also one below /run, once it has booted)."""
        if self._nspawn is None or not path.startswith("/run/"):
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        else:
            self.run(
                ["sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1.new" && mv "$1.new" "$1"', "-", path],
                input=text,
            )

    def read(self, path: str) -> str:
        return self.run(["cat", path]).stdout

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        """``ip -j -d`` inside, parsed."""
        answer = self.run(["ip", "-json", "-details", *arguments]).stdout
        parsed: list[dict[str, Any]] = json.loads(answer) if answer.strip() else []
        return parsed

    def networkctl(self, link: str) -> dict[str, str]:
        """The fields of ``networkctl status``, such as ``Network File`` and ``State``."""
        fields: dict[str, str] = {}
        key = ""
        for line in self.run(["networkctl", "status", "--lines=0", link]).stdout.splitlines():
            name, colon, value = line.partition(": ")
            if colon and name.strip() and not name.strip()[0].isdigit():
                key = name.strip()
                fields[key] = value.strip()
            elif key:
                fields[key] += f"\n{line.strip()}"
        return fields

    def processes(self) -> tuple[Process, ...]:
        """All processes of the host, without the one that lists them."""
        lines = self.run(["ps", "-e", "-o", "pid=,ppid=,args="]).stdout.splitlines()
        parsed = (line.split(None, 2) for line in lines)
        return tuple(
            Process(int(pid), command)
            for pid, _, command in parsed
            if not command.startswith("ps -e -o pid=")
        )

    # Journal and events

    def cursor(self) -> str:
        """Now, as a position in the journal."""
        self.run(["journalctl", "--sync"])
        entries = self._journal(["--lines=1"])
        return entries[-1].cursor if entries else ""

    def journal(
        self, unit: str | None = None, *, since: str = "", identifier: str | None = None
    ) -> tuple[Entry, ...]:
        """Entries of this boot: of a unit (and about it), of an identifier, after a cursor."""
        self.run(["journalctl", "--sync"])
        arguments = [] if unit is None else [f"--unit={unit}"]
        arguments += [] if identifier is None else [f"--identifier={identifier}"]
        arguments += [f"--after-cursor={since}"] if since else []
        return self._journal(arguments)

    def told(self, *matches: str, since: str) -> list[dict[str, Any]]:
        """All fields of the entries that journalctl finds by ``FIELD=value`` after a cursor.

        Not by --after-cursor: 252 leaves out the first match if the cursor's entry is none.
        """
        self.run(["journalctl", "--sync"])
        command = ["journalctl", *matches, f"--cursor={since}", "--output=json", "--no-pager"]
        entries = [json.loads(line) for line in self.run(command).stdout.splitlines()]
        return [entry for entry in entries if entry["__CURSOR"] != since]

    def _journal(self, arguments: Iterable[str]) -> tuple[Entry, ...]:
        command = ["journalctl", "--boot", "--output=json", "--no-pager", *arguments]
        return tuple(lab_journal.parse(self.run(command).stdout.splitlines()))

    def wait_until(self, predicate: Callable[[], bool], timeout: float, what: str = "") -> float:
        """Wait until ``predicate`` holds, and return how many seconds that took.

        The predicate is called at the start, and after each change of the kernel's links,
        addresses, routes and rules. It is also called after each line in the journal, and each
        second: the journal's notification may be late or missing (252, rarely). ``HostError`` after
        ``timeout``.
        """
        began = time.monotonic()
        events = self.vpc.guest.call(_rtnetlink)
        lines = subprocess.Popen(
            [
                # Without the process namespace, which would put a fork between us and it.
                *("nsenter", "--target", str(self.leader), "--mount", "--"),
                # The last existing line arrives once journalctl follows the journal.
                *("journalctl", "--follow", "--lines=1", "--output=cat"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert lines.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(events, selectors.EVENT_READ)
                selector.register(lines.stdout, selectors.EVENT_READ)
                while True:  # ends at the deadline
                    if predicate():
                        return time.monotonic() - began
                    left = began + timeout - time.monotonic()
                    if left <= 0:
                        raise HostError(
                            f"{self.name}: not within {timeout:g} s: {what or predicate}"
                        )
                    selector.select(min(left, 1.0))
                    _drain(events, lines.stdout.fileno())
        finally:
            lines.kill()
            lines.wait()
            lines.stdout.close()
            events.close()

    def wait_for_message(self, text: str, timeout: float, *, since: str) -> Entry:
        """The first journal entry after a cursor whose message contains ``text``."""
        found: list[Entry] = []

        def said() -> bool:
            found.extend(entry for entry in self.journal(since=since) if text in entry.message)
            return bool(found)

        self.wait_until(said, timeout, f"journal: {text}")
        return found[0]


def _rtnetlink() -> socket.socket:
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    events.bind((0, _RTNETLINK_GROUPS))
    return events


def _drain(events: socket.socket, pipe: int) -> None:
    """Read the pending data; overruns do not matter, since the predicate reads the state itself."""
    os.set_blocking(pipe, False)
    for descriptor in (events.fileno(), pipe):
        with suppress(OSError):
            while os.read(descriptor, 1 << 16):
                pass
