# SPDX-License-Identifier: Apache-2.0
"""Files that other daemons read: whole or not at all, for everybody to read."""

import os
import tempfile
from pathlib import Path

from ec2net.core.errors import StateError
from ec2net.core.state import make_folder

_MODE = 0o644

TEMPORARY = ".ec2net-"
"""Prefix of what a killed writer leaves."""


def write(path: Path, content: str) -> None:
    """Unique temporary file, fsync, rename. Raises ``StateError``."""
    try:
        make_folder(path.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as stream:
                os.fchmod(stream.fileno(), _MODE)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from error


def remove(path: Path) -> None:
    """Delete it; not being there is success. Raises ``StateError``."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(f"cannot remove {path}: {error.strerror}") from error
