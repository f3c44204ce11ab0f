# SPDX-License-Identifier: Apache-2.0
"""Nodes of the program's source that can have a fault, and the edit that inserts it.

An edit replaces the text of one syntax node, so that comments and the other lines stay.
"""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("core", "backends")


class FaultError(Exception):
    """A fault cannot be made: the program has changed, and the fault has to be changed too."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One faulty variant of one source file."""

    name: str
    path: str
    """The file, relative to the top of the repository."""
    symbol: str
    """Qualified name of the function or class that holds the edit."""
    line: int
    lines: tuple[int, ...]
    """Lines whose execution reaches the edit, the surest first; empty if import reaches it."""
    edit: str
    """The old and the new text, for people."""
    source: bytes
    """The whole file with the fault."""

    @property
    def module(self) -> str:
        """The file's import name."""
        return ".".join(("ec2net", *Path(self.path).with_suffix("").parts)).removesuffix(
            ".__init__"
        )

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the program with its syntax tree."""

    path: str
    text: bytes
    tree: ast.Module

    @classmethod
    def read(cls, top: Path, path: Path) -> "SourceFile":
        text = path.read_bytes()
        return cls(path.relative_to(top).as_posix(), text, ast.parse(text))

    def offset(self, line: int, column: int) -> int:
        """The byte offset of ast's ``line`` and ``column`` (in UTF-8 bytes)."""
        lines = self.text.splitlines(keepends=True)
        return sum(map(len, lines[: line - 1])) + column

    def replaced(self, node: ast.expr | ast.stmt, put: str) -> bytes:
        """The file with ``put`` instead of ``node``. Raises ``FaultError``."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = self.offset(node.lineno, node.col_offset)
        end = self.offset(node.end_lineno, node.end_col_offset)
        changed = self.text[:begin] + put.encode() + self.text[end:]
        try:
            with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
                compile(changed, self.path, "exec")
        except SyntaxError as error:
            raise FaultError(f"{self.path}:{node.lineno}: {put!r}: {error}") from error
        return changed


def program(top: Path) -> list[SourceFile]:
    """Every source file of the program below ``top``."""
    paths = sorted(path for folder in FOLDERS for path in (top / folder).rglob("*.py"))
    return [SourceFile.read(top, path) for path in paths]


def symbols(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Functions, classes, methods and module constants with their qualified names."""
    yield from _symbols(tree.body, "")


def _symbols(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield prefix + node.name, node
            case ast.ClassDef():
                yield prefix + node.name, node
                yield from _symbols(node.body, f"{prefix}{node.name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name, node


def reached_lines(symbol: ast.stmt, node: ast.expr | ast.stmt) -> tuple[int, ...]:
    """The line of ``node``, then those of the innermost statement around it, but no block's body."""
    if not isinstance(symbol, ast.FunctionDef | ast.AsyncFunctionDef):
        return ()
    inner: ast.stmt = symbol
    for candidate in ast.walk(symbol):
        if isinstance(candidate, ast.stmt) and any(node is below for below in ast.walk(candidate)):
            inner = candidate  # ast.walk yields outer nodes first
    body = getattr(inner, "body", None)
    end = body[0].lineno - 1 if isinstance(body, list) and inner is not node else inner.end_lineno
    others = range(inner.lineno, max(end or 0, inner.lineno) + 1)
    return (node.lineno, *(line for line in others if line != node.lineno))
