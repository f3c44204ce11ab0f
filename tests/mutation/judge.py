# SPDX-License-Identifier: Apache-2.0
"""Run the tests that reach a fault, the quickest first, until one of them fails."""

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from reach import SELECTION, Reach
from sites import Mutant
from tree import Copy

UNIT_SECONDS = 40.0
NETNS_SECONDS = 30.0
"""The tests of one fault take no longer together, by the times that they took without it."""

START_SECONDS = 120.0
"""Time for pytest to start and to collect on a busy machine."""

PATIENCE = 6.0
"""A test may take so many times the time that it took, and ``GRACE`` seconds."""
GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the tests to one fault."""

    outcome: str
    """killed; survived; void: it cannot be imported or collected; hung: a test did not end."""
    by: str = ""
    """The test that failed."""
    how: str = ""
    tests: int = 0
    """Tests that were run, or would have been."""
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether the result judges the tests."""
        return self.outcome in ("killed", "survived")


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges mutants by the map of a tree; ``cache`` has the last output of each copy's pytest."""

    reach: Reach
    cache: Path

    def __call__(self, mutant: Mutant, copy: Copy) -> Verdict:
        began = time.monotonic()
        reaching = self.reach.of(mutant)
        unit = {n: s for n, s in reaching.items() if n.startswith("tests/unit/")}
        netns = {n: s for n, s in reaching.items() if n not in unit}
        verdict = Verdict("survived", how="no test reaches it")
        peculiar = self.reach.peculiar(mutant.path)
        # All of these reach most of the program: first those that reach what others do not.
        netns = dict(sorted(netns.items(), key=lambda test: -peculiar[test[0]] / (1 + test[1])))
        for tests, seconds in ((unit, UNIT_SECONDS), (netns, NETNS_SECONDS)):
            chosen = _within(tests, seconds)
            if chosen and verdict.outcome in ("survived", "void"):
                found = self._confirmed(mutant, copy, chosen)
                # Files that cannot be collected may be of one folder only.
                better = found if found.outcome != "survived" or not verdict.by else verdict
                verdict = replace(better, tests=verdict.tests + len(chosen))
        return replace(verdict, seconds=round(time.monotonic() - began, 1))

    def _confirmed(self, mutant: Mutant, copy: Copy, tests: dict[str, float]) -> Verdict:
        """A test that also fails without the fault is omitted, and judges nothing.

        Only likely tests are run again: those on the real kernel, with coverage, or late.
        """
        while tests:
            verdict = self._run(mutant, copy, tests)
            if verdict.by not in tests:
                return verdict
            sure = verdict.by.startswith("tests/unit/") and verdict.by not in self.reach.failed
            if sure and verdict.outcome != "hung":
                return verdict
            original = replace(mutant, source=(copy.top / mutant.path).read_bytes())
            if self._run(original, copy, {verdict.by: tests[verdict.by]}).outcome == "survived":
                return verdict
            tests = {name: seconds for name, seconds in tests.items() if name != verdict.by}
        return Verdict("survived", how="its tests fail without it")

    def _run(self, mutant: Mutant, copy: Copy, tests: dict[str, float]) -> Verdict:
        with tempfile.TemporaryDirectory(prefix="ec2net-verdict-") as folder, copy.mutated(mutant):
            result, order = Path(folder, "result"), Path(folder, "tests")
            limits = {name: GRACE + PATIENCE * seconds for name, seconds in tests.items()}
            order.write_text(json.dumps(limits))
            files = dict.fromkeys(name.partition("::")[0] for name in tests)
            copy.pytest(
                *(
                    "--continue-on-collection-errors",
                    "-p",
                    "verdict_plugin",
                    "-m",
                    SELECTION,
                    *files,
                ),
                limit=START_SECONDS + GRACE + PATIENCE * sum(tests.values()),
                log=self.cache / f"last-{copy.top.name}.log",
                MUTANTS_RESULT=str(result),
                MUTANTS_TESTS=str(order),
                MUTANTS_MODULE=mutant.module,
            )
            if not result.exists():
                return Verdict("hung", how="pytest wrote no result")
            return Verdict(**json.loads(result.read_text()))


def _within(tests: dict[str, float], seconds: float) -> dict[str, float]:
    """The first of ``tests``, as many as take no longer together; at least one."""
    chosen: dict[str, float] = {}
    for name, took in tests.items():
        if not chosen or sum(chosen.values()) + took <= seconds:
            chosen[name] = took
    return chosen
