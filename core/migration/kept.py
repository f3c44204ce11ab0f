# SPDX-License-Identifier: Apache-2.0
"""Files of the host in their state before ``migrate`` changed them, on the disk, for ``--undo``.

ec2net writes the record before the first change. A migration that a kill ended continues with the
same record, so ``--undo`` always restores the first state.
"""

import base64
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ec2net.core.config.settings import Rival
from ec2net.core.migration.record import bounded_read, synced_write
from ec2net.core.migration.steps import replace_by_link
from ec2net.core.model.errors import StateError
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import regular, write_whole
from ec2net.core.state.run_dir import SIZE_MAX, parsed

FOLDER = Path("/var/lib/ec2net")
VERSION = 1
_VOLATILE = "/run/"


@dataclass(frozen=True, slots=True)
class Kept:
    """One path: a file with its bytes, a symbolic link with its target, a folder, or nothing."""

    path: str
    mode: int = 0
    """With the file type (``st_mode``); 0: nothing was there."""
    owner: tuple[int, int] = (0, 0)
    """User and group."""
    content: bytes = b""
    """The bytes of a file, the target of a link."""

    def describe(self) -> str:
        return f"restore {self.path}" if self.mode else f"delete {self.path}"

    def do(self, deadline: Deadline) -> None:
        """Restore the path. Raises ``OSError``."""
        path = Path(self.path)
        if not self.mode:
            path.unlink(missing_ok=True)
            return
        if stat.S_ISDIR(self.mode):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISLNK(self.mode):
                replace_by_link(self.path, os.fsdecode(self.content))
            else:
                write_whole(path, self.content, mode=stat.S_IMODE(self.mode), prefix=".tmp-")
        os.chown(self.path, *self.owner, follow_symlinks=False)
        if not stat.S_ISLNK(self.mode):
            os.chmod(self.path, stat.S_IMODE(self.mode))


def keep(path: str) -> Kept:
    """The present content of a path. Raises ``OSError``; ``StateError`` if it is not a file, link
    or folder."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return Kept(path)
    owner = (found.st_uid, found.st_gid)
    if stat.S_ISLNK(found.st_mode):
        return Kept(path, found.st_mode, owner, os.fsencode(os.readlink(path)))
    if stat.S_ISREG(found.st_mode):
        return Kept(path, found.st_mode, owner, regular(Path(path), SIZE_MAX))
    if stat.S_ISDIR(found.st_mode):
        return Kept(path, found.st_mode, owner)
    raise StateError(f"{path} is not a file, a link or a folder")


@dataclass(frozen=True, slots=True)
class Migrated:
    """The host before a migration."""

    rival: Rival
    when: str
    """UTC, as in ``core/runtime/clock.py``."""
    boot: str
    """The boot's id: files in /run are of that boot."""
    units: tuple[str, ...]
    """Units that were active, in the order in which they were stopped."""
    paths: tuple[Kept, ...]

    def of_now(self, boot: str) -> Iterator[Kept]:
        """The paths that still make sense: after another boot /run was empty."""
        yield from (k for k in self.paths if boot == self.boot or not k.path.startswith(_VOLATILE))

    @property
    def texts(self) -> Iterator[str]:
        """The texts of its files in /run."""
        for kept in self.paths:
            if stat.S_ISREG(kept.mode) and kept.path.startswith(_VOLATILE):
                yield kept.content.decode(errors="replace")

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "tool": self.rival.value,
            "when": self.when,
            "boot": self.boot,
            "units": list(self.units),
            "paths": [
                {
                    "path": kept.path,
                    "mode": kept.mode,
                    "owner": list(kept.owner),
                    "content": base64.b64encode(kept.content).decode(),
                }
                for kept in self.paths
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Migrated":
        """Raises ``ValueError``, ``TypeError`` or ``KeyError`` for what ``to_dict`` does not write."""
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        paths = [
            Kept(
                str(item["path"]),
                int(item["mode"]),
                (int(item["owner"][0]), int(item["owner"][1])),
                base64.b64decode(item["content"], validate=True),
            )
            for item in data["paths"]
        ]
        units = tuple(str(unit) for unit in data["units"])
        rival = Rival(data["tool"])
        return cls(rival, str(data["when"]), str(data["boot"]), units, tuple(paths))


def path_of(rival: Rival, folder: Path = FOLDER) -> Path:
    """The path of this tool's record."""
    return folder / f"migrated-{rival}.json"


def read(rival: Rival, folder: Path = FOLDER) -> Migrated | None:
    """None where there is none. Raises ``StateError`` where it cannot be understood."""
    path = path_of(rival, folder)
    content = bounded_read(path)
    if content is None:
        return None
    try:
        return Migrated.from_dict(parsed(content) or {})
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise StateError(
            f"the record lacks the state before the migration ({error})",
            subject=str(path),
            remedy="move the record away; after that, only an administrator can restore the "
            "other tool",
        ) from error


def write(before: Migrated, folder: Path = FOLDER) -> None:
    """On the disk when this returns, the folder too. Raises ``StateError``."""
    content = json.dumps(before.to_dict(), indent=1, sort_keys=True).encode() + b"\n"
    synced_write(path_of(before.rival, folder), content)


def forget(rival: Rival, folder: Path = FOLDER) -> None:
    """Delete the record. Raises ``OSError``."""
    path_of(rival, folder).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()  # without other files in it


def all_kept(paths: Iterable[str]) -> tuple[Kept, ...]:
    """The present content of these paths, each once. Raises ``OSError``, ``StateError``."""
    return tuple(keep(path) for path in dict.fromkeys(paths))
