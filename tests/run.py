#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the named parts of the tests, side by side where they allow it, and say what ran.

    tests/run.py test                every behaviour once, as in CI;
    tests/run.py all [PART ...]      the full cross product, except for parts that are green on
                                     this commit;
    tests/run.py parts               names of the parts of "all", as JSON;
    tests/run.py green               the parts of "all" that are green on this commit.

A part ends at its limit, even if a test hangs. With CI=true a part or a test that could not run is a
failure. ``EC2NET_LANES`` sets how many parts run at a time (default: two for each CPU, since most
tests wait for a host or a lease).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

from parts import SETUP, STYLE, TOP, Part, everything, once

RESULTS = TOP / ".cache/tests"
"""For each part: its output, its JUnit XML, and a stamp for each commit on which it was green."""

LIMIT = 45 * 60.0
"""Seconds for one part; GitHub's runners and people have no patience for more."""


@dataclass(slots=True)
class Result:
    """The result of a part."""

    part: Part
    state: str = "NOT RUN"
    """``ran``, ``FAILED``, ``NOT RUN`` or ``green`` (on this commit already)."""
    why: str = ""
    seconds: float = 0.0
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    times: list[tuple[float, str]] = field(default_factory=list)


def file_of(part: Part, suffix: str) -> Path:
    word = "".join(c if c.isalnum() or c == "-" else "-" for c in part.name)
    return RESULTS / f"{word}{suffix}"


def run(part: Part) -> Result:
    """Run one part to its end, or to its limit."""
    log, report = file_of(part, ".log"), file_of(part, ".xml")
    report.unlink(missing_ok=True)
    argv = [*part.argv, *([f"--junitxml={report}"] if part.pytest else [])]
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=TOP,
            env={**environment(), **dict(part.env)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | str = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            status = f"none within {LIMIT:g} s"
        finally:
            end(process)
    result = Result(part, seconds=time.monotonic() - began)
    result.state = "ran" if status == 0 else "FAILED"
    result.why = "" if status == 0 else f"exit status {status}"
    if part.pytest and report.exists():
        read_report(report, result)
    return result


def end(process: "subprocess.Popen[bytes]") -> None:
    """Leave nothing of a part behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_all(number: int, frame: object) -> None:
    """Ctrl-C, or SIGTERM: nothing of any part goes on.

    The kernel is asked for the parts, since one that has just begun may not be known here yet.
    """
    for children in Path("/proc/self/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            for kill in (os.kill, os.killpg):  # each leads a session of its own, soon
                with suppress(ProcessLookupError):
                    kill(child, signal.SIGKILL)
    os._exit(128 + number)


def environment() -> dict[str, str]:
    dropped = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in dropped}


def read_report(path: Path, result: Result) -> None:
    """pytest's result of each test."""
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        result.times.append((float(case.get("time", "0")), name))
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed.append(name)
        elif (skipped := case.find("skipped")) is not None:
            result.skipped.append(f"{name}: {skipped.get('message')}")
        else:
            result.passed += 1


def run_parts(parts: Sequence[Part], lanes: int, done: dict[str, Result], at: str) -> None:
    """Run all, in the order given as far as needs and lanes allow; serial ones alone, at the end."""
    beside = [part for part in parts if not part.serial and part.name not in done]
    names = {part.name: part for part in beside}
    order = TopologicalSorter({p.name: [n for n in p.needs if n in names] for p in beside})
    order.prepare()
    ready: list[str] = []
    running: dict[Future[Result], str] = {}
    rank = {part.name: number for number, part in enumerate(parts)}
    with ThreadPoolExecutor(lanes) as pool:
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=rank.__getitem__)
            while ready and len(running) < lanes:
                part = names[ready.pop(0)]
                if missing := lacking(part, done):
                    report(Result(part, why=f"{missing} did not pass"), done, at)
                    order.done(part.name)
                else:
                    running[pool.submit(run, part)] = part.name
            if running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    report(future.result(), done, at)
                    order.done(running.pop(future))
    for part in parts:
        if part.serial and part.name not in done:
            missing = lacking(part, done)
            report(Result(part, why=f"{missing} did not pass") if missing else run(part), done, at)


def lacking(part: Part, done: dict[str, Result]) -> str:
    """The first part it needs that did not pass; empty: none."""
    return next((n for n in part.needs if done[n].state not in ("ran", "green")), "")


def report(result: Result, done: dict[str, Result], at: str) -> None:
    """Print what a part said, and stamp it with the commit if it passed on an unchanged tree."""
    done[result.part.name] = result
    log = file_of(result.part, ".log")
    print(f"\n=== {result.part.name}: {result.state} {result.why} ({result.seconds:.0f} s)")
    if result.state in ("ran", "FAILED"):
        print(log.read_text(errors="replace").rstrip())
    sys.stdout.flush()
    if at and commit() == at:
        stamp(result, at)


# Stamps


def commit() -> str:
    """The commit that the tree is, or empty if anything differs from it."""
    if git("status", "--porcelain"):
        return ""
    return git("rev-parse", "HEAD")


def git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=TOP, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.strip()


def stamp_of(part: Part, at: str) -> Path:
    return RESULTS / "green" / at / file_of(part, ".json").name


def stamp(result: Result, at: str) -> None:
    if result.state != "ran" or result.skipped:
        return
    path = stamp_of(result.part, at)
    path.parent.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    kept = {
        "part": result.part.name,
        "commit": at,
        "at": moment,
        "seconds": round(result.seconds),
        "passed": result.passed,
    }
    path.write_text(json.dumps(kept) + "\n")


# Words


def summary(results: Sequence[Result], seconds: float) -> bool:
    """Print what ran, what did not, and the ten slowest tests; whether all is well."""
    print("\n=== summary")
    for result in results:
        counts = f", {result.passed} tests" if result.part.pytest and result.state == "ran" else ""
        why = f": {result.why}" if result.why else ""
        print(f"{result.state:8} {result.part.name}{why} ({result.seconds:.0f} s{counts})")
    slowest = sorted((t for r in results for t in r.times), reverse=True)[:10]
    if slowest:
        print("\nThe ten slowest tests:")
        for took, name in slowest:
            print(f"{took:8.1f} s  {name}")
    failed = [name for r in results for name in r.failed]
    skipped = [name for r in results for name in r.skipped]
    for title, names in (("Failed", failed), ("Not run", skipped)):
        if names:
            print(f"\n{title}:")
            print("\n".join(f"  {name}" for name in names))
    strict = os.environ.get("CI") == "true"
    bad = any(
        r.state == "FAILED" or (r.state == "NOT RUN" and (strict or "pass" in r.why))
        for r in results
    )
    well = not bad and not (strict and skipped)
    passed = sum(r.passed for r in results)
    print(f"\n{'All parts passed' if well else 'NOT everything passed'} in {seconds:.0f} s.")
    ended = f"{passed} passed, {len(failed)} failed"
    print(ended + (f", {len(skipped)} skipped" if skipped else ""))
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the named parts of the tests.")
    parser.add_argument("suite", choices=("check", "test", "all", "parts", "green"))
    parser.add_argument("part", nargs="*", help="parts of 'all'; default: each that is not green")
    given = parser.parse_args()
    every = everything()
    known = [part.name for part in every if part not in SETUP]
    if given.suite == "parts":
        print(json.dumps(known))
        return 0
    at = commit()
    if given.suite == "green":
        return tell_green(every, at)
    if wrong := [name for name in given.part if name not in known]:
        parser.error(f"no part is called {wrong[0]!r}; parts are: {'; '.join(known)}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_all)
    RESULTS.mkdir(parents=True, exist_ok=True)
    parts, done = every if given.suite == "all" else once(), dict[str, Result]()
    if given.suite == "check":
        parts = [p for p in parts if p.name == "environment" or p.name.startswith("unit: ")]
        parts += STYLE
    if given.suite == "all":
        if given.part:
            parts = wanted(every, given.part)
        for part in parts:
            if (
                part not in SETUP
                and at
                and part.name not in given.part
                and stamp_of(part, at).exists()
            ):
                done[part.name] = Result(part, "green", "on this commit already")
    lanes = int(os.environ.get("EC2NET_LANES", 2 * (os.cpu_count() or 1)))
    began = time.monotonic()
    run_parts(parts, lanes, done, at)
    results = [done[part.name] for part in parts]
    return 0 if summary(results, time.monotonic() - began) else 1


def wanted(every: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """These parts, and what they need."""
    kept, todo = set[str](), list(names)
    by_name = {part.name: part for part in every}
    while todo:
        kept.add(name := todo.pop())
        todo += by_name[name].needs
    return [part for part in every if part.name in kept]


def tell_green(every: Sequence[Part], at: str) -> int:
    """Print each part with its stamp on this commit; 1 if one lacks it."""
    if not at:
        print("The tree differs from its commit: nothing is green.")
        return 1
    missing = 0
    for part in every:
        if part in SETUP:
            continue
        path = stamp_of(part, at)
        if path.exists():
            kept = json.loads(path.read_text())
            print(
                f"green    {part.name}: {kept['at']}, {kept['seconds']} s, {kept['passed']} tests"
            )
        else:
            missing += 1
            print(f"missing  {part.name}")
    print(f"{at}: {missing} parts are missing." if missing else f"{at}: every part is green.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
