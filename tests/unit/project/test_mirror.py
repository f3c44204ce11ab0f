# SPDX-License-Identifier: Apache-2.0
"""The tests mirror the source: a module's tests are found by its path, and share only support."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import TOP

TESTS = TOP / "tests"
UNIT = TESTS / "unit"
PROJECT = UNIT / "project"
"""Tests of documents, the source's layout, packages and the runner: they belong to no module."""


def sources(top: Path) -> set[str]:
    """Modules as their tests name them: ``imds/client`` and ``backends/networkd/files``."""
    core, backends = top / "core", top / "backends"
    return {p.relative_to(core).with_suffix("").as_posix() for p in core.rglob("*.py")} | {
        p.relative_to(top).with_suffix("").as_posix() for p in backends.rglob("*.py")
    }


def mirrored(test: str, modules: set[str]) -> bool:
    """Whether ``imds/test_client.py`` has its module, or ``imds/test_client_ASPECT.py`` has."""
    path = Path(test)
    words = path.stem.removeprefix("test_").split("_")
    names = ("_".join(words[:count]) for count in range(1, len(words) + 1))
    return any((path.parent / name).as_posix() in modules for name in names)


def unit_tests() -> list[str]:
    """Relative to ``tests/unit``."""
    return sorted(
        path.relative_to(UNIT).as_posix()
        for path in UNIT.rglob("test_*.py")
        if PROJECT not in path.parents
    )


def test_each_unit_test_mirrors_the_path_of_its_module() -> None:
    modules = sources(TOP)
    assert [test for test in unit_tests() if not mirrored(test, modules)] == []


@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("imds/test_client.py", True),
        ("imds/test_client_ways.py", True),
        ("imds/test_clients.py", False),
        ("kernel/test_client.py", False),
        ("test_client.py", False),
        ("backends/networkd/test_files.py", True),
        ("networkd/test_files.py", False),
    ],
)
def test_folder_and_name_identify_a_module(test: str, found: bool) -> None:
    assert mirrored(test, {"imds/client", "backends/networkd/files"}) is found


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def entangled(source: str) -> list[str]:
    """Imports of test modules and conftests, and everything that names ``sys.path``."""
    tree = ast.parse(source)
    tests = [
        name
        for name in imported(tree)
        if any(part.startswith("test_") or part == "conftest" for part in name.split("."))
    ]
    edits = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node).startswith("sys.path."))
        or (
            isinstance(node, ast.Assign | ast.AugAssign | ast.Delete)
            and any(
                isinstance(inner, ast.Attribute | ast.Subscript)
                and isinstance(inner.ctx, ast.Store | ast.Del)
                and ast.unparse(inner).startswith("sys.path")
                for inner in ast.walk(node)
            )
        )
    ]
    return tests + edits


def test_no_test_imports_another_and_none_edits_the_search_path() -> None:
    """pyproject.toml names the folders of what tests share (``pythonpath``)."""
    found = {
        str(path.relative_to(TOP)): wrong
        for path in TESTS.rglob("*.py")
        if (wrong := entangled(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from test_client import server", 2),
        ("import unit.imds.test_client", 1),
        ("from conftest import boot", 2),
        ("def f():\n    from unit.imds import test_client", 1),
        ("import sys\nsys.path.append('x')", 1),
        ("import sys\nsys.path[:0] = ['x']", 1),
        ("import sys\nsys.path += ['x']", 1),
        ("import sys\nsys.path = ['x']", 1),
        ("from eni_facts import eni\nimport sys\nprint(':'.join(sys.path))", 0),
    ],
)
def test_imports_between_tests_are_detected(source: str, found: int) -> None:
    assert len(entangled(source)) == found


def test_shared_code_of_tests_has_no_tests_and_one_folder() -> None:
    """Folders of tests hold tests and conftests; programs that measure are no tests' support."""
    helpers = {
        path.relative_to(TESTS).as_posix()
        for folder in ("unit", "netns", "lab", "packages")
        for path in (TESTS / folder).rglob("*.py")
        if not path.name.startswith("test_") and path.name != "conftest.py"
    }
    assert helpers == {"lab/measure_networkd.py"}
    assert list((TESTS / "support").rglob("test_*.py")) == []
