# SPDX-License-Identifier: Apache-2.0
"""Installed plugins: the entry points of ec2net's group, and the errors of unreadable ones.

Plugins come by entry point alone. Packages, pip and an administrator's own hands can all make one,
and the Python that runs ec2net finds it, private libraries or not. A folder of ours would spare
METADATA and entry_points.txt, and would need rules for who may write there and for what wins.

Every package of the host has its own file of entry points. A file that cannot be read costs only its
own plugins; with importlib.metadata it would cost all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ec2net.core.model.errors import in_one_line
from ec2net.core.plugins.hookspecs import GROUP

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

_FAULTS = (ValueError, TypeError, OSError)
"""The errors of importlib.metadata for another encoding and for a line without "="."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file of entry points, and what is wrong with it."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.why}"


def installed() -> Iterator["EntryPoint | Unreadable"]:
    """In the order of ``sys.path``: of several that have one name, the first counts."""
    from importlib.metadata import distributions

    for distribution in distributions():
        try:
            found = distribution.entry_points
        except _FAULTS as error:
            yield Unreadable(_path(distribution), in_one_line(error))
            continue
        yield from (entry for entry in found if entry.group == GROUP)


def _path(distribution: "Distribution") -> str:
    folder = getattr(distribution, "_path", None)  # no public name returns its folder
    return "an entry_points.txt" if folder is None else str(folder / "entry_points.txt")


def source(entry: "EntryPoint") -> str:
    """The package's name and version; the module if a plugin without a package does not name them."""
    dist = entry.dist
    try:
        if dist is None or not (dist.read_text("METADATA") or dist.read_text("PKG-INFO")):
            return entry.value
        told = (dist.name, dist.version)
    except (*_FAULTS, KeyError):  # a missing value in the metadata is None, or absent
        return entry.value
    return " ".join(told) if all(told) else entry.value
