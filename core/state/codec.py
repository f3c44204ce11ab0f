# SPDX-License-Identifier: Apache-2.0
"""Dataclasses as JSON objects and back, by their type hints: the one format of the state files.

A reading of IMDS is its value, null if it is absent, and left out if it is unknown. Sets are sorted
lists, and enums, MACs, ids and addresses are text. A file has the version 1 unless it says otherwise
by ``version``: the files of before there were versions are read as well. A field that is not known is
a newer version's, and ignored. A file that cannot be decoded is reported once, and counts as absent.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from ec2net.core.model.facts import Absent, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.model.objects import LinkRef
from ec2net.core.state.run_dir import RunDir

VERSION = 1
"""The version of the formats of all state files. A file contains only another version."""

_log = logging.getLogger("ec2net.state")

_T = TypeVar("_T")
_Decode: TypeAlias = Callable[[Any], Any]
"""Raises ``ValueError`` for anything that this program does not write."""

_TEXTS: Mapping[Any, Callable[[str], object]] = {
    Mac: Mac.parse,
    EniId: EniId.of_imds,
    IPv4Address: IPv4Address,
    IPv4Interface: IPv4Interface,
    IPv4Network: IPv4Network,
    IPv6Address: IPv6Address,
    IPv6Interface: IPv6Interface,
    IPv6Network: IPv6Network,
}
"""Types that are text in a file, and their parsers."""


def read(run: RunDir, name: str, kind: type[_T]) -> _T | None:
    """The value stored under ``name``; None if there is none, or none that can be decoded.

    A caller that changes the value copies it first: the next call gives the same one while the file has
    the same content.
    """
    content = run.content(name)
    if not content:
        return None
    known, value = run.decoded.get(name, (b"", None))
    if known != content:
        try:
            value = decoded(kind, content)
        except ValueError as error:
            _report(f"{run.path / name} cannot be read; ec2net treats it as absent: {error}")
            return None
        run.decoded[name] = content, value
    return cast(_T, value)


def write(run: RunDir, name: str, value: object) -> None:
    """Store a dataclass. Writes nothing if the file has the same content. Raises ``StateError``."""
    run.write(name, encode(value))


def decoded(kind: type[_T], content: bytes) -> _T:
    """The value in a file's content. Raises ``ValueError``."""
    try:
        data = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if isinstance(data, dict) and (version := data.pop("version", VERSION)) != VERSION:
        raise ValueError(
            f"its format has version {version!r}, but this ec2net reads version {VERSION} only"
        )
    return decode(kind, data)


@lru_cache(maxsize=64)
def _report(problem: str) -> None:
    _log.warning("%s", problem)


def encode(value: Any) -> Any:
    """Any of our values as dictionaries, lists, text and numbers."""
    if isinstance(value, LinkRef | Mac | EniId):
        return str(value)
    if isinstance(value, Value):
        return encode(value.value)
    if value is None or isinstance(value, Absent):
        return None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(encode(key)): encode(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(encode, value))
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        read = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: encode(one) for name, one in read.items() if not isinstance(one, Unknown)}
    return str(value)


def decode(kind: type[_T], data: Any) -> _T:
    """The reverse of ``encode``. Raises ``ValueError`` for anything that does not fit ``kind``."""
    value: _T = _decoder(cast(Any, kind))(data)
    return value


@cache
def _decoder(kind: Any) -> _Decode:
    origin, parts = get_origin(kind), get_args(kind)
    if kind in _TEXTS:
        return lambda data: _TEXTS[kind](_exactly(str, data))
    if kind is int:
        return _whole
    if kind in (str, bool, float):
        return lambda data: kind(_exactly(kind, data))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if is_dataclass(kind) and kind not in (Absent, Unknown):
        return _object(kind)
    if origin is Annotated:
        inner, checked = _decoder(parts[0]), parts[1]
        return lambda data: checked(inner(data))
    if origin is Value:
        return lambda data: Value(_decoder(parts[0])(data))
    if origin in (Union, UnionType):
        return _first_that_fits([_decoder(part) for part in parts if part is not Unknown])
    if kind in (Absent, NoneType):
        return lambda data: kind() if data is None else _exactly(NoneType, data)
    if origin in (Mapping, dict):
        key, one = map(_decoder, parts)
        return lambda data: {key(n): one(v) for n, v in _exactly(dict, data).items()}
    assert origin in (tuple, set, frozenset), kind
    item = _decoder(parts[0])
    return lambda data: origin(map(item, _exactly(list, data)))


def _exactly(kind: Any, data: Any) -> Any:
    kinds = (int, float) if kind is float else (kind,)
    if type(data) not in kinds:
        raise ValueError(f"{str(data)[:80]!r} is not a {kind.__name__}")
    return data


def _whole(data: Any) -> int:
    """Versions before the codec wrote the numbers of facts as text."""
    return int(data) if isinstance(data, str) else int(_exactly(int, data))


def _object(kind: Any) -> _Decode:
    hints = get_type_hints(kind, include_extras=True)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
    optional = {name for name in decoders if Unknown in get_args(hints[name])}

    def decode(data: Any) -> Any:
        if missing := decoders.keys() - _exactly(dict, data).keys() - optional:
            raise ValueError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
        return kind(
            **{
                name: decoder(data[name]) if name in data else Unknown("not read yet")
                for name, decoder in decoders.items()
            }
        )

    return decode


def _first_that_fits(decoders: list[_Decode]) -> _Decode:
    def decode(data: Any) -> Any:
        problems = []
        for decoder in decoders:
            try:
                return decoder(data)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError("; ".join(problems))

    return decode
