# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: runs chosen tests in a given order, and writes why the first one failed.

Tests that exceed their time end the process: then no assertion says that something is wrong.
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


def _write(outcome: str, **told: str) -> None:
    if not _RESULT.exists():
        _RESULT.write_text(json.dumps({"outcome": outcome, **told}))


def pytest_sessionstart() -> None:
    """Have random tests repeat themselves, and find out whether the program can be imported."""
    # The shrinking of a counterexample takes time and says nothing new.
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


def pytest_exception_interact(node: pytest.Item, call: Any, report: Any) -> None:
    kind = call.excinfo.type
    lines = str(call.excinfo.value).strip().splitlines()
    how = f"{kind.__name__}: {lines[0] if lines else ''}"[:200]
    if not isinstance(report, pytest.TestReport) or issubclass(kind, ImportError | SyntaxError):
        _write("void", by=node.nodeid, how=how)
    else:
        _write("killed", by=node.nodeid, how=how)


def pytest_sessionfinish(session: pytest.Session) -> None:
    _write("survived" if session.testscollected else "no tests")
