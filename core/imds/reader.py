# SPDX-License-Identifier: Apache-2.0
"""Reads the facts about ENIs from IMDS: no key twice, and an immutable key in two passes.

A steady pass reads one listing of the MACs, and for each ENI its listing and the listed mutable
keys. An Absent always has two witnesses: the listing, and either the key's own 404 or that the key
was never listed. A list that lost an entry needs two as well: ec2net reads it twice. An immutable
key that was read once counts at once, and the next pass reads it again: IMDS may have been wrong.

IMDS answers one key per request. The daemon therefore reads the listings of an ENI's keys at other
times than the keys (``Listings``). Each is as old as a poll interval at most, and passes stay
small.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from ipaddress import IPv6Address, IPv6Network
from typing import TypeAlias, TypeVar

from ec2net.core.imds.parse import (
    EMPTY,
    ipv4_address,
    ipv4_network,
    ipv6_address,
    ipv6_network,
    listed_key,
    many,
    number,
    one,
    parsed,
)
from ec2net.core.imds.primary import denial
from ec2net.core.imds.proof import MAC_PATH, MACS_PATH
from ec2net.core.imds.source import Imds
from ec2net.core.model.facts import FIELDS, Absent, EniFacts, ImdsFacts, Reading, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.runtime.deadline import Deadline

T = TypeVar("T")

INTERFACE_ID = "interface-id"
DEVICE_NUMBER = "device-number"
NETWORK_CARD = "network-card"
LOCAL_IPV4S = "local-ipv4s"
IPV6S = "ipv6s"
IPV4_PREFIX = "ipv4-prefix"
IPV6_PREFIX = "ipv6-prefix"
SUBNET_IPV4 = "subnet-ipv4-cidr-block"
SUBNET_IPV6 = "subnet-ipv6-cidr-blocks"
"""AWS, "Instance metadata categories", ``network/interfaces/macs/<mac>/``."""

_NEVER_READ = Unknown("not read yet")
_NOT_PROPAGATED = Unknown("device-number not propagated yet", settling=True)

Listings: TypeAlias = dict[Mac, frozenset[str]]
"""For completely read ENIs, the keys that IMDS listed. The reader changes it."""


def read_facts(
    client: Imds,
    wanted: Collection[Mac],
    known: Mapping[Mac, EniFacts],
    known_primary: Mac | None,
    deadline: Deadline,
    listings: Listings | None = None,
) -> ImdsFacts:
    """Read what is new about the ``wanted`` ENIs.

    ``known`` is what earlier passes read, for as long as the ENI stays attached: forget an
    entry when its link goes, since an ENI may come back with another device number.
    ``listings`` are not asked for again unless a key contradicts them; new ones are put in.
    Raises ``ImdsError`` if IMDS cannot be used at all, and what interrupts the deadline.
    """
    primary = read_primary(client, deadline) if known_primary is None else Value(known_primary)
    listed = parsed(_present(client.get(MACS_PATH, deadline), MACS_PATH), many(Mac.parse))
    enis = []
    # The primary first: should the time not suffice, it matters most.
    for mac in sorted(wanted, key=lambda mac: (primary != Value(mac), mac)):
        before = known.get(mac) or _never_read(mac)
        remembered = _remembered(mac, listed, known, listings)
        eni = None
        if remembered is not None:
            # a key was removed since: as if there had been no listing
            with suppress(_ListingIsOld):
                eni = _Eni(client, mac, remembered, before, primary, deadline, old=True).read()
        if eni is None:
            keys = _listing(client, mac, listed, known=mac in known, deadline=deadline)
            if not isinstance(keys, Absent):
                eni = _Eni(client, mac, keys, before, primary, deadline).read()
            if listings is not None:
                _note(mac, keys, eni, listings)
        if eni is not None:
            enis.append(eni)
    read = {**known, **{eni.mac: eni for eni in enis}}
    primary = _confirmed(client, primary, listed, read, deadline, remembered=bool(known_primary))
    return ImdsFacts(primary, listed, tuple(enis), _cards(client, primary, read, deadline))


def _cards(
    client: Imds, primary: Reading[Mac], read: Mapping[Mac, EniFacts], deadline: Deadline
) -> bool:
    """Whether the primary, if it was not read, has a network card or may have one.

    The primary has been attached for the longest time. Its keys are therefore the witness for the
    host when a pass reads a new ENI alone (``core.decide.settled``).
    """
    new = [eni for eni in read.values() if isinstance(eni.network_card, Absent)]
    if not new or not isinstance(primary, Value) or primary.value in read:
        return False
    path = f"{MACS_PATH}{primary.value}/{NETWORK_CARD}"
    return not isinstance(client.get(path, deadline), Absent)


def _remembered(
    mac: Mac,
    listed: Reading[tuple[Mac, ...]],
    known: Mapping[Mac, EniFacts],
    listings: Listings | None,
) -> Value[frozenset[str]] | None:
    """The listing of an ENI that need not be read again."""
    if listings is None or mac not in listings or mac not in known:
        return None
    gone = isinstance(listed, Value) and mac not in listed.value
    return None if gone else Value(listings[mac])


def _note(
    mac: Mac, keys: Reading[frozenset[str]], eni: EniFacts | None, listings: Listings
) -> None:
    """Keep the listing of an ENI of which everything could be read."""
    listings.pop(mac, None)
    readings = () if eni is None else (getattr(eni, f.name) for f in fields(eni))
    if isinstance(keys, Value) and not any(isinstance(r, Unknown) for r in readings):
        listings[mac] = keys.value


def outdated(client: Imds, listings: Listings, deadline: Deadline) -> frozenset[Mac]:
    """Read all listings again and forget those that changed. Returns their ENIs.

    An unreadable listing stays. Raises ``ImdsError``, and whatever interrupts the deadline.
    """
    changed = set()
    for mac, keys in list(listings.items()):
        reading = _listing(client, mac, Value((mac,)), known=True, deadline=deadline)
        if isinstance(reading, Value) and reading.value != keys:
            del listings[mac]
            changed.add(mac)
    return frozenset(changed)


def _confirmed(
    client: Imds,
    primary: Reading[Mac],
    listed: Reading[tuple[Mac, ...]],
    enis: Mapping[Mac, EniFacts],
    deadline: Deadline,
    *,
    remembered: bool,
) -> Reading[Mac]:
    """``primary``, or another answer if something denies it or another ENI may be it as well."""
    if not isinstance(primary, Value):
        return primary
    mac = primary.value
    reason = denial(mac, enis.get(mac), listed)
    rival = any(eni.device_number == _NOT_PROPAGATED for eni in enis.values() if eni.mac != mac)
    if not reason and not (remembered and rival):
        return primary
    again = read_primary(client, deadline)
    if isinstance(again, Value) and not denial(again.value, enis.get(again.value), listed):
        return again
    if remembered:
        return primary
    return _denied(mac, reason)


def read_primary(client: Imds, deadline: Deadline) -> Reading[Mac]:
    """The MAC of the primary ENI. Raises ``ImdsError``, and what interrupts the deadline."""
    return parsed(_present(client.get(MAC_PATH, deadline), MAC_PATH), one(Mac.parse))


def find_primary(client: Imds, deadline: Deadline) -> Reading[Mac]:
    """As ``read_primary``, checked by its device number, for callers that read nothing else."""
    primary = read_primary(client, deadline)
    if not isinstance(primary, Value):
        return primary
    mac = primary.value
    reading = client.get(f"{MACS_PATH}{mac}/{DEVICE_NUMBER}", deadline)
    eni = replace(_never_read(mac), device_number=parsed(reading, one(number)))
    reason = denial(mac, eni, _NEVER_READ)
    return _denied(mac, reason) if reason else primary


def _denied(mac: Mac, reason: str) -> Unknown:
    return Unknown(f"IMDS reports {mac} as the primary ENI, but {reason}")


def _listing(
    client: Imds,
    mac: Mac,
    listed: Reading[tuple[Mac, ...]],
    *,
    known: bool,
    deadline: Deadline,
) -> Reading[frozenset[str]]:
    """The keys of one ENI. Absent: the ENI is not there, by two witnesses or never seen."""
    missing = isinstance(listed, Value) and mac not in listed.value
    if missing and not known:
        return Absent()
    reading = parsed(client.get(f"{MACS_PATH}{mac}/", deadline), many(listed_key))
    if isinstance(reading, Absent):
        if missing:
            return reading
        return Unknown("IMDS answers 404 for the list of its keys", settling=not known)
    if isinstance(reading, Unknown):
        return Unknown(f"the listing of its keys: {reading.reason}")
    names = FIELDS.keys() & set(reading.value)
    if not names:
        # A page of HTML is no listing: IMDS lists names without blanks and brackets.
        garbage = any(set(name) & set(" <>") for name in reading.value)
        return Unknown(
            "the list of its keys has none that ec2net needs",
            settling=not known and not garbage,
        )
    return Value(frozenset(names))


class _ListingIsOld(Exception):
    """A key that a remembered listing has answers 404."""


@dataclass(frozen=True, slots=True)
class _Eni:
    """One ENI being read."""

    client: Imds
    mac: Mac
    keys: Reading[frozenset[str]]
    known: EniFacts
    primary: Reading[Mac]
    deadline: Deadline
    old: bool = False
    """Whether the listing is of an earlier pass."""

    def read(self) -> EniFacts:
        """Raises ``_ListingIsOld`` if the listing is old, and wrong."""
        known = self.known
        card, device = self._place()
        ipv6s = self._list(IPV6S, ipv6_address, known.ipv6s)
        ipv6_prefixes = self._list(IPV6_PREFIX, ipv6_network, known.ipv6_prefixes)
        ipv4s = self._list(LOCAL_IPV4S, ipv4_address, known.local_ipv4s)
        ipv4_prefixes = self._list(IPV4_PREFIX, ipv4_network, known.ipv4_prefixes)
        wrong = self._empty_wrongly(ipv4s, ipv6s)
        return EniFacts(
            mac=self.mac,
            interface_id=self._required(INTERFACE_ID, one(EniId.of_imds), known.interface_id),
            device_number=device,
            network_card=card,
            local_ipv4s=_unless(wrong, ipv4s),
            ipv6s=_unless(wrong, ipv6s),
            ipv4_prefixes=_unless(wrong, ipv4_prefixes),
            ipv6_prefixes=_unless(wrong, ipv6_prefixes),
            subnet_ipv4=self._immutable(SUBNET_IPV4, one(ipv4_network), known.subnet_ipv4),
            subnet_ipv6=self._subnet_ipv6((*_values(ipv6s), *_values(ipv6_prefixes))),
        )

    def _empty_wrongly(self, ipv4s: Reading[object], ipv6s: Reading[object]) -> Unknown | None:
        """An ENI cannot lose its first IPv4 address, and the primary has an address.

        If IMDS reports only empty lists, IMDS is wrong, and no list counts as empty then.
        """
        lost = isinstance(self.known.local_ipv4s, Value)
        nothing = self._is_primary and isinstance(ipv6s, Absent)
        wrong = _is_empty(ipv4s) and (lost or nothing)
        return Unknown("the list is empty, but the ENI has an address") if wrong else None

    def _subnet_ipv6(
        self, held: Iterable[IPv6Address | IPv6Network]
    ) -> Reading[tuple[IPv6Network, ...]]:
        """A subnet can get an IPv6 block later, or another one in its place.

        A value therefore stays valid while it contains all of the ENI's addresses; an absence does
        not.
        """
        known = self.known.subnet_ipv6
        inside = isinstance(known, Value) and all(
            any(_is_inside(one, block) for block in known.value) for one in held
        )
        read = self._immutable if inside else self._again
        return read(SUBNET_IPV6, many(ipv6_network), known)

    def _place(self) -> tuple[Reading[int], Reading[int]]:
        """Network card and device number; neither is ever assumed."""
        card, device = self.known.network_card, self.known.device_number
        # Before propagation ends IMDS may report no card, or card 0: kept only when settled.
        if isinstance(device, Value) and self._settled(device, card):
            card = self._immutable(NETWORK_CARD, one(number), card)
        else:
            card = self._again(NETWORK_CARD, one(number), card)
        if isinstance(device, Value) and not self._settled(device, card):
            device = _NEVER_READ
        device = self._required(DEVICE_NUMBER, one(number), device)
        if isinstance(device, Value) and not self._settled(device, card) and not self._is_primary:
            device = _NOT_PROPAGATED
        return card, device

    def _settled(self, device: Value[int], card: Reading[int]) -> bool:
        """False for the 0 that IMDS reports before it knows a number; the primary's 0 is final.

        Only card 0 has the primary on it; on other cards 0 is an ordinary number.
        """
        elsewhere = isinstance(card, Value) and card.value > 0
        return (device.value == 0 and not elsewhere) is self._is_primary

    @property
    def _is_primary(self) -> bool:
        return self.primary == Value(self.mac)

    def _required(self, name: str, parse: Callable[[str], T], known: Reading[T]) -> Reading[T]:
        """An immutable key that every ENI has: where it lacks, it is only not there yet."""
        reading = self._immutable(name, parse, known)
        if isinstance(reading, Absent):
            return Unknown(f"{name} not listed yet", settling=not isinstance(known, Value))
        return reading

    def _immutable(self, name: str, parse: Callable[[str], T], known: Reading[T]) -> Reading[T]:
        """A value is asked for until two passes have read it; an absence is not, unless the listing
        shows the key."""
        if isinstance(known, Value) and not known.once:
            return Value(known.value)
        if isinstance(known, Absent) and isinstance(self.keys, Unknown):
            return known
        return self._again(name, parse, known)

    def _again(self, name: str, parse: Callable[[str], T], known: Reading[T]) -> Reading[T]:
        """A value that differs from the known one counts if IMDS repeats it."""
        reading = self._key(name, parse, known)
        if not isinstance(known, Value):
            return replace(reading, once=True) if isinstance(reading, Value) else reading
        if isinstance(reading, Unknown):
            return replace(known, stale=False)
        if isinstance(reading, Value) and reading.value == known.value:
            return reading
        if self._key(name, parse, known) != reading:
            return replace(known, stale=False)
        return replace(reading, once=True) if isinstance(reading, Value) else reading

    def _list(
        self, name: str, parse: Callable[[str], T], known: Reading[tuple[T, ...]]
    ) -> Reading[tuple[T, ...]]:
        """A list that loses an entry needs two witnesses, too: half a list is well-formed.

        If the two differ, the last known list stays in force. ec2net believes an error that IMDS
        repeats.
        """
        reading = self._key(name, many(parse), known)
        if not _loses(reading, known):
            return reading
        again = self._key(name, many(parse), known)
        if again != reading and _loses(again, known):
            return Unknown(f"{name} changed between two readings")
        return again

    def _key(self, name: str, parse: Callable[[str], T], known: Reading[T]) -> Reading[T]:
        """A key that is there and empty reads as absent, as soon as two looks agree."""
        if not isinstance(self.keys, Value):
            return self.keys
        listed = name in self.keys.value
        if not listed and not isinstance(known, Value):
            return Absent()
        path = f"{MACS_PATH}{self.mac}/{name}"
        reading = parsed(self.client.get(path, self.deadline), parse)
        if reading == EMPTY:
            if isinstance(known, Absent):
                return known
            reading = parsed(self.client.get(path, self.deadline), parse)
            return Absent(empty=True) if reading == EMPTY else reading
        if listed and isinstance(reading, Absent):
            if self.old:
                raise _ListingIsOld
            settling = not isinstance(known, Value)
            return Unknown(f"{name} is listed, but IMDS answers 404", settling=settling)
        return reading


def _is_inside(held: IPv6Address | IPv6Network, block: IPv6Network) -> bool:
    return held in block if isinstance(held, IPv6Address) else held.subnet_of(block)


def _is_empty(reading: Reading[object]) -> bool:
    return isinstance(reading, Absent) and reading.empty


def _unless(wrong: Unknown | None, reading: Reading[T]) -> Reading[T]:
    return wrong if wrong and _is_empty(reading) else reading


def _values(reading: Reading[tuple[T, ...]]) -> tuple[T, ...]:
    return reading.value if isinstance(reading, Value) else ()


def _loses(reading: Reading[tuple[T, ...]], known: Reading[tuple[T, ...]]) -> bool:
    return isinstance(reading, Value) and not set(_values(known)) <= set(reading.value)


def _never_read(mac: Mac) -> EniFacts:
    return EniFacts(mac, *[_NEVER_READ] * 9)


def _present(reading: Reading[str], path: str) -> Reading[str]:
    """For keys that IMDS always has: a 404 is a failure like any other."""
    return Unknown(f"{path} answers 404") if isinstance(reading, Absent) else reading
