# SPDX-License-Identifier: Apache-2.0
"""What two versions of ec2net cost on the same hosts, in turns: ``make bench AGAINST=REV``.

CPU time as the kernel accounts for it, since other processes change how long a pass takes, and
hardly what it costs. Both versions measure within the same seconds, and swap who comes first.
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
"""Polls of one manager that count, after some to warm up."""
WARM_UP = 3

_EC2NET = (sys.executable, "-m", "ec2net")
"""The same command for every revision, wherever its modules stand."""


@dataclass(frozen=True, slots=True)
class Version:
    """One of the two."""

    name: str
    environ: Mapping[str, str]
    """With this version's modules."""

    def on(self, benched: BenchedHost) -> BenchedHost:
        """The host with this version, which remembers in a state directory of its own."""
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
    """One row for ``--help``, and one for each host with an unchanged pass, or with a manager."""
    yield Compared("ec2net --help", in_turns([partial(bare, v) for v in (new, old)], runs))
    for kind, hosts, measure in (
        ("refresh", on_demand, unchanged_pass),
        ("resident poll", resident, steady_poll),
    ):
        for enis, mix in hosts:
            with host(enis, mix, new.environ, _EC2NET, settled=False) as benched:
                both = [version.on(benched) for version in (new, old)]
                for one in both:
                    unchanged_pass(one)  # by the first of them it is not
                pairs = in_turns([partial(measure, one) for one in both], runs)
            yield Compared(f"{kind}, {enis} x ({mix.name})", pairs)


@dataclass(frozen=True, slots=True)
class First:
    """What the first pass of a large host came to, and what a later one costs."""

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
    """Each version on a host of its own, with a deadline that nothing of it should meet."""
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
    """So many pairs of measurements, after one to warm up; each pair begins with the other one."""
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
    """CPU seconds of a poll by a manager that has made some."""
    with resident(benched, benched.environ, "fast_for = 0.1\npoll = 3600") as manager:
        for _ in range(WARM_UP):
            manager.poll()
        before = manager.cpu()
        for _ in range(POLLS):
            manager.poll()
        return (manager.cpu() - before) / POLLS
