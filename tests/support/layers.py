# SPDX-License-Identifier: Apache-2.0
"""The table of folders: which folder may import which. test_layers.py holds it."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from checkout import TOP

_READS = "model runtime config kernel host decide state"

MAY_IMPORT: Mapping[str, frozenset[str]] = {
    folder: frozenset(others.split())
    for folder, others in {
        "model": "",
        "runtime": "model",
        "config": "model runtime",
        "kernel": "model runtime",
        "host": "model runtime config kernel",
        "decide": "model config",
        "state": "model runtime config",
        "imds": "model runtime kernel state",
        "live": "model runtime config kernel decide state",
        "plugins": f"{_READS} live",
        "engine": f"{_READS} imds live plugins",
        "report": "model runtime config decide state plugins",
        "daemon": f"{_READS} imds live plugins engine report",
        "doctor": f"{_READS} imds live plugins engine report",
        "migration": f"{_READS} imds live plugins engine report",
        "record": f"{_READS} imds live plugins engine report",
        "simulation": "model runtime imds report",
        "cli": f"{_READS} imds live plugins engine report daemon doctor migration record simulation",
    }.items()
}
"""The folders of core/, by the flow of data: each may import those that are named, and itself."""

BUILT_INS = "core/plugins/loaded.py"
"""The one module of core/ that contains the backends' names, in its table."""


API = "core/plugins/api.py"
"""The one module of core/ that plugins import, and backends/ with them."""


@dataclass(frozen=True, slots=True)
class Import:
    """One line that imports, at any level of its file. Paths are relative to the top."""

    file: str
    line: int
    text: str
    target: str
    """The file that is imported."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@cache
def imports() -> tuple[Import, ...]:
    """Every import of ec2net's modules in core/ and backends/, those in functions included."""
    return tuple(
        found for top in ("core", "backends") for path in _files(top) for found in _imports(path)
    )


def _files(top: str) -> list[Path]:
    return sorted((TOP / top).rglob("*.py"))


def _imports(path: Path) -> Iterator[Import]:
    source = path.read_text()
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        text = lines[node.lineno - 1].strip()
        for name in names:
            if (target := _file_of(name)) is not None:
                yield Import(str(path.relative_to(TOP)), node.lineno, text, target)


@cache
def _file_of(name: str) -> str | None:
    """The file of a module, or of a name inside it; None if it is not ec2net's."""
    if not name.startswith(("ec2net.core", "ec2net.backends")):
        return None
    parts = name.split(".")[1:]
    while parts:
        for path in (f"{'/'.join(parts)}.py", f"{'/'.join(parts)}/__init__.py"):
            if (TOP / path).is_file():
                return path
        parts.pop()
    return None


def folder(file: str) -> str:
    """``core/imds/token.py`` is in ``imds``, ``backends/networkd/files.py`` in ``backends``."""
    parts = Path(file).parts
    return parts[1] if parts[0] == "core" and len(parts) > 2 else parts[0]


def sentence(package: str) -> str:
    """The first paragraph of a package's docstring, on one line."""
    text = inspect.getdoc(importlib.import_module(f"ec2net.{package.replace('/', '.')}")) or ""
    return re.sub(r"``", "`", " ".join(text.partition("\n\n")[0].split()))


def folders_table() -> str:
    """The table for docs/architecture.md."""
    rows = ["| folder | what it is | may import |", "| --- | --- | --- |"]
    for name, others in MAY_IMPORT.items():
        listed = ", ".join(f"`{other}`" for other in MAY_IMPORT if other in others)
        rows.append(f"| `core/{name}/` | {sentence(f'core/{name}')} | {listed or 'nothing'} |")
    rows.append(f"| `backends/*/` | {sentence('backends')} | `{API}` |")
    return "\n".join(rows)


def packages_table() -> str:
    """The map for CONTRIBUTING.md: every package of core/ and backends/."""
    rows = ["| path | what it is |", "| --- | --- |", f"| `core/` | {sentence('core')} |"]
    core = [f"core/{name}" for name in MAY_IMPORT]
    for name in (*core, "backends"):
        inner = sorted(
            str(path.parent.relative_to(TOP)) for path in (TOP / name).glob("*/__init__.py")
        )
        packages = inner if name == "backends" else [name, *inner]
        rows += [f"| `{package}/` | {sentence(package)} |" for package in packages]
    return "\n".join(rows)
