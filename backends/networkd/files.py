# SPDX-License-Identifier: Apache-2.0
"""ec2net's files for networkd, as items of a plan, and their paths.

They hold nothing that IMDS could change: only role, MAC and configuration. ec2net writes them once
per attachment, and no change of addresses, rules or prefixes ever needs a reload. (A reload
re-configures each link whose file changed: docs/networkd.md has the cost.)
"""

from contextlib import suppress
from pathlib import Path

from ec2net.core.plugins.api import (
    FILE_PREFIX,
    OwnedFile,
    StateError,
    read_file,
    write_file,
)

FOLDER = Path("/run/systemd/network")
SIZE_MAX = 2**20
"""Bytes of a file that is read."""


class NetworkFile(OwnedFile):
    """A file or drop-in under /run/systemd/network."""

    __slots__ = ()


def text_of(path: Path) -> str:
    """The content of one of networkd's files, owned or foreign. Raises ``OSError``."""
    return read_file(path, SIZE_MAX, follow=True).decode(errors="replace")


def in_folder(folder: Path) -> tuple[NetworkFile, ...]:
    """Every owned .network file and drop-in in ``folder``, and every foreign one at an ec2net path."""
    found = []
    for pattern in ("70-*.network", "*.network.d/50-ec2net.conf"):
        for path in sorted(folder.glob(pattern)):
            try:
                found.append(NetworkFile(path, text_of(path)))
            except OSError:
                continue  # deleted meanwhile, or not readable: then it is not ec2net's
    return tuple(found)


def write(file: NetworkFile) -> None:
    """Whole or not at all. Raises ``StateError``."""
    write_file(file.path, file.content)


def remove(file: NetworkFile) -> None:
    """Delete it, and its folder if that was a drop-in folder and is empty now."""
    try:
        file.path.unlink(missing_ok=True)
        if file.path.parent.name.endswith(".network.d"):
            file.path.parent.rmdir()
    except OSError as error:
        if file.path.exists():
            raise StateError(f"cannot remove {file.path}: {error.strerror}") from error


def discard_leftovers(folder: Path = FOLDER) -> None:
    """Delete temporary files of killed writers, and drop-in folders that they made for nothing.

    Only under the host lock.
    """
    for pattern in (f"{FILE_PREFIX}*", f"*.network.d/{FILE_PREFIX}*"):
        for temporary in folder.glob(pattern):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
                if temporary.parent != folder:
                    temporary.parent.rmdir()
