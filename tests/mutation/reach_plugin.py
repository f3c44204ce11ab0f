# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: notes which test reaches which line, and how long each test takes.

Coverage runs already (COVERAGE_PROCESS_START); processes that a test starts name their test by
pytest's own variable, PYTEST_CURRENT_TEST.
"""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import coverage
import pytest
from confined import confine

_seconds: dict[str, float] = {}
_failed: set[str] = set()

_END_SECONDS = 3.0
"""Makes a process write the lines that it reached, before it is killed."""


def pytest_sessionstart() -> None:
    """A process that a test kills at its end writes nothing, so it gets a signal before."""
    confine()
    kill = subprocess.Popen.kill

    def end_first(process: "subprocess.Popen[str]") -> None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        kill(process)

    setattr(subprocess.Popen, "kill", end_first)  # noqa: B010 (mypy allows no assignment)


def pytest_runtest_logstart(nodeid: str) -> None:
    running = coverage.Coverage.current()
    assert running is not None, "coverage does not run in this process"
    running.switch_context(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if not report.passed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    result = {"seconds": _seconds, "failed": sorted(_failed)}
    Path(os.environ["MUTANTS_RESULT"]).write_text(json.dumps(result))
