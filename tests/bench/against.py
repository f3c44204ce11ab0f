# SPDX-License-Identifier: Apache-2.0
"""Cost of two versions of ec2net on the same hosts, in turns: ``make bench AGAINST=REV``.

The kernel's CPU time is compared, since other processes change the duration of a pass, and hardly
its CPU time. Both versions measure within the same seconds, and alternate in order.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from host import BenchedHost, Mix, host
from processes import Usage, attempt, run
from residence import resident

RATIO_LIMIT = 1.05
"""CPU of this checkout, as a multiple of the other revision's."""

POLLS = 10
"""Measured polls of one daemon, after some to warm up."""
WARM_UP = 3

_EC2NET = (sys.executable, "-m", "ec2net")
"""The same command for every revision, independent of the modules' folder."""


@dataclass(frozen=True, slots=True)
class Version:
    """One of the two versions."""

    name: str
    environ: Mapping[str, str]
    """The environment with this version's modules."""

    def on(self, benched: BenchedHost) -> BenchedHost:
        """The host with this version, with a separate state directory."""
        *configuration, run_dir = benched.where
        where = (*configuration, f"{run_dir}-{self.name}")
        return replace(benched, environ=self.environ, ec2net=_EC2NET, where=where)


@dataclass(frozen=True, slots=True)
class Compared:
    """Both versions' CPU seconds of one row, pair by pair."""

    what: str
    pairs: Sequence[tuple[float, float]]

    @property
    def ours(self) -> float:
        return statistics.median(new for new, _ in self.pairs)

    @property
    def theirs(self) -> float:
        return statistics.median(old for _, old in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios: a busy second slows both halves of a pair down."""
        return statistics.median(new / old for new, old in self.pairs)


def compared(
    new: Version,
    old: Version,
    runs: int,
    on_demand: Sequence[tuple[int, Mix]],
    resident: Sequence[tuple[int, Mix]],
) -> Iterator[Compared]:
    """One row for ``--help``, and one for each host with an unchanged pass, or with a daemon."""
    yield Compared("ec2net --help", in_turns([partial(bare, v) for v in (new, old)], runs))
    for kind, hosts, measure in (
        ("refresh", on_demand, unchanged_pass),
        ("resident poll", resident, steady_poll),
    ):
        for enis, mix in hosts:
            with host(enis, mix, new.environ, _EC2NET, settled=False) as benched:
                both = [version.on(benched) for version in (new, old)]
                for one in both:
                    unchanged_pass(one)  # the first pass has changes
                pairs = in_turns([partial(measure, one) for one in both], runs)
            yield Compared(f"{kind}, {enis} x ({mix.name})", pairs)


@dataclass(frozen=True, slots=True)
class First:
    """The result of a large host's first pass, and the cost of a later pass."""

    what: str
    version: str
    first: Usage
    status: int
    """The exit status of the first pass."""
    there: int
    """Addresses that are on their links after it."""
    wanted: int
    later: Usage


def first_passes(versions: Sequence[Version], hosts: Sequence[tuple[int, Mix]]) -> Iterator[First]:
    """Each version on a separate host, with a deadline that no version should reach."""
    for enis, mix in hosts:
        for version in versions:
            with host(enis, mix, version.environ, _EC2NET, settled=False) as benched:
                one = version.on(benched)
                refresh, guest = one.command("refresh"), benched.vpc.guest
                first, status, _ = attempt(refresh, one.environ, guest)
                shown = guest.run(["ip", "-oneline", "address"]).stdout
                there = {line.split()[3].partition("/")[0] for line in shown.splitlines()}
                wanted = [str(a) for eni in benched.vpc.enis for a in eni.addresses()]
                later, _, _ = attempt(refresh, one.environ, guest)
            held = sum(address in there for address in wanted)
            name = f"{enis} x ({mix.name})"
            yield First(name, version.name, first, status, held, len(wanted), later)


def in_turns(measures: Sequence[Callable[[], float]], runs: int) -> list[tuple[float, float]]:
    """This number of paired measurements, after one to warm up; each pair begins with the other
    one."""
    pairs = []
    for number in range(1 + runs):
        found = {which: measures[which]() for which in ((0, 1) if number % 2 else (1, 0))}
        pairs.append((found[0], found[1]))
    return pairs[1:]


def bare(version: Version) -> float:
    """CPU seconds of the command that does nothing."""
    return run([*_EC2NET, "--help"], version.environ).cpu


def unchanged_pass(benched: BenchedHost) -> float:
    """CPU seconds of a refresh, start of the process included."""
    return run(benched.command("refresh"), benched.environ, benched.vpc.guest).cpu


def steady_poll(benched: BenchedHost) -> float:
    """CPU seconds of one poll by a daemon that has polled before."""
    with resident(benched, benched.environ, "fast_for = 0.1\npoll = 3600") as manager:
        for _ in range(WARM_UP):
            manager.poll()
        before = manager.cpu()
        for _ in range(POLLS):
            manager.poll()
        return (manager.cpu() - before) / POLLS
