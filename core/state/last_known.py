# SPDX-License-Identifier: Apache-2.0
"""The last known good facts of each ENI: they stand in for what IMDS does not tell now.

Pure, except for the two functions at the end that keep them under /run/ec2net/facts. They are
valid for one attachment: a link index that differs means the ENI was attached anew, perhaps
as another device, so nothing carries over. While several links have its MAC, which of them it is
cannot be told; what was remembered for one of them stands.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar

from ec2net.core.model.facts import Absent, EniFacts, ImdsFacts, Link, Reading, T_co, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.state.run_dir import RunDir, parsed

T = TypeVar("T")

_FOLDER = "facts"
_PRIMARY = "primary.json"


def with_last_known_good(
    now: ImdsFacts, past: Mapping[Mac, EniFacts], past_primary: Mac | None
) -> ImdsFacts:
    """``now``, each unknown replaced by the last good value (marked stale).

    An ENI that IMDS no longer lists keeps its facts as long as the caller gives them in ``past``,
    that is, as long as its link is there: detach ends with the link, not with IMDS.
    """
    enis = {eni.mac: eni for eni in now.enis}
    merged = [_merged(eni, past.get(mac)) for mac, eni in enis.items()]
    merged += [_stale(eni) for mac, eni in past.items() if mac not in enis]
    primary = now.primary
    if isinstance(primary, Unknown) and past_primary is not None:
        primary = Value(past_primary, stale=True)
    return replace(now, primary=primary, enis=tuple(sorted(merged, key=lambda eni: eni.mac)))


def _merged(now: EniFacts, past: EniFacts | None) -> EniFacts:
    if past is None or _other_eni(now, past):
        return now
    return EniFacts(
        mac=now.mac,
        interface_id=_either(now.interface_id, past.interface_id),
        device_number=_either(now.device_number, past.device_number),
        network_card=_either(now.network_card, past.network_card),
        local_ipv4s=_primary_stays(now.local_ipv4s, past.local_ipv4s),
        ipv6s=_in_order(_either(now.ipv6s, past.ipv6s), past.ipv6s),
        ipv4_prefixes=_either(now.ipv4_prefixes, past.ipv4_prefixes),
        ipv6_prefixes=_either(now.ipv6_prefixes, past.ipv6_prefixes),
        subnet_ipv4=_primary_stays(now.subnet_ipv4, past.subnet_ipv4),
        subnet_ipv6=_with_addresses(now, past),
    )


def _in_order(now: Reading[tuple[T, ...]], past: Reading[tuple[T, ...]]) -> Reading[tuple[T, ...]]:
    """``now``, what was there before first and in the order of before.

    AWS documents an order for ``local-ipv4s`` alone. The first IPv6 address is the source of a
    default route, so another order must not change it.
    """
    if not (isinstance(now, Value) and isinstance(past, Value)):
        return now
    stayed = [one for one in past.value if one in now.value]
    return replace(now, value=tuple(dict.fromkeys((*stayed, *now.value))))


def _with_addresses(now: EniFacts, past: EniFacts) -> Reading[tuple[IPv6Network, ...]]:
    """A subnet's IPv6 block cannot go while the ENI has IPv6 addresses from it."""
    if isinstance(now.ipv6s, Value):
        return _primary_stays(now.subnet_ipv6, past.subnet_ipv6)
    return _either(now.subnet_ipv6, past.subnet_ipv6)


def _other_eni(now: EniFacts, past: EniFacts) -> bool:
    """A MAC that changed its ENI id is another ENI: nothing of the old one may stand in."""
    return (
        isinstance(now.interface_id, Value)
        and isinstance(past.interface_id, Value)
        and now.interface_id.value != past.interface_id.value
    )


def _either(now: Reading[T_co], past: Reading[T_co]) -> Reading[T_co]:
    if isinstance(now, Unknown) and isinstance(past, Value):
        return replace(past, stale=True)
    if isinstance(now, Unknown) and isinstance(past, Absent):
        return past
    return now


def _primary_stays(now: Reading[T_co], past: Reading[T_co]) -> Reading[T_co]:
    """As ``_either``; and 'absent' does not replace a value that no ENI can lose.

    The primary private IPv4 address stays for an ENI's life (AWS, "Elastic network interfaces"),
    so an IMDS that denies it is wrong, not news.
    """
    if isinstance(now, Absent) and isinstance(past, Value):
        return replace(past, stale=True)
    return _either(now, past)


def _stale(eni: EniFacts) -> EniFacts:
    return _merged(unread(eni.mac, "IMDS does not list its MAC any more"), eni)


def unread(mac: Mac, reason: str) -> EniFacts:
    """Facts of an ENI of which nothing could be read."""
    unknown = Unknown(reason)
    return EniFacts(
        mac,
        interface_id=unknown,
        device_number=unknown,
        network_card=unknown,
        local_ipv4s=unknown,
        ipv6s=unknown,
        ipv4_prefixes=unknown,
        ipv6_prefixes=unknown,
        subnet_ipv4=unknown,
        subnet_ipv6=unknown,
    )


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
    stood = _stored(run.content(_file(mac)))
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
    """Store the facts of attached ENIs and drop those of gone ones. Raises ``StateError``."""
    if isinstance(facts.primary, Value):
        run.write(_PRIMARY, {"mac": str(facts.primary.value)})
    kept = set()
    for eni in facts.enis:
        indices = links.get(eni.mac, ())
        if len(indices) == 1:
            (index,) = indices
            stood = _stored(run.content(_file(eni.mac)))
            # What one pass heard is stored anew when a second one has heard the same.
            if stood != (index, eni) or to_json(stood[1]) != to_json(eni):
                run.write(_file(eni.mac), {**to_json(eni), "ifindex": index})
        if indices:
            kept.add(_file(eni.mac))
    for name in run.names(_FOLDER):
        if name not in kept:
            run.remove(name)


def _file(mac: Mac) -> str:
    return f"{_FOLDER}/{mac}.json"
