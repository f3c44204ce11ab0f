# SPDX-License-Identifier: Apache-2.0
"""/etc/resolv.conf: its present state, and systemd-resolved's part in it.

A hard link under another name keeps the former file complete: bytes, mode, owner and labels, or the
target of a symbolic link.
"""

import fcntl
import os
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ec2net.core.migration.steps import replace_by_link
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import regular

_SIZE_MAX = 2**20
"""Bytes of the file that are read."""

PATH = Path("/etc/resolv.conf")
ASIDE = Path("/etc/resolv.conf.before-ec2net")
TARGET = "../run/systemd/resolve/stub-resolv.conf"
"""As systemd-resolved(8) recommends, and as distributions write it."""
UPLINK = "/run/systemd/resolve/resolv.conf"
"""systemd-resolved's file with the servers that it knows."""

_RESOLVEDS = ("/run/systemd/resolve/stub-resolv.conf", UPLINK, "/usr/lib/systemd/resolv.conf")

_GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS (include/uapi/linux/fs.h)."""
_IMMUTABLE = 0x10 | 0x20
"""FS_IMMUTABLE_FL, FS_APPEND_FL."""


class Kind(Enum):
    """The kind of the present file."""

    RESOLVEDS = "resolved"
    """A link to a file of systemd-resolved."""
    OTHER = "other"
    """A file, or a link to elsewhere, be that there or not."""
    NONE = "none"


class Kept(Enum):
    """The kind of the kept file."""

    NOTHING = "nothing"
    THE_SAME = "the same"
    """The present file is the same: before the replacement, or if there was none."""
    ANOTHER = "another"


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """``problem``: why it cannot be replaced; empty if it can."""

    kind: Kind
    problem: str = ""
    aside: Kept = Kept.NOTHING
    has_servers: bool = True
    """Whether a program that reads it finds a server to ask."""


def look(path: Path = PATH, aside: Path = ASIDE) -> ResolvConf:
    """The present state of ``path``."""
    kept = _kept(path, aside)
    try:
        servers = b"nameserver" in regular(path, _SIZE_MAX, follow=True)
    except OSError:
        servers = False
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ResolvConf(Kind.NONE, "", kept, servers)
    if stat.S_ISLNK(mode):
        leads = os.path.normpath(os.path.join("/etc", os.readlink(path)))
        if leads in _RESOLVEDS:
            return ResolvConf(Kind.RESOLVEDS, "", kept, servers)
    problem = _problem(path, mode)
    if not problem and kept is Kept.ANOTHER:
        problem = f"{aside} already exists, with other content"
    return ResolvConf(Kind.OTHER, problem, kept, servers)


def _kept(path: Path, aside: Path) -> Kept:
    try:
        there = aside.lstat()
    except FileNotFoundError:
        return Kept.NOTHING
    with suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), there):
            return Kept.THE_SAME
    return Kept.ANOTHER


def _problem(path: Path, mode: int) -> str:
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return "it is neither a file nor a symbolic link"
    if stat.S_ISREG(mode) and _is_immutable(path):
        return "it is immutable"
    return "something is mounted there" if _is_mounted(path) else ""


def _is_immutable(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:  # a file system without such flags
        (flags,) = struct.unpack("l", fcntl.ioctl(file, _GET_FLAGS, struct.pack("l", 0)))
        return bool(flags & _IMMUTABLE)
    return False


def _is_mounted(path: Path) -> bool:
    with suppress(OSError):
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        return any(line.split()[4] == str(path) for line in lines)
    return False


@dataclass(frozen=True, slots=True)
class Resolve:
    """Replace the file by a link to systemd-resolved's stub."""

    replaces: bool
    path: Path = PATH
    aside: Path = ASIDE

    def describe(self) -> str:
        kept = f", and keep its present content as {self.aside}" if self.replaces else ""
        return f"link {self.path} to {TARGET}{kept}"

    def do(self, deadline: Deadline) -> None:
        if look(self.path, self.aside).kind is Kind.RESOLVEDS:
            return
        if os.path.lexists(self.path) and not os.path.lexists(self.aside):
            os.link(self.path, self.aside, follow_symlinks=False)
        replace_by_link(str(self.path), TARGET)


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Move the kept file back."""

    path: Path = PATH
    aside: Path = ASIDE

    def describe(self) -> str:
        return f"move {self.aside} back to {self.path}"

    def do(self, deadline: Deadline) -> None:
        if os.path.lexists(self.aside):
            os.rename(self.aside, self.path)
