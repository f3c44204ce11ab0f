# SPDX-License-Identifier: Apache-2.0
"""Find, read and merge the configuration files, and remember which file set which key.

Reading order: the main file of /usr/lib, the main file of /etc, then the drop-ins of all three
directories by file *name*. A later file wins, key by key. Among drop-ins with one name, /etc
replaces /run, and /run replaces /usr/lib. A link to /dev/null masks the file; as the main file in
/etc it masks the one in /usr/lib.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ec2net.core.config.schema import SETTINGS
from ec2net.core.config.settings import Config, EniSection
from ec2net.core.config.tree import (
    SECTIONS,
    Report,
    build,
    from_dict,
    read_tree,
    section_to_dict,
    to_dict,
)
from ec2net.core.model.errors import ConfigError
from ec2net.core.model.numbers import IPV6_MTU_MIN
from ec2net.core.runtime.files import regular

MAIN = "ec2net.toml"
DROP_INS = "ec2net.toml.d"
VENDOR, RUNTIME, ADMIN = "usr/lib/ec2net", "run/ec2net", "etc/ec2net"

SIZE_MAX = 2**20
"""Size limit of one file in bytes: the parser's time grows with the size."""

DOTS_MAX = 32
"""Limit for one line: tomllib keeps every prefix of a dotted key (seen on 3.11 to 3.13). One key
with 100,000 dots takes all memory. A key cannot continue in the next line."""

ERRORS_MAX = 100
"""Limit for one file: the search for the intended key takes time for each misspelt key."""

BUILT_IN_ORIGIN = "built-in"
LAST_GOOD_ORIGIN = "last good"

_NULL_DEVICE = os.makedev(1, 3)
"""/dev/null (Linux, Documentation/admin-guide/devices.txt)."""


class Source(StrEnum):
    """The origin of the effective configuration."""

    FILES = "files"
    """The files, as they are now."""
    LAST_GOOD = "last-good"
    """The files have errors: what was stored when they last had none."""
    BUILT_IN = "built-in"
    """The files have errors, and nothing is stored: the built-in values, and over them what could
    be read of the files, for who cannot do without any configuration."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """``config`` can be used in any case; if there are ``errors``, it is not what the files say."""

    config: Config
    source: Source = Source.FILES
    origins: Mapping[str, str] = field(default_factory=dict)
    """By dotted key, and by ``eni[0]`` for sections: a file, ``built-in`` or ``last good``."""
    errors: tuple[ConfigError, ...] = ()
    """The errors of all files."""
    files: tuple[str, ...] = ()
    """In reading order, masked ones left out."""


def load(root: Path = Path("/"), last_good: dict[str, Any] | None = None) -> LoadedConfig:
    """Read the configuration below ``root``; never raises for what the files hold.

    ``last_good`` is ``to_dict`` of the configuration that was last loaded without errors.
    """
    errors: list[ConfigError] = []
    values: dict[str, Any] = {}
    sections: list[EniSection] = []
    origins = dict.fromkeys(SETTINGS, BUILT_IN_ORIGIN)
    files = tuple(_find(str(root), errors))
    for path in files:
        try:
            found = read_tree(_read(path), _reporter(path, errors))
        except ConfigError as error:
            errors.append(error)
            continue
        values.update(found.values)
        origins.update(dict.fromkeys(found.values, path))
        for section in found.sections:
            origins[f"{SECTIONS}[{len(sections)}]"] = path
            sections.append(section)
    if not errors:
        return LoadedConfig(build(values, sections), Source.FILES, origins, (), files)
    config, source = build(values, sections), Source.BUILT_IN
    if last_good is not None:
        try:
            config, source = from_dict(last_good), Source.LAST_GOOD
        except ConfigError as error:
            errors.append(ConfigError(str(error), subject="last good configuration"))
    if source is Source.LAST_GOOD:
        sections_of = (f"{SECTIONS}[{index}]" for index in range(len(config.sections)))
        origins = dict.fromkeys([*SETTINGS, *sections_of], LAST_GOOD_ORIGIN)
    return LoadedConfig(config, source, origins, tuple(errors), files)


def show(loaded: LoadedConfig) -> list[tuple[str, Any, str]]:
    """Dotted key, plain value and origin of every setting, sections last in their order."""
    tree = to_dict(loaded.config)
    rows = []
    for key in SETTINGS:
        table, _, name = key.rpartition(".")
        rows.append((key, (tree[table] if table else tree)[name], loaded.origins[key]))
    for index, section in enumerate(loaded.config.sections):
        where = f"{SECTIONS}[{index}]"
        for name, value in section_to_dict(section).items():
            inner = value.items() if isinstance(value, dict) else [("", value)]
            rows.extend(
                (f"{where}.{name}{'.' * bool(last)}{last}", v, loaded.origins[where])
                for last, v in inner
            )
    return rows


def show_dict(loaded: LoadedConfig) -> dict[str, Any]:
    """The same for machines, fit for JSON, with the files and what is wrong in them."""
    return {
        "source": str(loaded.source),
        "files": list(loaded.files),
        "errors": [str(error) for error in loaded.errors],
        "settings": [{"key": k, "value": v, "origin": o} for k, v, o in show(loaded)],
    }


def warnings(loaded: LoadedConfig) -> Iterator[str]:
    """Values that are in force and that can harm: an MTU below 1280 where IPv6 is not off."""
    config = loaded.config
    places = [("mtu", config.eni, loaded.origins["mtu"])]
    for index, section in enumerate(config.sections):
        where, given = f"{SECTIONS}[{index}]", section.settings
        if "mtu" in given or "ipv6" in given:
            whole = replace(config.eni, **given)
            places.append((f"{where}.mtu", whole, loaded.origins[where]))
    for key, settings, origin in places:
        if settings.removes_ipv6:
            yield (
                f"{origin}: warning: {key} = {settings.mtu}: an ENI with IPv6 addresses is refused"
                f' (set it to {IPV6_MTU_MIN} or more, or set ipv6 to "off")'
            )


def _reporter(path: str, errors: list[ConfigError]) -> Report:
    left = ERRORS_MAX

    def report(problem: str, remedy: str) -> None:
        nonlocal left
        if not left:
            raise ConfigError(f"more than {ERRORS_MAX} errors: the rest was not read", subject=path)
        left -= 1
        errors.append(ConfigError(problem, subject=path, remedy=remedy))

    return report


def _find(root: str, errors: list[ConfigError]) -> Iterator[str]:
    """The files to read, in reading order. Plain text paths: this runs in every command."""
    admin = os.path.join(root, ADMIN, MAIN)
    if not _is_null(admin):
        vendor = os.path.join(root, VENDOR, MAIN)
        yield from (
            path for path in (vendor, admin) if os.path.lexists(path) and not _is_null(path)
        )
    drop_ins: dict[str, str] = {}
    for directory in (VENDOR, RUNTIME, ADMIN):
        folder = os.path.join(root, directory, DROP_INS)
        for name in _names(folder, errors):
            drop_ins[name] = os.path.join(folder, name)
    yield from (path for _, path in sorted(drop_ins.items()) if not _is_null(path))


def _names(folder: str, errors: list[ConfigError]) -> list[str]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        errors.append(_unreadable(folder, error, "a+rx"))
        return []
    # editors leave .#name and name~ next to a file
    return [name for name in names if name.endswith(".toml") and not name.startswith(".")]


def _is_null(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False  # reading the folder reports the reason
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE


def _read(path: str) -> dict[str, Any]:
    """The file's tree. Raises ``ConfigError``."""
    import tomllib  # most hosts have no file, and the import takes 5 ms

    try:
        text = regular(Path(path), SIZE_MAX, follow=True).decode()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.islink(path):
            return {}  # removed since the folder was listed
        raise _unreadable(path, error, "a+r") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line}: not UTF-8, as TOML must be", subject=path) from error
    _bound_keys(path, text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {_located(str(error), text)}", subject=path) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", subject=path) from error
    except ValueError as error:  # int() on thousands of digits (CPython gh-95778)
        raise ConfigError("a number has too many digits", subject=path) from error


def _bound_keys(path: str, text: str) -> None:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > DOTS_MAX and not line.lstrip().startswith("#"):
            raise ConfigError(f"line {number}: more than {DOTS_MAX} dots", subject=path)


def _located(message: str, text: str) -> str:
    """tomllib's message with a line number also where it says only 'at end of document'."""
    end = "(at end of document)"
    return message.replace(end, f"(at line {len(text.splitlines()) or 1}, the end)")


def _unreadable(path: str, error: OSError, mode: str) -> ConfigError:
    remedies = {
        PermissionError: f"run as root, or allow every user to read it: chmod {mode} {path}",
        FileNotFoundError: "this link has no target: remove it, or link to /dev/null to mask the file",
    }
    return ConfigError(
        f"cannot be read: {error.strerror}", subject=path, remedy=remedies.get(type(error), "")
    )
