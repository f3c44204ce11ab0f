# SPDX-License-Identifier: Apache-2.0
"""Dataclasses whose methods are compiled at their first use: a tenth of the cost of an import.

``dataclasses.dataclass`` compiles six methods for each frozen class, 0.3 ms in all on Python 3.11. A
pass imports some 120 of ec2net's dataclasses, and uses a third of their methods
(docs/performance.md). The standard library makes the methods here, too.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

_METHODS = ("__init__", "__repr__", "__eq__", "__hash__")
_ORDER = ("__lt__", "__le__", "__gt__", "__ge__")

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 (exported)
else:

    def dataclass(
        *, frozen: bool = False, order: bool = False, slots: bool = False
    ) -> Callable[[type[T]], type[T]]:
        """As ``dataclasses.dataclass`` with the same arguments."""
        return lambda cls: _with_late_methods(cls, frozen=frozen, order=order, slots=slots)


def _with_late_methods(cls: Any, *, frozen: bool, order: bool, slots: bool) -> Any:
    bases = (getattr(base, "__dataclass_params__", None) for base in cls.__mro__[1:])
    made: Any = dataclasses.dataclass(
        init=False,
        repr=False,
        eq=False,
        frozen=any(params is not None and params.frozen for params in bases),
        slots=slots,
    )(cls)
    made.__dataclass_params__.frozen = frozen  # for a class that is derived from this one
    own = vars(made)
    for name in (*_METHODS, *(_ORDER if order else ())):
        if own.get(name) is None:
            setattr(made, name, _late(made, name, frozen=frozen, slots=slots))
    if not frozen:
        made.__hash__ = None
        return made
    made.__setattr__, made.__delattr__ = _no_assignment, _no_deletion
    if slots:
        made.__getstate__, made.__setstate__ = _state, _with_state
    return made


def _late(cls: Any, name: str, **kind: bool) -> Any:
    """A method that replaces itself with the compiled one at its first call."""

    def method(self: object, *arguments: Any, **named: Any) -> Any:
        compiled = _compiled(cls, name, **kind)
        setattr(cls, name, compiled)
        return compiled(self, *arguments, **named)

    return method


def _compiled(cls: Any, name: str, *, frozen: bool, slots: bool) -> Any:
    """One method, as the standard library makes it for a class with the same fields."""
    fields = dataclasses.fields(cls)
    body: dict[str, Any] = {field.name: field for field in fields}
    body |= {"__annotations__": {field.name: field.type for field in fields}, "__doc__": "fields"}
    if hasattr(cls, "__post_init__"):
        body["__post_init__"] = cls.__post_init__
    twin: Any = dataclasses.dataclass(
        init=name == "__init__",
        repr=name == "__repr__",
        eq=name not in ("__init__", "__repr__"),
        order=name in _ORDER,
        unsafe_hash=name == "__hash__",
        frozen=frozen and name == "__init__",
        slots=slots and name == "__init__",  # sets a field with a default that is no argument
        match_args=False,
    )(type(cls.__name__, (), body))
    method = vars(twin)[name]
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


def _no_assignment(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_deletion(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    """For copy and pickle, which would assign to a field."""
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _with_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
