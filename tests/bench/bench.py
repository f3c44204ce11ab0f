# SPDX-License-Identifier: Apache-2.0
"""Cost of a pass: ``make bench``. Exit status 1 if a limit is broken.

``make bench AGAINST=REV`` compares this checkout with another revision instead (against.py).

Whole processes are measured, as the kernel accounts for them, in the simulated VPC. Times depend on
the machine and its load, so the verdict uses the ratio to a concurrent baseline: importing the two
libraries that every pass needs.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from against import RATIO_LIMIT as AGAINST_LIMIT
from against import Compared, Version, compared, first_passes
from checkout import TOP
from host import BenchedHost, Mix, host
from old_version import NoHistory, unpack
from processes import Usage, environment, median, peak, python, run, script, trace
from residence import Manager, cost, hotplugs, resident

from ec2net.core.report.table import table
from ec2net.core.simulation.vpc import sandbox

SOURCE = TOP / "src"
BASELINE = "import requests, pyroute2"

RATIO_LIMIT = 1.5
"""CPU of an unchanged pass over ``LIMITED_ENIS``, as a multiple of the baseline's."""
LIMITED_ENIS = 15
FORK_LIMIT = 2
PASS_LIMIT = 15.0
"""Seconds: ``timeouts.pass`` by default."""

ONE = Mix("1 IPv4", ipv4=1)
FOUR = Mix("4 IPv4", ipv4=4)
DUAL = Mix("4 IPv4, 2 IPv6", ipv4=4, ipv6=2)
WHOLE = Mix("4 IPv4, 2 IPv6, /28, /80", ipv4=4, ipv6=2, ipv4_prefixes=1, ipv6_prefixes=1)
HOSTS = ((1, ONE), (5, DUAL), (15, FOUR), (15, DUAL), (15, WHOLE), (60, DUAL))

RESIDENT_HOSTS = ((1, ONE), (5, DUAL), (15, DUAL), (60, DUAL))
POLL_LIMIT = 0.05
"""Seconds of CPU of a steady interval over ``LIMITED_ENIS``, a fiftieth of the bash tool's."""
FURTHER_LIMIT = 0.003
"""Seconds of CPU in an interval for each ENI beyond those."""
REQUEST_LIMIT = 31
MEMORY_LIMIT = 0.75
"""Resident memory, as a multiple of the baseline's."""

SEED = 11
LARGE_HOSTS = (
    (15, Mix("50 IPv4, 50 IPv6, random", ipv4=50, ipv6=50, seed=SEED)),
    (64, Mix("50 IPv4, 50 IPv6, random", ipv4=50, ipv6=50, seed=SEED)),
    (80, Mix("64 IPv4, random", ipv4=64, seed=SEED)),
)
LARGE_POLL_LIMIT = 0.5
"""Seconds of CPU of a resident poll of the largest hosts."""
LARGE_MEMORY_LIMIT = 80.0
"""MiB, resident."""

DEPENDENCIES = ("pluggy", "requests", "pyroute2", "dbus_next")
ROUTER_ROUTES = 100_000
CONTAINER_LINKS = 2000


@dataclass(slots=True)
class Bench:
    """The common part of all measurements."""

    runs: int
    environ: Mapping[str, str]
    ec2net: Sequence[str]
    broken: list[str] = field(default_factory=list)

    def judged(self, what: str, value: float, limit: float, shown: str) -> str:
        """``shown`` with its limit and the verdict; ``what`` is the message for a broken limit."""
        if value > limit:
            self.broken.append(f"{what}: {shown}, limit {limit:g}")
        return f"{shown} {'OVER' if value > limit else 'ok'} (<= {limit:g})"

    def host(self, enis: int, mix: Mix) -> tuple[str, ...]:
        """One row: an unchanged pass and the baseline, in turns."""
        name = f"{enis} x ({mix.name})"
        with host(enis, mix, self.environ, self.ec2net) as benched:
            refresh = benched.command("refresh")
            ours, theirs = self.beside(refresh, python(BASELINE), benched)
            benched.vpc.imds.clear_log()
            traced = trace(refresh, self.environ, benched.vpc.guest)
            requests = len(benched.vpc.imds.requests)
            memory = benched.peak("refresh")
        ratio = f"{ours.cpu / theirs.cpu:.2f}"
        if enis <= LIMITED_ENIS:
            ratio = self.judged(f"{name}, CPU", ours.cpu / theirs.cpu, RATIO_LIMIT, ratio)
        # The listing of an ENI's keys, and each of its keys that can change.
        budget = 2 + enis * (1 + mix.keys)
        return (
            str(enis),
            mix.name,
            _ms(ours.cpu),
            _ms(theirs.cpu),
            ratio,
            self.judged(f"{name}, forks", traced.forks, FORK_LIMIT, str(traced.forks)),
            self.judged(f"{name}, requests", requests, budget, str(requests)),
            str(traced.total),
            _mib(memory),
            _ms(ours.wall),
        )

    def beside(
        self, command: Sequence[str], baseline: Sequence[str], at: BenchedHost | None = None
    ) -> tuple[Usage, Usage]:
        """Medians of both, run in turns after one run to warm up."""
        guest = None if at is None else at.vpc.guest
        pairs = [
            (run(command, self.environ, guest), run(baseline, self.environ, guest))
            for _ in range(1 + self.runs)
        ][1:]
        return median(one for one, _ in pairs), median(other for _, other in pairs)

    def small(self) -> list[tuple[str, ...]]:
        """A command without work and the imports, compared with a Python without work."""
        nothing = python("pass")
        usage, bare = self.beside([*self.ec2net, "--help"], nothing)
        rows: list[tuple[str, ...]] = []
        rows.append(("ec2net --help", _ms(usage.cpu - bare.cpu), "", _ms(usage.wall)))
        for name in DEPENDENCIES:
            usage, bare = self.beside(python(f"import {name}"), nothing)
            memory = peak(f"import {name}", self.environ) - peak("pass", self.environ)
            rows.append((name, _ms(usage.cpu - bare.cpu), _mib(memory), _ms(usage.wall)))
        return rows

    def hotplug(self) -> str:
        with host(2, DUAL, self.environ, self.ec2net) as benched:
            benched.hotplug()
            seconds = [benched.hotplug() for _ in range(self.runs)]
            imports = [run(python(BASELINE), self.environ).wall for _ in range(self.runs)]
        own, other = statistics.median(seconds), statistics.median(imports)
        return f"{_ms(own)} ({own / other:.2f} of the time that the imports alone take)"

    def resident(self, enis: int, mix: Mix) -> tuple[tuple[str, ...], float]:
        """One row: the daemon's cost and that of an on-demand pass of the same host; CPU per
        interval."""
        name = f"resident, {enis} x ({mix.name})"
        with host(enis, mix, self.environ, self.ec2net) as benched:
            refresh = median(
                run(benched.command("refresh"), self.environ, benched.vpc.guest) for _ in range(3)
            )
            found = cost(benched, self.environ)
        limited = enis == LIMITED_ENIS
        cpu = _ms(found.interval)
        requests = str(found.requests)
        if limited:
            cpu = self.judged(f"{name}, CPU", found.interval, POLL_LIMIT, cpu)
            requests = self.judged(f"{name}, requests", found.requests, REQUEST_LIMIT, requests)
        bare = peak(BASELINE, self.environ)
        memory = f"{_mib(found.memory)}, {found.memory / bare:.2f} of the imports"
        row = (
            str(enis),
            mix.name,
            _ms(refresh.cpu),
            cpu,
            _ms(found.refresh),
            requests,
            str(found.listings),
            self.judged(f"{name}, forks", found.forks, 0, str(found.forks)),
            str(found.calls),
            self.judged(f"{name}, idle", found.idle_calls, 0, str(found.idle_calls)),
            self.judged(f"{name}, memory", found.memory / bare, MEMORY_LIMIT, memory),
        )
        return row, found.interval

    def residence(self) -> list[tuple[str, ...]]:
        rows, polls = [], {}
        for enis, mix in RESIDENT_HOSTS:
            row, polls[enis] = self.resident(enis, mix)
            rows.append(row)
        each = (polls[60] - polls[15]) / 45
        self.judged("resident, each further ENI", each, FURTHER_LIMIT, _ms(each))
        print(f"Each further ENI: {each * 1000:.1f} ms of CPU in an interval")
        return rows

    def resident_hotplug(self) -> str:
        with host(2, DUAL, self.environ, self.ec2net) as benched:
            seconds = hotplugs(benched, self.environ, self.runs)
        return _ms(statistics.median(seconds))

    def worst(self) -> list[tuple[str, ...]]:
        """Hosts with many foreign objects."""
        rows = []
        with host(3, DUAL, self.environ, self.ec2net) as benched:
            guest, way = benched.vpc.guest, f"via {benched.vpc.subnets[0].gateway_ipv4}"
            rows.append(self._pass("3 ENIs, nothing else", benched))
            guest.ip(
                f"route add {20 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24 {way} proto bird"
                for n in range(ROUTER_ROUTES)
            )
            rows.append(self._pass(f"3 ENIs, {ROUTER_ROUTES} routes in main", benched))
        with host(3, DUAL, self.environ, self.ec2net) as benched:
            # Not veths: ec2net considers veths ENIs here.
            benched.vpc.guest.ip(f"link add link{n} type bridge" for n in range(CONTAINER_LINKS))
            rows.append(self._pass(f"3 ENIs, {CONTAINER_LINKS} other links", benched))
        return rows

    def large(self) -> list[tuple[str, ...]]:
        """The largest instances, with addresses as EC2 assigns them: the first pass and later ones."""
        rows: list[tuple[str, ...]] = []
        for enis, mix in LARGE_HOSTS:
            name = f"{enis} x ({mix.name})"
            with host(enis, mix, self.environ, self.ec2net, settled=False) as benched:
                refresh = benched.command("refresh")
                first = run(refresh, self.environ, benched.vpc.guest)
                steady = median(run(refresh, self.environ, benched.vpc.guest) for _ in range(3))
                with resident(benched, self.environ, "fast_for = 0.1\npoll = 3600") as manager:
                    poll = statistics.median(_polls(manager))
                    memory = manager.memory() / 1024
            rows.append(
                (
                    str(enis),
                    mix.name,
                    _ms(first.cpu),
                    self.judged(f"{name}, first pass", first.wall, PASS_LIMIT, _ms(first.wall)),
                    _ms(steady.cpu),
                    self.judged(f"{name}, poll", poll, LARGE_POLL_LIMIT, _ms(poll)),
                    self.judged(f"{name}, memory", memory, LARGE_MEMORY_LIMIT, f"{memory:.1f} MiB"),
                )
            )
        return rows

    def against(self, revision: str, folder: Path) -> list[tuple[str, ...]]:
        """This checkout against another revision, which is written into ``folder``."""
        new, old = self.versions(revision, folder)
        found = compared(new, old, self.runs, (*HOSTS, LARGE_HOSTS[0]), RESIDENT_HOSTS)
        return [self.ratio(row) for row in found]

    def largest(self, revision: str, folder: Path) -> list[tuple[str, ...]]:
        """The largest instances with addresses at random, before and after."""
        new, old = self.versions(revision, folder)
        return [
            (
                row.what,
                row.version,
                f"{row.first.cpu:.1f} s",
                f"{row.first.wall:.1f} s",
                str(row.status),
                f"{row.there} of {row.wanted}",
                f"{row.later.cpu:.2f} s",
            )
            for row in first_passes((old, new), LARGE_HOSTS)
        ]

    def versions(self, revision: str, folder: Path) -> tuple[Version, Version]:
        """This checkout, and the other revision, which is written into ``folder``."""
        cache = Path(self.environ["PYTHONPYCACHEPREFIX"])
        other = environment(cache, unpack(revision, folder) / "src")
        return Version("new", self.environ), Version("old", other)

    def ratio(self, row: Compared) -> tuple[str, ...]:
        verdict = self.judged(row.what, row.ratio, AGAINST_LIMIT, f"{row.ratio:.3f}")
        return (row.what, _ms(row.ours), _ms(row.theirs), verdict)

    def _pass(self, name: str, benched: BenchedHost) -> tuple[str, ...]:
        refresh = benched.command("refresh")
        used = median(run(refresh, self.environ, benched.vpc.guest) for _ in range(3))
        verdict = self.judged(name, used.wall, PASS_LIMIT, f"{used.wall:.2f} s")
        return (name, _ms(used.cpu), verdict, _mib(benched.peak("refresh")))


def measure(bench: Bench) -> None:
    """Print all tables of one version."""
    print(f"Medians of {bench.runs} runs, Python {sys.version.split()[0]}.")
    print(f'"import" is python3 -c "{BASELINE}", run in turns with ec2net.\n')
    print("Unchanged refresh of all ENIs, in on-demand mode")
    head = ("ENIs", "each with", "CPU", "import", "CPU/import", "forks", "IMDS requests")
    rows = [bench.host(enis, mix) for enis, mix in HOSTS]
    print(table((*head, "system calls", "peak RSS", "time"), rows), flush=True)
    print("\nDaemon on an unchanged host, compared with a pass in on-demand mode")
    head = (
        "ENIs",
        "each with",
        "on-demand pass",
        "interval",
        "refresh",
        "IMDS requests",
        "listings",
    )
    rows = bench.residence()
    more = ("forks", "system calls", "idle calls", "RSS")
    print(table((*head, *more), rows), flush=True)
    print("\nHotplug: from the link to a connection from outside")
    print(f"on-demand mode {bench.hotplug()}, resident {bench.resident_hotplug()}\n")
    print(table(("beyond a bare Python", "CPU", "peak RSS", "whole time"), bench.small()))
    print("\nThe largest instances, with addresses at random")
    large = ("first pass, CPU", "time", "later passes, CPU", "resident poll, CPU", "RSS")
    print(table(("ENIs", "each with", *large), bench.large()), flush=True)
    print("\nUnchanged refresh where there is much that is not ours")
    print(table(("host", "CPU", "time", "peak RSS"), bench.worst()))


def compare(bench: Bench, revision: str, folder: Path, *, largest: bool) -> None:
    """Print this checkout against a revision; ``largest``: only on the largest instances."""
    if not largest:
        rows = bench.against(revision, folder / "old")
        print(table(("", "new CPU", f"{revision} CPU", "new/old"), rows), flush=True)
    head = ("host", "version", "first pass, CPU", "time", "exit status", "addresses there")
    print(table((*head, "later pass, CPU"), bench.largest(revision, folder / "old-largest")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="measured runs of each (default: 7)")
    parser.add_argument("--against", metavar="REV", help="compare the CPU time with a revision's")
    parser.add_argument(
        "--largest", action="store_true", help="with --against: the largest instances alone"
    )
    options = parser.parse_args()
    sandbox.enter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "pycache")
        bench = Bench(options.runs, environment(cache, SOURCE), script(Path(folder)))
        if options.against is None:
            measure(bench)
        else:
            try:
                compare(bench, options.against, Path(folder), largest=options.largest)
            except NoHistory as error:
                parser.error(str(error))
    print(f"\n{time.monotonic() - began:.0f} s")
    for broken in bench.broken:
        print(f"OVER: {broken}")
    return 1 if bench.broken else 0


def _polls(manager: Manager) -> list[float]:
    """CPU seconds of polls, some of which the verification after the start falls into."""
    used = []
    for _ in range(7):
        before = manager.cpu()
        manager.poll()
        used.append(manager.cpu() - before)
    return used


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _mib(kib: int) -> str:
    return f"{kib / 1024:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
