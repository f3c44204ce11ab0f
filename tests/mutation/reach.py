# SPDX-License-Identifier: Apache-2.0
"""Which tests reach which line of the program: measured once for each commit, by coverage.

The map leaves out tests of documents, of the source's layout and of generated text, because they
do not judge behaviour. It leaves out tests of the simulated VPC, where no fault is made.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypedDict

import coverage
from coverage.exceptions import CoverageException
from sites import FOLDERS, Mutant
from tree import Copy

NO_JUDGES = {
    "unit": ("project/test_*.py",),  # documents, the source's layout, generated text, packages
    "netns": (
        "test_demo.py",  # the simulation
        "test_vpc_*.py",
        "test_ways.py",  # compares a generated table
        # A matrix or endurance test, which quicker tests replace for a single fault.
        "test_doctor.py",
        "test_engine_bad_input.py",
        "test_engine_imds_faults.py",
        "test_foreign_untouched.py",
        "test_resident_hour.py",
        "test_resident_races.py",
        "test_vips.py",
    ),
}
"""Test files by folder that kill no mutant here."""

SELECTION = "not exhaustive and not serial"
"""Marks of tests: the part of ``make test`` that takes no longer under load."""


class _Told(TypedDict):
    """The result that reach_plugin.py writes."""

    seconds: dict[str, float]
    failed: list[str]


_NOTHING = 5
"""pytest's exit status where every test was deselected."""

_UNIT_SHARDS = 4
_LIMIT = 2400.0
"""Seconds for one shard: a file of ``netns``, or a fourth of ``unit``."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The map. ``lines`` has for each file and line the numbers of tests in ``names``."""

    names: tuple[str, ...]
    seconds: tuple[float, ...]
    lines: dict[str, dict[str, list[int]]]
    failed: tuple[str, ...]
    """Tests that failed without any fault, for example with coverage."""

    def of(self, mutant: Mutant) -> dict[str, float]:
        """Tests that reach the edit, with their seconds, the quickest first."""
        known = self.lines.get(mutant.path, {})
        reaching = (known[str(line)] for line in mutant.lines if str(line) in known)
        numbers = (
            next(reaching, []) if mutant.lines else {n for each in known.values() for n in each}
        )
        quickest = sorted(numbers, key=lambda number: (self.seconds[number], number))
        return {self.names[number]: self.seconds[number] for number in quickest}

    def peculiar(self, path: str) -> dict[str, float]:
        """How much each test does in a file that few other tests do: the sum over its lines of
        the share that the test has in each."""
        found: dict[str, float] = {}
        for tests in self.lines.get(path, {}).values():
            for number in tests:
                name = self.names[number]
                found[name] = found.get(name, 0.0) + 1 / len(tests)
        return found


def reach(copies: list[Copy], cache: Path) -> Reach:
    """The map for the tree of which these are copies; ``cache`` is the tree's own folder."""
    stored = cache / "reach.json"
    if not stored.exists():
        _measure(copies, cache, stored)
    data = json.loads(stored.read_text())
    return Reach(
        tuple(data["seconds"]),
        tuple(data["seconds"].values()),
        data["lines"],
        tuple(data["failed"]),
    )


def _measure(copies: list[Copy], cache: Path, stored: Path) -> None:
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)
    work = cache / "coverage"
    work.mkdir(parents=True, exist_ok=True)

    def run(shard: tuple[str, list[str]]) -> _Told:
        copy = free.get()
        try:
            return _run_shard(copy, work, *shard)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        results = list(pool.map(run, _shards(copies[0])))
    seconds = {name: took for told in results for name, took in told["seconds"].items()}
    failed = [name for told in results for name in told["failed"]]
    lines = _lines(work, list(seconds))
    whole = json.dumps({"seconds": seconds, "failed": failed, "lines": lines})
    temporary = stored.with_suffix(".new")
    temporary.write_text(whole)
    os.replace(temporary, stored)


def _shards(copy: Copy) -> list[tuple[str, list[str]]]:
    """Names, with the files that one run of pytest measures."""
    files: dict[str, list[str]] = {}
    for folder, patterns in NO_JUDGES.items():
        parent = copy.top / "tests" / folder
        left_out = {path for pattern in patterns for path in parent.glob(pattern)}
        paths = sorted(set(parent.rglob("test_*.py")) - left_out)
        files[folder] = [path.relative_to(copy.top).as_posix() for path in paths]
    unit = [(f"unit{n}", files["unit"][n::_UNIT_SHARDS]) for n in range(_UNIT_SHARDS)]
    return [*unit, *((Path(file).stem, [file]) for file in files["netns"])]


def _run_shard(copy: Copy, work: Path, name: str, files: list[str]) -> _Told:
    settings, result = work / f"{name}.ini", work / f"{name}.json"
    if result.exists():
        return _told(result)  # from a run that ended before the map was complete
    for stale in work.glob(f"data.{name}.*"):
        stale.unlink()
    settings.write_text(
        "[run]\n"
        f"data_file = {work}/data.{name}\n"
        "parallel = true\n"
        "context = ${PYTEST_CURRENT_TEST}\n"
        "disable_warnings = no-data-collected, module-not-imported\n"
        "source =\n" + "".join(f"    {copy.top / folder}\n" for folder in FOLDERS)
    )
    status = copy.pytest(
        *("-p", "reach_plugin", "-m", SELECTION, *files),
        limit=_LIMIT,
        log=work / f"{name}.log",
        COVERAGE_PROCESS_START=str(settings),
        MUTANTS_RESULT=str(result),
    )
    if status not in (0, 1, _NOTHING) or not result.exists():
        result.unlink(missing_ok=True)  # or a later run would take it for whole
        raise SystemExit(f"the tests of {name} did not run to their end: see {work / name}.log")
    return _told(result)


def _told(result: Path) -> _Told:
    told: _Told = json.loads(result.read_text())
    return told


def _lines(work: Path, names: list[str]) -> dict[str, dict[str, list[int]]]:
    """Copies have other paths in every run: the path inside the copy identifies a file."""
    numbers = {name: number for number, name in enumerate(names)}
    found: dict[str, dict[int, set[int]]] = {}
    for path in sorted(work.glob("data.*")):
        data = coverage.CoverageData(str(path))
        with suppress(CoverageException):  # a process that was killed did not write all of it
            data.read()
            for file in data.measured_files():
                parts = Path(file).parts
                first = max(parts.index(folder) for folder in FOLDERS if folder in parts)
                lines = found.setdefault("/".join(parts[first:]), {})
                for line, contexts in data.contexts_by_lineno(file).items():
                    # "name (call)" in a process that a test started, "|name" in pytest's own.
                    tests = {context.lstrip("|").rsplit(" (", 1)[0] for context in contexts}
                    known = {numbers[test] for test in tests if test in numbers}
                    lines.setdefault(line, set()).update(known)
        data.close()
    return {
        file: {str(line): sorted(tests) for line, tests in lines.items() if tests}
        for file, lines in found.items()
    }
