# SPDX-License-Identifier: Apache-2.0
"""Values of D-Bus with their signature, independent of the library. Pure."""

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Typed:
    """A variant: ``Typed("u", 32)``. Unchanged values keep their type."""

    signature: str
    value: Any


Section: TypeAlias = dict[str, Typed]
Settings: TypeAlias = dict[str, Section]
"""A connection in NetworkManager's form (``a{sa{sv}}``): setting, key, value."""


def plain(section: Section, key: str, default: Any = None) -> Any:
    """The value of a key without its signature."""
    found = section.get(key)
    return default if found is None else found.value
