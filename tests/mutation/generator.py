# SPDX-License-Identifier: Apache-2.0
"""Faults by a seeded generator over the syntax tree, spread over functions by logical lines.

No edit is made in the simulation, in annotations, docstrings, messages, assertions or calls of the
log. Each edit changes behaviour, as far as its form can show.
"""

import ast
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sites import FaultError, Mutant, SourceFile, reached_lines

SIMULATED = ("core/simulation/", "core/cli/commands/demo.py")
"""Namespaces and fake hosts: they serve tests, and run on no instance."""

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPPOSITES = {"any": "all", "all": "any", "min": "max", "max": "min"}
_FORM_ONLY = frozenset({"strict", "check", "exc_info", "indent", "stacklevel", "slots", "frozen"})
"""Keyword arguments that change no behaviour which a caller relies on."""

Put = Callable[[random.Random], str]


@dataclass(frozen=True, slots=True)
class _Site:
    kind: str
    node: ast.expr | ast.stmt
    put: Put


@dataclass(slots=True)
class _Function:
    file: SourceFile
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    weight: int
    """Logical lines."""
    sites: dict[str, list[_Site]]


def mutants(files: Iterable[SourceFile], seed: int) -> Iterator[Mutant]:
    """Mutants without end of the order: the same ones for the same source and seed."""
    chance = random.Random(seed)
    functions = [function for file in files for function in _functions(file) if function.sites]
    number = 0
    while functions:
        [function] = chance.choices(functions, [function.weight for function in functions])
        kind = chance.choice(sorted(function.sites))
        sites = function.sites[kind]
        site = sites.pop(chance.randrange(len(sites)))
        if not sites:
            del function.sites[kind]
        if not function.sites:
            functions.remove(function)
        put = site.put(chance)
        try:
            source = function.file.replaced(site.node, put)
        except FaultError:
            continue  # the form allows it nowhere, as in a pattern
        number += 1
        yield Mutant(
            f"{seed}-{number:03}",
            function.file.path,
            function.name,
            site.node.lineno,
            reached_lines(function.node, site.node),
            f"{kind}: {_short(ast.unparse(site.node))} → {_short(put)}",
            source,
        )


def _short(text: str, limit: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _functions(file: SourceFile) -> Iterator[_Function]:
    if file.path.startswith(SIMULATED):
        return
    yield from _in_body(file, file.tree.body, "")


def _in_body(file: SourceFile, body: list[ast.stmt], prefix: str) -> Iterator[_Function]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _in_body(file, node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = sum(isinstance(below, ast.stmt) for below in ast.walk(node))
            sites: dict[str, list[_Site]] = {}
            for statement in node.body:
                for site in _sites(statement):
                    # A class without an attribute that it sets is not usable.
                    if node.name == "__init__" and site.kind == "assignment removed":
                        continue
                    sites.setdefault(site.kind, []).append(site)
            yield _Function(file, prefix + node.name, node, lines, sites)


def _sites(node: ast.AST) -> Iterator[_Site]:
    """The sites of a node and of all nodes below it."""
    if isinstance(node, ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if _is_text(node) or _is_type_checking(node):
        return
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    if isinstance(node, ast.expr):
        yield from _of_expression(node)
    if isinstance(node, ast.Raise):
        return  # its value is a message
    if isinstance(node, ast.If | ast.IfExp):
        yield _Site("condition", node.test, _negated(node.test))
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield _Site("filter", test, _negated(test))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "pattern", "type_params"):
            continue
        for below in value if isinstance(value, list) else [value]:
            if isinstance(below, ast.keyword) and below.arg in _FORM_ONLY:
                continue
            if isinstance(below, ast.AST):
                yield from _sites(below)


def _of_statement(node: ast.stmt) -> Iterator[_Site]:
    match node:
        case ast.Expr(value=ast.Call()):
            yield _Site("call removed", node, _constant("pass"))
        case ast.Assign(value=ast.Constant(value=str()) | ast.JoinedStr()):
            pass  # a message
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign():
            yield _Site("assignment removed", node, _constant("pass"))
        case ast.Raise():
            yield _Site("raise removed", node, _constant("pass"))
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield _Site("return", node, _constant("return None"))


def _of_expression(node: ast.expr) -> Iterator[_Site]:
    match node:
        case ast.Compare(ops=[op]):
            yield _Site("comparison", node, _compared(node, op))
        case ast.BoolOp():
            yield _Site("and/or", node, _swapped(node))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _Site("not removed", node, _constant(f"({ast.unparse(operand)})"))
        case ast.Constant(value=bool() as value):
            yield _Site("constant", node, _constant(str(not value)))
        case ast.Constant(value=int() | float() as value):
            yield _Site("constant", node, _shifted(value))
        case ast.Call(func=ast.Name(id=name)) if name in _OPPOSITES:
            yield _Site("opposite", node.func, _constant(_OPPOSITES[name]))


def _constant(text: str) -> Put:
    return lambda _: text


def _negated(test: ast.expr) -> Put:
    return _constant(f"(not ({ast.unparse(test)}))")


def _shifted(value: float) -> Put:
    return lambda chance: f"({value + chance.choice((-1, 1))!r})"


def _compared(node: ast.Compare, op: ast.cmpop) -> Put:
    def put(chance: random.Random) -> str:
        other = chance.choice(_COMPARISONS[type(op)])()
        return f"({ast.unparse(ast.Compare(node.left, [other], node.comparators))})"

    return put


def _swapped(node: ast.BoolOp) -> Put:
    other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return _constant(f"({ast.unparse(ast.BoolOp(other, node.values))})")


def _is_nothing(value: ast.expr) -> bool:
    """A value that a caller treats like None anyway, or a constant with an edit of its own."""
    if isinstance(value, ast.Constant):
        return not value.value or isinstance(value.value, bool)
    return isinstance(value, ast.Tuple | ast.List | ast.Dict) and not ast.unparse(value).strip(
        "()[]{}"
    )


def _is_text(node: ast.AST) -> bool:
    """A docstring or a call of the log."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return name in ("_log", "log", "logging", "warnings")
        case ast.Expr(value=call):
            return _is_text(call)
    return False


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
