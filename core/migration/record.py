# SPDX-License-Identifier: Apache-2.0
"""The record of the host before ``adopt``: written before the first change, deleted by ``--undo``.

The record must survive a reboot, so /var/lib has it and not /run."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ec2net.core.migration.clients import Client
from ec2net.core.migration.resolv_conf import Kind
from ec2net.core.model.errors import StateError
from ec2net.core.runtime.files import make_folder, regular, write_whole
from ec2net.core.state.run_dir import SIZE_MAX, parsed

PATH = Path("/var/lib/ec2net/adopted.json")

VERSION = 1


@dataclass(frozen=True, slots=True)
class Before:
    """``links``: of units, with their targets. ``active``: units. ``profiles``: by link, the
    connection of NetworkManager (its UUID). ``sysctls``: by path, of the ENIs' links.
    ``link_locals``: by link, its addresses. ``own_files``: ec2net's files that systemd-networkd
    reads."""

    when: str
    links: Mapping[str, str]
    active: tuple[str, ...]
    clients: tuple[Client, ...]
    resolv_conf: Kind
    profiles: Mapping[str, str]
    sysctls: Mapping[str, str]
    link_locals: Mapping[str, tuple[str, ...]]
    own_files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "when": self.when,
            "links": dict(self.links),
            "active": list(self.active),
            "clients": [{"link": c.link, "words": list(c.words)} for c in self.clients],
            "resolv_conf": self.resolv_conf.value,
            "profiles": dict(self.profiles),
            "sysctls": dict(self.sysctls),
            "link_locals": {name: list(ips) for name, ips in self.link_locals.items()},
            "own_files": list(self.own_files),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Before":
        """Raises ``ValueError``, ``TypeError`` or ``KeyError`` for what ``to_dict`` does not write."""
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        return cls(
            _text(data["when"]),
            _texts(data["links"]),
            tuple(map(_text, data["active"])),
            tuple(
                Client(_text(c["link"]), (_text(c["words"][0]), *map(_text, c["words"][1:])))
                for c in data["clients"]
            ),
            Kind(data["resolv_conf"]),
            _texts(data["profiles"]),
            _texts(data["sysctls"]),
            {_text(n): tuple(map(_text, ips)) for n, ips in data["link_locals"].items()},
            tuple(map(_text, data["own_files"])),
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return {_text(key): _text(item) for key, item in value.items()}


def read(path: Path = PATH) -> Before | None:
    """None where there is none. Raises ``StateError`` where it cannot be understood."""
    content = bounded_read(path)
    if content is None:
        return None
    try:
        return Before.from_dict(parsed(content) or {})
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise StateError(
            f"the record lacks the former state of the host ({type(error).__name__}: {error})",
            subject=str(path),
            remedy="move the record away; after that, only an administrator can restore the "
            "former state",
        ) from error


def write(before: Before, path: Path = PATH) -> None:
    """On the disk when this returns, the folder too. Raises ``StateError``."""
    synced_write(path, json.dumps(before.to_dict(), indent=1, sort_keys=True).encode() + b"\n")


def bounded_read(path: Path) -> bytes | None:
    """The bytes of a record; None where there is none. Raises ``StateError``."""
    try:
        return regular(path, SIZE_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot be read: {error.strerror}", subject=str(path)) from error


def synced_write(path: Path, content: bytes) -> None:
    """Write a record of the host before a change. Raises ``StateError``."""
    try:
        make_folder(path.parent)
        write_whole(path, content, mode=0o600, prefix=".tmp-")
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from error


def forget(path: Path = PATH) -> None:
    """Raises ``StateError``."""
    try:
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"cannot remove {path}: {error.strerror}") from error
