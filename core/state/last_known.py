# SPDX-License-Identifier: Apache-2.0
"""The last known good facts of each ENI: /run/ec2net/facts/MAC.json.

They are valid for one attachment: a link index that differs means the ENI was attached anew, perhaps
as another device, so nothing carries over. While several links have its MAC, which of them it is
cannot be told; what was remembered for one of them stands.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from ec2net.core.model.facts import Absent, EniFacts, ImdsFacts, Link, Reading, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.state import per_eni
from ec2net.core.state.run_dir import RunDir, parsed

_FOLDER = "facts"
_PRIMARY = "primary.json"


def to_json(eni: EniFacts) -> dict[str, Any]:
    """Values as text or lists of text, absent as null; unknown keys are left out."""
    data: dict[str, Any] = {"mac": str(eni.mac)}
    for name in _PARSERS:
        reading = getattr(eni, name)
        if isinstance(reading, Absent):
            data[name] = None
        elif isinstance(reading, Value):
            value = reading.value
            data[name] = [str(v) for v in value] if isinstance(value, tuple) else str(value)
    data["once"] = [name for name in _PARSERS if _once(getattr(eni, name))]
    return data


def _once(reading: Reading[object]) -> bool:
    return isinstance(reading, Value) and reading.once


def from_json(data: Mapping[str, Any]) -> EniFacts:
    """The reverse of ``to_json``. Raises ``ValueError`` or ``KeyError`` on anything else."""
    mac = Mac.parse(str(data["mac"]))
    readings: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        if name not in data:
            readings[name] = Unknown("never read")
        elif data[name] is None:
            readings[name] = Absent()
        elif isinstance(data[name], list) is (name in _SINGLE):
            raise ValueError(f"{name} is of another kind")
        elif isinstance(data[name], list):
            readings[name] = Value(tuple(parse(str(text)) for text in data[name]))
        else:
            readings[name] = Value(parse(str(data[name])))
    for name in data.get("once", ()):
        if isinstance(readings[name], Value):
            readings[name] = replace(readings[name], once=True)
    return EniFacts(mac=mac, **readings)


_PARSERS: dict[str, Callable[[str], object]] = {
    "interface_id": EniId.of_imds,
    "device_number": int,
    "network_card": int,
    "local_ipv4s": IPv4Address,
    "ipv6s": IPv6Address,
    "ipv4_prefixes": IPv4Network,
    "ipv6_prefixes": IPv6Network,
    "subnet_ipv4": IPv4Network,
    "subnet_ipv6": IPv6Network,
}
_SINGLE = {"interface_id", "device_number", "network_card", "subnet_ipv4"}
"""The others are lists."""


def remembered(
    run: RunDir, links: Mapping[Mac, Collection[int]]
) -> tuple[Mac | None, dict[Mac, EniFacts]]:
    """The primary's MAC and the facts of ENIs that are still attached by the same link index.

    ``links`` has the indices of all links with an ENI's MAC.
    """
    stored = run.read(_PRIMARY)
    try:
        primary = Mac.parse(str(stored["mac"])) if stored else None
    except (KeyError, ValueError):
        primary = None
    facts = {}
    for mac, indices in links.items():
        if stood := _remembered(run, mac, indices):
            facts[mac] = stood
    return primary, facts


def _remembered(run: RunDir, mac: Mac, indices: Collection[int]) -> EniFacts | None:
    stood = _stored(run.content(per_eni.file(_FOLDER, mac)))
    return stood[1] if stood and stood[0] in indices and stood[1].mac == mac else None


@lru_cache(maxsize=128)
def _stored(content: bytes) -> tuple[int, EniFacts] | None:
    """The link index and the facts of a file; None if this version did not write it.

    IMDS is read then as if for the first time. A manager has the same files pass after pass.
    """
    data = parsed(content)
    try:
        return (int(data["ifindex"]), from_json(data)) if data else None
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def with_silent_enis(
    run: RunDir, links: Iterable[Link], drivers: Sequence[str]
) -> tuple[Link, ...]:
    """``links`` with known ENIs as such whose driver cannot be asked just now.

    A device in a reset does not answer; taken for gone, all of it would be removed. ``drivers``:
    those whose links can be ENIs.
    """
    return tuple(
        replace(link, driver=drivers[0]) if not link.driver and _was_eni(run, link) else link
        for link in links
    )


def _was_eni(run: RunDir, link: Link) -> bool:
    """Whether an earlier pass knew this very attachment as an ENI."""
    return link.mac is not None and _remembered(run, link.mac, [link.index]) is not None


def remember(run: RunDir, facts: ImdsFacts, links: Mapping[Mac, Collection[int]]) -> None:
    """Store the facts of attached ENIs. Raises ``StateError``."""
    if isinstance(facts.primary, Value):
        run.write(_PRIMARY, {"mac": str(facts.primary.value)})
    for eni in facts.enis:
        indices = links.get(eni.mac, ())
        if len(indices) == 1:
            (index,) = indices
            file = per_eni.file(_FOLDER, eni.mac)
            stood = _stored(run.content(file))
            # What one pass heard is stored anew when a second one has heard the same.
            if stood != (index, eni) or to_json(stood[1]) != to_json(eni):
                run.write(file, {**to_json(eni), "ifindex": index})
