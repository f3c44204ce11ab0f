# SPDX-License-Identifier: Apache-2.0
"""The guest of a simulated VPC with ``ec2net`` as a real process in it."""

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import json_schema
from kernel_state import State, kernel_state
from ways import way_of

import ec2net
from ec2net.core.simulation.vpc.checks import PrefixUse
from ec2net.core.simulation.vpc.connections import Tick
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.hosts import Host
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.sandbox import command_path
from ec2net.core.simulation.vpc.simulated import SEED, SimulatedVpc
from ec2net.core.simulation.vpc.subnet import Subnet

PROGRAM_LIMIT = 120.0
"""Seconds that any command may take here, on a machine however busy."""

HANGS = 30.0
"""Seconds after which something that is to end at once, or by a bound of a few seconds, hangs."""

CHECK_SECONDS = 10.0
"""Timeout of connections that should succeed although a SYN is lost; the source check counts
dropped packets."""

FAILING = 0.3
"""Seconds for connections that are meant to fail."""

MANY: dict[str, Any] = {"ipv4": 4, "ipv6": 2, "ipv4_prefixes": 1, "ipv6_prefixes": 1}
"""Arguments that give an ENI every kind of address."""

SOURCE = Path(ec2net.__file__).parents[1]
"""The ``src`` folder of this checkout."""

_STATE = Path("/run")


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


class Instance:
    """A guest, its ENIs, and the program's configuration and state directory."""

    def __init__(self, vpc: SimulatedVpc, name: str) -> None:
        self.vpc = vpc
        self.guest: Namespace = vpc.guest
        self.imds = vpc.imds
        self.run_dir = _STATE / name / "state"
        self.config_root = _STATE / name / "root"
        self.source = SOURCE
        """The folder from which ``ec2net`` is imported: this checkout or another version."""
        self.mixed = False
        """Whether another version may write a document, which then obeys that version's schema."""
        etc = self.config_root / "etc/ec2net/ec2net.toml.d"
        etc.mkdir(parents=True)
        (etc / "00-veth.toml").write_text('[links]\ndrivers = ["veth"]\n')

    def configure(self, text: str = "") -> None:
        """Set /etc/ec2net/ec2net.toml."""
        (self.config_root / "etc/ec2net/ec2net.toml").write_text(text)

    def argv(self, *arguments: str) -> list[str]:
        """The command line of the program, in this instance's directories."""
        directories = ["--run-dir", str(self.run_dir), "--config-root", str(self.config_root)]
        command, *rest = arguments
        return [sys.executable, "-m", "ec2net", command, *directories, *rest]

    def ec2net(
        self,
        *arguments: str,
        status: int | None = 0,
        timeout: float = PROGRAM_LIMIT,
        env: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; it must end with ``status`` (None: any).

        ``env`` adds variables, ``under`` is a command that the program is run by (``setpriv``).
        """
        command = [*under, *self.argv(*arguments)]
        whole = {**environment(self.source), **(env or {})}
        done = self.guest.run(command, timeout=timeout, env=whole)
        said = f"ec2net {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert status is None or done.returncode == status, said
        assert "Traceback" not in done.stderr, said
        if "--json" in arguments and done.stdout and not self.mixed:
            wrong = json_schema.wrong_in(json.loads(done.stdout), arguments[0])
            assert not wrong, wrong
        return done

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A running command; it is killed at the end of the block."""
        # ip netns exec replaces itself by the program, so the pid is the program's.
        command = ["ip", "netns", "exec", self.guest.name, *self.argv(*arguments)]
        with subprocess.Popen(
            command,
            env=environment(self.source),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def locked(self) -> Iterator[subprocess.Popen[bytes]]:
        """Another process holds the host lock; the end of the block kills it."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        path = self.run_dir / "lock"
        with (
            path.open("a") as file,
            subprocess.Popen(
                ["flock", "--no-fork", str(path), "sleep", str(PROGRAM_LIMIT)]
            ) as process,
        ):
            try:
                while process.poll() is None and not _is_locked(file.fileno()):
                    time.sleep(0.01)
                yield process
            finally:
                process.kill()

    def refresh(self, *, status: int | None = 0) -> list[str]:
        """Run one pass; returns its changes, such as ``add rule 10001: from ...``."""
        done = self.ec2net("refresh", "--json", status=status)
        changes = json.loads(done.stdout)["changes"]
        return [f"{change['action']} {change['text']}" for change in changes]

    def refresh_twice(self) -> None:
        """Until IMDS's keys that never change are read: ec2net reads them in two passes."""
        for _ in range(2):
            self.ec2net("refresh")

    def plan(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ec2net("plan", "--json").stdout)
        return document

    def status(self) -> dict[str, dict[str, Any]]:
        """Each ENI's row of ``status --json``, by MAC."""
        document = json.loads(self.ec2net("status", "--json", status=None).stdout)
        return {eni["mac"]: eni for eni in document["enis"]}

    def kernel(self) -> State:
        return kernel_state(self.guest)

    def files(self) -> dict[str, bytes]:
        """The state directory: names and contents. A running daemon may delete files meanwhile. The
        file with the time of the last pass is excluded, because each pass writes it."""
        found = {}
        for path in self.run_dir.rglob("*"):
            with suppress(FileNotFoundError):
                if path.is_file() and path.name != "last-pass":
                    found[str(path.relative_to(self.run_dir))] = path.read_bytes()
        return found

    def forget(self) -> None:
        """Empty the state directory, as a reboot does."""
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def unreachable(
        self, *enis: Eni, host: Host | None = None, prefixes: PrefixUse = PrefixUse.CLAIM
    ) -> list[Tick | str]:
        """Addresses that do not work, in or out, and sources that the source check dropped; of all
        ENIs if none is named."""
        before, enis = self.vpc.dropped(), enis or tuple(self.vpc.enis)
        how: dict[str, Any] = {"prefixes": prefixes, "timeout": CHECK_SECONDS, "patient": True}
        ticks = self.vpc.check_out(*enis, to=host, **how) + self.vpc.check_in(*enis, of=host, **how)
        assert len(ticks) >= 2 * len(enis)
        bad: list[Tick | str] = [tick for tick in ticks if not tick.ok]
        if self.vpc.dropped() != before:
            bad.append(f"dropped: {self.vpc.drops()}")
        return bad

    def way(self, destination: object, source: object) -> str:
        """The link by which the kernel would send, by ``ip route get``; empty: not at all."""
        return way_of(self.guest, destination, source)


@contextmanager
def below_run(path: str, *, target: str = "", text: str = "") -> Iterator[None]:
    """A file, or a symbolic link to ``target``, in the sandbox's own /run."""
    place = Path("/run", path)
    place.parent.mkdir(parents=True)
    if target:
        place.symlink_to(target)
    else:
        place.write_text(text)
    try:
        yield
    finally:
        shutil.rmtree("/run/systemd")


def environment(source: Path = SOURCE) -> dict[str, str]:
    """The tests' environment without proxies, with the package in ``source``."""
    kept = {key: value for key, value in command_path().items() if "AWS_" not in key}
    return {**kept, "PYTHONPATH": str(source)}


def subnets(vpc: SimulatedVpc, count: int) -> list[Subnet]:
    """Dual-stack subnets 10.0.1.0/24, 2001:db8:0:1::/64 and so on."""
    first = len(vpc.subnets) + 1
    return [
        vpc.add_subnet(f"10.0.{n}.0/24", f"2001:db8:0:{n}::/64")
        for n in range(first, first + count)
    ]


def primary(vpc: SimulatedVpc, subnet: Subnet, **given: Any) -> Eni:
    """The primary ENI, as DHCP and RAs leave it."""
    eni = vpc.attach(subnet, device=0, **given)
    vpc.configure_primary_base(eni)
    return eni


@contextmanager
def two_enis(
    install: Callable[[SimulatedVpc], Instance], prefix: str, *, seed: int | None = SEED
) -> Iterator[Instance]:
    """The primary and a secondary, both with everything, configured. ``seed``: of the VPC."""
    with SimulatedVpc(prefix=prefix, seed=seed) as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        vpc.attach(second, **MANY)
        instance.ec2net("refresh")
        yield instance
