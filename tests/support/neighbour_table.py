# SPDX-License-Identifier: Apache-2.0
"""The table of neighbours: what each test measured on a host, with ec2net and without.

Tests append rows to ``.cache/tests/neighbours.jsonl``. Run as a program, this module prints the last
row of each case as Markdown.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from checkout import TOP

ROWS = TOP / ".cache/tests/neighbours.jsonl"


@dataclass(slots=True)
class Tried:
    """Connections that were tried, and packets with a source that their ENI does not own."""

    made: int = 0
    tried: int = 0
    wrong_way: int = 0
    failed: list[str] = field(default_factory=list)
    """Those that did not come about, for messages."""
    foreign: list[str] | None = None
    """Differences of the foreign state before and after; None: not compared."""

    def add(self, name: str, ok: bool) -> None:
        self.tried += 1
        self.made += ok
        if not ok:
            self.failed.append(name)

    def __str__(self) -> str:
        return f"{self.made} of {self.tried}, {self.wrong_way} packets the wrong way: {self.failed}"


@dataclass(frozen=True, slots=True)
class Row:
    """One case of the table."""

    neighbour: str
    expectation: str
    host: str
    """Release and network manager."""
    ec2net: bool
    made: int
    tried: int
    wrong_way: int
    foreign: int | None = None
    """Differences of the foreign state before and after; None: not compared."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.neighbour, self.expectation, self.host

    @property
    def cell(self) -> str:
        """Without the number of packets, which retransmissions change from run to run."""
        wrong = ", packets the wrong way" if self.wrong_way else ""
        return f"{self.made} of {self.tried}{wrong}"

    @property
    def foreign_cell(self) -> str:
        """Whether the state of others was the same before and after."""
        if self.foreign is None:
            return ""
        return f"{self.foreign} differences" if self.foreign else "unchanged"


def record(neighbour: str, expectation: str, host: str, ec2net: bool, tried: Tried) -> None:
    """Keep a row of the table."""
    foreign = None if tried.foreign is None else len(tried.foreign)
    counts = (tried.made, tried.tried, tried.wrong_way, foreign)
    row = Row(neighbour, expectation, host, ec2net, *counts)
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    with ROWS.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")
    print(f"{row.neighbour}: {row.expectation} ({row.host}, ec2net {ec2net}): {row.cell}")


@contextmanager
def counted(vpc: Any) -> Iterator[Tried]:
    """Count in the block what the VPC's source check drops."""
    before, tried = vpc.dropped(), Tried()
    yield tried
    tried.wrong_way = vpc.dropped() - before


def markdown(rows: Iterable[Row]) -> str:
    """One line for each case; hosts with the same cells share a line."""
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        hosts = cells.setdefault((row.neighbour, row.expectation), {})
        found = hosts.setdefault(row.host, ["", "", ""])
        found[row.ec2net] = row.cell
        found[2] = row.foreign_cell or found[2]
    lines = [
        "| neighbour | expectation | hosts | without ec2net | with ec2net | foreign state |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (neighbour, expectation), hosts in cells.items():
        for same in Counter(map(tuple, hosts.values())):
            names = "; ".join(host for host, found in hosts.items() if tuple(found) == same)
            lines.append(f"| {' | '.join((neighbour, expectation, names, *same))} |")
    return "\n".join(lines)


def read(path: Path = ROWS) -> list[Row]:
    """The last row of each case, in the order of the first one."""
    found: dict[tuple[object, ...], Row] = {}
    for line in path.read_text().splitlines():
        row = Row(**json.loads(line))
        found[(*row.key, row.ec2net)] = row
    return list(found.values())


if __name__ == "__main__":
    print(markdown(read()))
