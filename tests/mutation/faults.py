# SPDX-License-Identifier: Apache-2.0
"""Faults made by hand, each named by the symbol that contains it.

Qualified name and syntax identify a fault, independent of the symbol's file and of the formatter.
``find`` must occur once in all symbols of that name.
"""

import ast
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sites import FaultError, Mutant, SourceFile, reached_lines, symbols

FILE = Path(__file__).with_name("faults.toml")


@dataclass(frozen=True, slots=True)
class Fault:
    """``find`` and ``put`` are Python: an expression or a statement each."""

    name: str
    symbol: str
    find: str
    put: str


def faults() -> list[Fault]:
    """The faults of the file, in its order."""
    tables = tomllib.loads(FILE.read_text())
    return [Fault(name, **table) for name, table in tables.items()]


def mutant(fault: Fault, files: Iterable[SourceFile]) -> Mutant:
    """The program with this fault. Raises ``FaultError`` unless exactly one line fits."""
    wanted = _parsed(fault.find)
    shape = ast.dump(wanted)
    found = [
        (file, symbol, node)
        for file in files
        for name, symbol in symbols(file.tree)
        if name == fault.symbol
        for node in ast.walk(symbol)
        if isinstance(node, type(wanted)) and ast.dump(node) == shape
    ]
    if len(found) != 1:
        raise FaultError(
            f"fault {fault.name!r}: {fault.find!r} occurs {len(found)} times in {fault.symbol};"
            f" correct {FILE.name}"
        )
    file, symbol, node = found[0]
    assert isinstance(node, ast.expr | ast.stmt)
    put = f"({fault.put})" if isinstance(node, ast.expr) else fault.put
    lines = reached_lines(symbol, node)
    edit = f"{_line(fault.find)} → {_line(fault.put)}"
    source = file.replaced(node, put)
    return Mutant(fault.name, file.path, fault.symbol, node.lineno, lines, edit, source)


def _parsed(text: str) -> ast.expr | ast.stmt:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        # A return or a yield is a statement that only a function may hold.
        [function] = ast.parse("def _():\n" + "\n".join(f" {t}" for t in text.splitlines())).body
        assert isinstance(function, ast.FunctionDef)
        [statement] = function.body
        return statement


def _line(text: str) -> str:
    return " ".join(text.split())
