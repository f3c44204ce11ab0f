# SPDX-License-Identifier: Apache-2.0
"""Check that the tests catch faults: insert one fault at a time, and run the tests.

``python tests/mutation/mutants.py`` tries the faults of tests/mutation/faults.toml, which were made
by hand, and generated ones. Only a failed assertion, or an exception of the program in a test of
behaviour, catches a fault. Results are kept for each state of the checkout, so that a second run
continues the first one. Exit status 1: a fault made by hand survives, or fewer generated ones than
FLOOR are caught.
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import faults
import generator
from judge import Judge, Verdict
from reach import Reach, reach
from sites import Mutant, program
from tree import TOP, Copy, copies, working_tree

SEED = 11
GENERATED = 200
FLOOR = 150
"""Generated faults, of 200, that have to be caught."""

ASSERTED = ("AssertionError", "Failed")
"""Exceptions that a failed assertion raises, Python's and pytest's."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one mutant."""

    name: str
    where: str
    symbol: str
    edit: str
    verdict: Verdict

    @classmethod
    def of(cls, mutant: Mutant, verdict: Verdict) -> "Result":
        return cls(mutant.name, mutant.where, mutant.symbol, mutant.edit, verdict)

    @classmethod
    def parse(cls, line: str) -> "Result":
        data = json.loads(line)
        return cls(**{**data, "verdict": Verdict(**data["verdict"])})

    def __str__(self) -> str:
        verdict = self.verdict
        told = f"{verdict.by}: {verdict.how}" if verdict.by else verdict.how
        return f"{self.where} {self.symbol}: {self.edit}\n    {verdict.outcome}: {told}"


class Results:
    """The results of one state of the checkout, appended to a file one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        lines = path.read_text().splitlines() if path.exists() else []
        self.all = {result.name: result for result in map(Result.parse, lines)}

    def add(self, result: Result) -> None:
        with self._lock:
            self.all[result.name] = result
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")


class Queue:
    """Supplies mutants: those made by hand, then a fixed number of valid generated ones.

    The next one replaces a generated mutant that does not judge the tests.
    """

    def __init__(self, hand: list[Mutant], generated: Iterator[Mutant], results: Results) -> None:
        self._hand = iter(hand)
        self._generated = generated
        self._results = results
        self._lock = threading.Lock()
        self.counted: list[str] = []
        """Names of generated mutants that count, or may yet."""

    def next(self) -> Mutant | None:
        with self._lock:
            for mutant in self._hand:
                if mutant.name not in self._results.all:
                    return mutant
            while len(self.counted) < GENERATED:
                mutant = next(self._generated)
                known = self._results.all.get(mutant.name)
                if known is None or known.verdict.counts:
                    self.counted.append(mutant.name)
                if known is None:
                    return mutant
        return None

    def done(self, result: Result) -> None:
        self._results.add(result)
        with self._lock:
            if not result.verdict.counts and result.name in self.counted:
                self.counted.remove(result.name)


def work(copies: list[Copy], judge: Callable[[Mutant, Copy], Verdict], queue: Queue) -> None:
    """Judge all mutants, one at a time in each copy."""

    def worker(copy: Copy) -> None:
        # Another worker's mutant may turn out to be none while this one finds the queue empty.
        while mutant := queue.next():
            result = Result.of(mutant, judge(mutant, copy))
            queue.done(result)
            print(f"{time.strftime('%H:%M:%S')} {result}", flush=True)

    # No wait for them when a signal ends the run: the tests end with their copies.
    threads = [threading.Thread(target=worker, args=(copy,), daemon=True) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker(copies[0])


def report(results: Results, hand: list[str], generated: list[str], known: Reach, seed: int) -> int:
    """Print the scores and the survivors; the exit status."""
    if known.failed:
        print(f"\nTests that fail with coverage: {', '.join(known.failed)}")
    caught = []
    for title, names in (("made by hand", hand), (f"generated with seed {seed}", generated)):
        outcomes = [results.all[name] for name in names]
        left = [result for result in outcomes if result.verdict.outcome != "killed"]
        caught.append(len(outcomes) - len(left))
        unreached = sum(not result.verdict.tests for result in left)
        exact = sum(result.verdict.how.startswith(ASSERTED) for result in outcomes)
        print(f"\n{caught[-1]} of {len(outcomes)} faults {title} are caught,", end=" ")
        print(f"{exact} of them by a failed assertion, the others by an exception of the program.")
        print(f"Of {len(left)} survivors, no test here reaches {unreached}.")
        for result in left:
            print(f"  {result.name}: {result}")
    others = [r for r in results.all.values() if r.name not in {*hand, *generated}]
    hung = sum(result.verdict.outcome == "hung" for result in others)
    print(
        f"\nReplaced: {len(others)} generated faults that stop a test or an import ({hung} hang)."
    )
    return 0 if caught[0] == len(hand) and caught[1] >= FLOOR else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Do the tests catch faults?")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument("--only", metavar="NAME", help="try one mutant again, and print its tests")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the generated ones ({SEED})")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM; a later run goes on"))
    state, tree = working_tree()
    cache = TOP / ".cache/mutants" / state
    cache.mkdir(parents=True, exist_ok=True)
    print(f"State {state}, seed {options.seed}; results are kept in {cache.relative_to(TOP)}.")
    with copies(tree, options.jobs) as made:
        files = program(made[0].top)
        hand = [faults.mutant(fault, files) for fault in faults.faults()]
        known = reach(made, cache)
        judge = Judge(known, cache)
        if options.only:
            return try_one(options, hand, generator.mutants(files, options.seed), judge, made[0])
        results = Results(cache / f"results-{options.seed}.jsonl")
        queue = Queue(hand, generator.mutants(files, options.seed), results)
        work(made, judge, queue)
        return report(results, [m.name for m in hand], queue.counted, known, options.seed)


def try_one(
    options: argparse.Namespace,
    hand: list[Mutant],
    generated: Iterator[Mutant],
    judge: Judge,
    copy: Copy,
) -> int:
    """Judge one mutant, ignoring earlier results."""
    for mutant in hand:
        if mutant.name == options.only:
            break
    else:
        mutant = next(m for m in generated if m.name == options.only)
    print(Result.of(mutant, verdict := judge(mutant, copy)))
    return 0 if verdict.outcome == "killed" else 1


if __name__ == "__main__":
    sys.exit(main())
