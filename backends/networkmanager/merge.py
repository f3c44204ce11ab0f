# SPDX-License-Identifier: Apache-2.0
"""Three-way merge of ec2net's settings into an applied connection. Pure.

ec2net records its settings in the connection's own ``user`` setting, with the former values. The
record is versioned with the connection, ends with the activation and outlives ec2net. A user's
changes at run time (``nmcli device modify``) differ from the record and stay.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ec2net.backends.networkmanager.typed import Section, Settings, Typed, plain

RECORD = "org.ec2net.record"
"""In ``user.data``, whose keys must have a dot."""

_OLD_KEYS = ("addresses", "routes")
"""NetworkManager reports both the old and the new form, and prefers the old one on input. The old
form has no table, source or on-link, so sending it back would remove these from a user's routes."""

Key = tuple[str, str]
"""A setting and a key of it, such as ``("802-3-ethernet", "mtu")``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """ec2net's settings, and the former values (None: nothing)."""

    ours: Any
    before: Any = None


def recorded(settings: Settings) -> dict[Key, Entry]:
    """ec2net's settings that are unchanged since. An unreadable record counts as none."""
    data = plain(settings.get("user", {}), "data", {})
    try:
        entries = json.loads(data[RECORD])
        return {
            (section, key): Entry(entry["ours"], entry["before"])
            for name, entry in entries.items()
            for section, key in [name.split(".", 1)]
            if plain(settings.get(section, {}), key) == entry["ours"]
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def users_own(settings: Settings, key: Key) -> Any:
    """The value that a user or a profile gave a key; None if there is none, or it is ec2net's."""
    if key in recorded(settings):
        return recorded(settings)[key].before
    return plain(settings.get(key[0], {}), key[1])


def merged(settings: Settings, wanted: Mapping[Key, Typed]) -> Settings | None:
    """``settings`` with ``wanted`` in it and without ec2net's outdated settings.

    A foreign value stays. None if nothing changes.
    """
    result: Settings = {name: dict(section) for name, section in settings.items()}
    record: dict[Key, Entry] = {}
    past = recorded(settings)
    for key in sorted({*past, *wanted}):
        before = users_own(settings, key)
        value = wanted.get(key)
        if value is not None and not before:
            record[key] = Entry(value.value, before)
            result.setdefault(key[0], {})[key[1]] = value
        elif key in past:
            _restore(result[key[0]], key[1], before)
    _write_record(result, record)
    if result == settings:
        return None
    return without_old_keys(result)


def without_old_keys(settings: Settings) -> Settings:
    """In the form that NetworkManager accepts."""
    result = {name: dict(section) for name, section in settings.items()}
    for family in ("ipv4", "ipv6"):
        section = result.get(family, {})
        for key in _OLD_KEYS:
            section.pop(key, None)
        if "dns-data" in section:
            section.pop("dns", None)
    return result


def _restore(section: Section, key: str, before: Any) -> None:
    if before is None:
        del section[key]
    else:
        section[key] = Typed(section[key].signature, before)


def _write_record(settings: Settings, record: Mapping[Key, Entry]) -> None:
    before = plain(settings.get("user", {}), "data", {})
    data = {key: text for key, text in before.items() if key != RECORD}
    if record:
        entries = {
            ".".join(key): {"ours": entry.ours, "before": entry.before}
            for key, entry in sorted(record.items())
        }
        data[RECORD] = json.dumps(entries, sort_keys=True)
    if data == before:
        return
    if data:
        settings["user"] = {**settings.get("user", {}), "data": Typed("a{ss}", data)}
    else:
        settings.pop("user", None)
