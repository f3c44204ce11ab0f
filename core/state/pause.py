# SPDX-License-Identifier: Apache-2.0
"""The pause of a host: an administrator stops all changes for a time (``ec2net pause``).

The file /var/lib/ec2net/paused.json survives reboots, and its end is a time of the wall clock.
After a reboot ec2net configures the primary ENI and the base of the others all the same: a host
without its network would be worse than a change. A file that cannot be used counts as no pause, and
each pass reports the file.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from ec2net.core.model.errors import Ec2netError, StateError, UsageError
from ec2net.core.runtime.clock import date, seconds_of, utc
from ec2net.core.runtime.files import regular, write_whole
from ec2net.core.state.codec import decoded, encode

PLACE = "var/lib/ec2net/paused.json"
"""Below the root of the configuration."""

VERSION = 1

LONGEST = 30 * 86_400
"""Seconds. ec2net does not trust a later end: it may be the end of a wrong clock."""

_SIZE = 4096
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause. Times are ISO 8601, UTC."""

    since: str
    until: str
    reason: str
    boot: str
    """The id of the boot in which it began (random(4))."""

    def words(self) -> str:
        """Part of a sentence: how long, and why."""
        return f"until {date(self.until)}" + (f" ({self.reason})" if self.reason else "")

    @property
    def since_boot(self) -> bool:
        """Whether it began in this boot."""
        return self.boot == boot_id()


def boot_id() -> str:
    """The id of this boot; empty if the kernel does not say."""
    try:
        return regular(_BOOT_ID, _SIZE).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def read(path: Path) -> Pause | None:
    """The pause in force; None without one. Raises ``StateError`` for a file that is none."""
    try:
        found = decoded(Pause, regular(path, _SIZE))
        left = seconds_of(found.until) - time.time()
        seconds_of(found.since)
        if left > LONGEST:
            raise ValueError("its end is more than 30 days away")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StateError(
            f"cannot be read, so changes are not paused: {reason}",
            subject=str(path),
            remedy="to pause, run 'ec2net pause --for 2h' again; else run 'ec2net resume'",
        ) from error
    return found if left > 0 else None


def read_safely(path: Path | None) -> tuple[Pause | None, Ec2netError | None]:
    """The pause in force, and the error of a file that cannot be used. ``path``: None for no host."""
    try:
        return (read(path) if path is not None else None), None
    except StateError as error:
        return None, error


def begin(path: Path, seconds: float, reason: str) -> Pause:
    """Write a pause from now on. Raises ``StateError``."""
    now = time.time()
    pause = Pause(utc(now), utc(now + seconds), reason, boot_id())
    content = json.dumps({"version": VERSION, **encode(pause)}, sort_keys=True).encode() + b"\n"
    try:
        write_whole(path, content, mode=0o644, prefix=".tmp-")
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}", remedy="run as root") from error
    return pause


def end(path: Path) -> bool:
    """Delete the file; false if there was none. Raises ``StateError``."""
    try:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StateError(f"cannot remove {path}: {error.strerror}", remedy="run as root") from error
    return True


def refuse(root: Path) -> None:
    """Raises ``UsageError`` during a pause, for a command that needs passes with changes."""
    if (pause := read_safely(root / PLACE)[0]) is not None:
        raise UsageError(
            f"changes are paused {pause.words()}, so this command cannot end its work",
            remedy="run 'ec2net resume' first",
        )


def to_json(pause: Pause | None) -> dict[str, str] | None:
    """For ``--json``; None without a pause."""
    return {k: v for k, v in encode(pause).items() if k != "boot"} if pause is not None else None
