# SPDX-License-Identifier: Apache-2.0
"""The foreign .network file that networkd will use for a link that it has not processed yet.

Its rule (systemd.network(5)): of all files, sorted by name in whatever folder, the first whose
[Match] section matches. Only certain results count. A section with an unknown key leaves the
decision to networkd, which answers after it has processed the link.
"""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ec2net.backends.networkd.files import FOLDER, text_of
from ec2net.core.plugins.api import HEADER, Link

FOLDERS = (Path("/etc/systemd/network"), FOLDER)
"""A file in the first folder masks one of the same name in the second. Files of distributions do
not matter: ec2net's file precedes them."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """``certain`` and no ``file``: no foreign file is for the link."""

    certain: bool
    file: Path | None = None


NOBODYS = Foreseen(certain=True)


def foreseen(link: Link, folders: tuple[Path, ...] = FOLDERS) -> Foreseen:
    """networkd's future files for ``link``, in addition to ec2net's."""
    files: dict[str, Path] = {}
    for folder in reversed(folders):
        files.update({path.name: path for path in folder.glob("*.network")})
    for name in sorted(files):
        if os.path.realpath(files[name]) == os.devnull:
            continue  # masked
        try:
            text = text_of(files[name])
        except OSError:
            return Foreseen(certain=False)
        if text.startswith(HEADER) or not text.strip():
            continue  # ec2net's, or masked by an empty file
        if not _only_ours(name, folders):
            return Foreseen(certain=False)  # a drop-in may change what it matches
        verdict = _matches(link, text)
        if verdict is None:
            return Foreseen(certain=False)
        if verdict:
            return Foreseen(certain=True, file=files[name])
    return NOBODYS


def _only_ours(name: str, folders: tuple[Path, ...]) -> bool:
    drop_ins = [path for folder in folders for path in (folder / f"{name}.d").glob("*.conf")]
    return all(path.name == "50-ec2net.conf" for path in drop_ins)


def _matches(link: Link, text: str) -> bool | None:
    """None: unknown. Without a [Match] section, a file matches every link."""
    verdict = True
    section = _match_section(text)
    if len({key for key, _ in section}) < len(section):
        return None  # lists that add up, or are emptied
    for key, value in section:
        patterns = value.split()
        if not patterns or patterns[0].startswith("!") or '"' in value or "\\" in value:
            return None
        if key == "Name":
            names = (link.name, *link.altnames)
            verdict &= any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
        elif key in ("MACAddress", "PermanentMACAddress"):
            known = key == "MACAddress" or link.permanent
            verdict &= known and str(link.mac) in [p.lower().replace("-", ":") for p in patterns]
        elif key == "Driver":
            verdict &= any(fnmatchcase(link.driver or "", pattern) for pattern in patterns)
        elif key == "Type":
            verdict &= any(fnmatchcase("ether", pattern) for pattern in patterns)
        else:
            return None
    return verdict


def _match_section(text: str) -> list[tuple[str, str]]:
    section, found = "", []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == "Match" and "=" in line and line[0] not in "#;":
            key, value = line.split("=", 1)
            found.append((key.strip(), value.strip()))
    return found
