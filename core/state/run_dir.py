# SPDX-License-Identifier: Apache-2.0
"""The state of this boot, under /run/ec2net: small JSON files of root, never half written.

A write is unique temporary file, fsync, rename: a reader sees the old or the new content, and
a kill leaves at most a temporary file, which the next pass discards. Content that is already
there is not written again, so a pass without a change writes nothing.

systemd makes the folder for the units (``RuntimeDirectory=``), the first ``write`` makes it elsewhere.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ec2net.core.model.errors import StateError
from ec2net.core.runtime.files import regular, write_whole

DEFAULT_RUN_DIR = Path("/run/ec2net")

_TEMPORARY = ".tmp-"

SIZE_MAX = 32 << 20
"""Bytes of a file that is read: twice the status of 128 ENIs with 128 addresses each."""


class RunDir:
    """The state directory. Names may have one folder: ``facts/06:53:e1:d8:f9:29.json``."""

    def __init__(self, path: Path = DEFAULT_RUN_DIR) -> None:
        self.path = path
        self.decoded: dict[str, tuple[bytes, object]] = {}
        """By name, the last content and its value: the daemon reads the same files for hours."""

    def read(self, name: str) -> dict[str, Any] | None:
        """The object stored under ``name``; None if there is none or it cannot be parsed.

        Everything here can be found out again, so an unreadable file counts as none.
        """
        return parsed(self.content(name))

    def content(self, name: str) -> bytes:
        """The bytes under ``name``, which the caller interprets; empty without a file.

        Only a regular file counts: a symbolic link was not stored here.
        """
        try:
            return regular(self.path / name, SIZE_MAX)
        except OSError:
            return b""

    def write(self, name: str, data: dict[str, Any], *, mode: int = 0o644) -> bool:
        """Store ``data``; false if the file has the same content already. Raises ``StateError``."""
        content = json.dumps(data, sort_keys=True).encode() + b"\n"
        target = self.path / name
        if self.content(name) == content:
            return False
        try:
            try:
                write_whole(target, content, mode=mode, prefix=_TEMPORARY)
            except FileNotFoundError:  # deleted by a pass that took it for a killed writer's
                write_whole(target, content, mode=mode, prefix=_TEMPORARY)
        except OSError as error:
            raise StateError(
                f"cannot write {target}: {error.strerror}",
                remedy="check the free space and the permissions of the state directory",
            ) from error
        return True

    def remove(self, name: str) -> None:
        """Forget ``name``. Raises ``StateError``."""
        self.decoded.pop(name, None)
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"cannot remove {self.path / name}: {error.strerror}") from error

    def names(self, folder: str) -> tuple[str, ...]:
        """The names stored in ``folder``, sorted, as ``read`` takes them."""
        try:
            entries = sorted(os.listdir(self.path / folder))
        except OSError:
            return ()
        return tuple(f"{folder}/{entry}" for entry in entries if not entry.startswith(_TEMPORARY))

    def folders(self) -> tuple[str, ...]:
        """The folders that names are stored in, sorted."""
        try:
            with os.scandir(self.path) as entries:
                return tuple(sorted(e.name for e in entries if e.is_dir(follow_symlinks=False)))
        except OSError:
            return ()

    def discard_leftovers(self) -> None:
        """Delete temporary files of killed writers. Only under the host lock."""
        for temporary in self.path.glob(f"**/{_TEMPORARY}*"):
            with suppress(OSError):  # a folder or an immutable file may stay
                temporary.unlink(missing_ok=True)


def parsed(content: bytes) -> dict[str, Any] | None:
    """The object that is written there; None if it cannot be parsed."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
