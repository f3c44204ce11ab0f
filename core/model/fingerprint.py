# SPDX-License-Identifier: Apache-2.0
"""A short text that identifies an ENI's intent, for a comparison in a later pass."""

import importlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from typing import Any

from ec2net.core.model.plan import Item


def fingerprint(backend: str | None, wanted: Iterable[Item]) -> str:
    """The same for the same wanted state of one attachment, in whatever order, process and version.

    Versions share it by the state files: a new field of an item is ``RARE``.
    """
    text = "\n".join([str(backend), *sorted(_plain(item) for item in wanted)])
    return str(_sha256(text.encode()).hexdigest())[:32]


def _sha256(data: bytes) -> Any:
    """The hash of Python's own code (its module since 3.12, and before): hashlib loads OpenSSL."""
    for name in ("_sha2", "_sha256"):
        with suppress(ImportError):
            return importlib.import_module(name).sha256(data)
    return importlib.import_module("hashlib").sha256(data)


def _plain(value: object) -> str:
    """The text by which two values are compared, without the name in a ``LinkRef``."""
    if isinstance(value, Enum):
        return str(value)
    if is_dataclass(value):
        compared = [_field(f, getattr(value, f.name)) for f in fields(value) if f.compare]
        return f"{type(value).__name__}({', '.join(filter(None, compared))})"
    if hasattr(value, "describe"):  # an item of a plugin, of any type
        return f"{type(value).__name__} {value.describe()}"
    return repr(value)


def _field(described: Field[Any], value: object) -> str:
    """Empty for a rare field without a value."""
    if not described.metadata.get("rare"):
        return _plain(value)
    return f"{described.name}={_plain(value)}" if value else ""
