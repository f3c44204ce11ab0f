# SPDX-License-Identifier: Apache-2.0
"""Three-way merge of what we want into an applied connection. Pure.

What we set is recorded in the connection's own ``user`` setting, with what was there before: it
is versioned with the connection, ends with the activation and outlives us. What a user sets at
run time (``nmcli device modify``) differs from the record and stays.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ec2net.backends.networkmanager.typed import Section, Settings, Typed, plain

RECORD = "org.ec2net.record"
"""In ``user.data``, whose keys must have a dot."""

_OLD_KEYS = ("addresses", "routes")
"""NetworkManager tells both the old and the new form, and on input prefers the old one, which
knows no table, source or on-link: sent back, it would take those away from a user's routes."""

Key = tuple[str, str]
"""A setting and a key of it, such as ``("802-3-ethernet", "mtu")``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What we set, and what was there before (None: nothing)."""

    ours: Any
    before: Any = None


def recorded(settings: Settings) -> dict[Key, Entry]:
    """What we have set and nobody has changed since. A record that cannot be read is none."""
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
    """The value that a user or a profile gave a key; None if there is none, or it is ours."""
    if key in recorded(settings):
        return recorded(settings)[key].before
    return plain(settings.get(key[0], {}), key[1])


def merged(settings: Settings, wanted: Mapping[Key, Typed]) -> Settings | None:
    """``settings`` with ``wanted`` in it and without what we set and want no more.

    A value that is somebody's stays. None if that is what there is already.
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
    """As it may be sent back."""
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
