# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: runs chosen tests in a given order, and writes why the first one failed.

A test that exceeds its time ends the process: then no assertion has failed.
"""

import importlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from confined import confine
from hypothesis import Phase, settings

_RESULT = Path(os.environ["MUTANTS_RESULT"])
_LIMITS: dict[str, float] = json.loads(Path(os.environ["MUTANTS_TESTS"]).read_text())
"""The tests in their order, with the seconds that each may take."""

_uncollected: list[tuple[str, str]] = []
_NO_FAULT = (ImportError, SyntaxError, NameError)


def _write(outcome: str, **told: str) -> None:
    if not _RESULT.exists():
        _RESULT.write_text(json.dumps({"outcome": outcome, **told}))


def pytest_sessionstart() -> None:
    """Have random tests repeat themselves, and find out whether the program can be imported."""
    # The shrinking of a counterexample takes time and adds no information.
    settings.register_profile(
        "mutants",
        settings.default,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
    )
    settings.load_profile("mutants")
    confine()
    try:
        importlib.import_module(os.environ["MUTANTS_MODULE"])
    except BaseException as error:  # noqa: BLE001 (whatever the fault makes of it)
        _write("void", how=f"cannot be imported: {error!r}")
        pytest.exit("cannot be imported", returncode=3)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(_LIMITS)}
    chosen = [item for item in items if item.nodeid in order]
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in order])
    items[:] = sorted(chosen, key=lambda item: order[item.nodeid])


def pytest_runtest_logstart(nodeid: str) -> None:
    def give_up(*_: object) -> None:
        _write("hung", by=nodeid, how=f"no end within {_LIMITS[nodeid]:.0f} s")
        os._exit(3)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _LIMITS[nodeid])


def pytest_runtest_logfinish() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_exception_interact(node: pytest.Item | pytest.Collector, call: Any, report: Any) -> None:
    kind = call.excinfo.type
    lines = str(call.excinfo.value).strip().splitlines()
    how = f"{kind.__name__}: {lines[0] if lines else ''}"[:200]
    if isinstance(report, pytest.TestReport):
        # A name without a value is no fault that a developer would submit.
        _write("void" if issubclass(kind, _NO_FAULT) else "killed", by=node.nodeid, how=how)
        node.session.shouldstop = "the first failure is enough"
    else:
        _uncollected.append((node.nodeid, how))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A file that cannot be collected judges nothing; others that reach the fault may."""
    if _uncollected:
        by, how = _uncollected[0]
        _write("void", by=by, how=f"not collected: {how}")
    _write("survived" if session.testscollected else "no tests")
