# SPDX-License-Identifier: Apache-2.0
"""When a key of IMDS may decide something. Pure.

IMDS publishes the keys of a new ENI one after the other. A missing key looks like a key that the
ENI does not have, and a number may mean 'not known yet'. A default therefore never replaces a key
of a new ENI. ``KEYS`` lists for each key when it counts as settled, and an ENI whose identity is
not settled is pending. ec2net configures an address as soon as IMDS adds it.

The first reading of a key that never changes counts at once, and the next pass reads the key again.
If the first reading was wrong, ec2net corrects the ENI. If the configuration leaves the ENI
unchanged, ec2net removes what the wrong identity had configured (``mistaken``).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ec2net.core.decide.addresses import why
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.model.facts import Absent, EniFacts, Value, keys_of
from ec2net.core.model.identity import Mac


@dataclass(frozen=True, slots=True)
class Around:
    """Facts of the host about an ENI."""

    primary: bool | None
    """Whether the ENI is the primary; None: not known."""
    cards: bool
    """Whether an ENI of the host has a network card, or may have one."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of ``network/interfaces/macs/MAC/`` that decides something."""

    decides: str
    settled: str
    witness: str
    """Other facts that must agree with the key."""
    again: str
    """When ec2net reads the key again."""
    doubt: Callable[[EniFacts, Around], str]
    """Why the key is not settled; empty if it is settled."""


def _device_number(eni: EniFacts, around: Around) -> str:
    number, card = eni.device_number, eni.network_card
    if not isinstance(number, Value):
        return f"device-number is not known: {why(number)}"
    if number.value == 0 and not around.primary and not (isinstance(card, Value) and card.value):
        return "device-number is still 0: IMDS has not propagated the attachment yet"
    return ""


def _network_card(eni: EniFacts, around: Around) -> str:
    if isinstance(eni.network_card, Absent):
        absent = "absent, but other ENIs of the host have one"
        return f"network-card is not known: {absent}" if around.cards else ""
    return "" if isinstance(eni.network_card, Value) else _not_known("network-card")(eni, around)


def _not_known(name: str) -> Callable[[EniFacts, Around], str]:
    """For a key that every ENI has."""

    def doubt(eni: EniFacts, _: Around) -> str:
        reading = keys_of(eni)[name]
        return "" if isinstance(reading, Value) else f"{name} is not known: {why(reading)}"

    return doubt


def _may_lack(name: str, *lists: str) -> Callable[[EniFacts, Around], str]:
    """For a list, and for a block if the ENI has no address (``lists``) in such a block."""

    def doubt(eni: EniFacts, around: Around) -> str:
        readings = keys_of(eni)
        lacks = all(isinstance(readings[one], Absent) for one in (name, *lists))
        return "" if lacks else _not_known(name)(eni, around)

    return doubt


_ONCE_MORE = "in each pass; at once a second time if something is missing that was there"

KEYS: Mapping[str, Key] = {
    "mac": Key(
        "which ENI is the primary (the instance's key, not the ENI's)",
        "the ENI is listed, as device 0 of card 0",
        "the ENI's own device-number and network-card (core/imds/primary.py)",
        "while the ENI's keys deny it, or another ENI reads as device 0 too",
        lambda eni, around: "the primary ENI is not known" if around.primary is None else "",
    ),
    "device-number": Key(
        "table, priorities and metric; sections that match on `device`",
        "a number above 0; 0 for the primary, and on a network card above 0",
        "network-card, and that no other ENI has the same place",
        "in each pass until it is settled, and in the next pass",
        _device_number,
    ),
    "network-card": Key(
        "table, priorities and metric; sections that match on `card`",
        "a number; an absence if no ENI of the host has the key",
        "the keys of all other ENIs, or the primary's when one ENI is read alone",
        "as device-number; an absence as soon as a listing has the key",
        _network_card,
    ),
    "interface-id": Key(
        "an alternative name; sections that match on `id`; whether remembered facts are its own",
        "a value",
        "none",
        "in each pass until two passes have read a value",
        _not_known("interface-id"),
    ),
    "subnet-ipv4-cidr-block": Key(
        "the router's address; sections that match on `subnet`",
        "a value; an absence if the ENI has neither IPv4 addresses nor IPv4 prefixes",
        "the ENI's addresses and prefixes, which lie in the subnet",
        "in each pass until two passes have read a value",
        _may_lack("subnet-ipv4-cidr-block", "local-ipv4s", "ipv4-prefix"),
    ),
    "subnet-ipv6-cidr-blocks": Key(
        "whether the ENI has IPv6; sections that match on `subnet`",
        "a value; an absence if the ENI has neither IPv6 addresses nor IPv6 prefixes",
        "the ENI's addresses and prefixes, which lie in the subnet",
        "in each pass until all that the ENI holds lies in it, and in the next pass",
        _may_lack("subnet-ipv6-cidr-blocks", "ipv6s", "ipv6-prefix"),
    ),
    "local-ipv4s": Key(
        "addresses, sources of rules, the base address",
        "a list, or none",
        "a second reading when an address is missing; an ENI cannot lose its first one",
        _ONCE_MORE,
        _may_lack("local-ipv4s"),
    ),
    "ipv6s": Key(
        "addresses, sources of rules, the base address",
        "a list, or none",
        "a second reading when an address is missing",
        _ONCE_MORE,
        _may_lack("ipv6s"),
    ),
    "ipv4-prefix": Key(
        "sources of rules, local routes",
        "a list, or none",
        "a second reading when a prefix is missing",
        _ONCE_MORE,
        _may_lack("ipv4-prefix"),
    ),
    "ipv6-prefix": Key(
        "sources of rules, local routes",
        "a list, or none",
        "a second reading when a prefix is missing",
        _ONCE_MORE,
        _may_lack("ipv6-prefix"),
    ),
}
"""Each key that decides something. AWS, "Instance metadata categories", has the keys' meaning."""

CRITERIA: Mapping[str, tuple[str, ...]] = {
    "card": ("device-number", "network-card"),
    "device": ("device-number", "network-card"),
    "id": ("interface-id",),
    "subnet": ("subnet-ipv4-cidr-block", "subnet-ipv6-cidr-blocks"),
}
"""The keys that a criterion of ``match`` in an ``[[eni]]`` section hangs on."""

_DECIDED = (Standing.IGNORED, Standing.READY)


def identity(eni: EniFacts) -> dict[str, str]:
    """The known keys that decide which sections of the configuration are for an ENI, as text."""
    readings = keys_of(eni)
    known = {key for keys in CRITERIA.values() for key in keys}
    found = {key: one.value for key in sorted(known) if isinstance(one := readings[key], Value)}
    if isinstance(eni.network_card, Absent):
        found["network-card"] = 0  # the only one
    return {
        key: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for key, value in found.items()
    }


def mistaken(
    host: HostIntent, enis: Iterable[EniFacts], configured_as: Mapping[Mac, Mapping[str, str]]
) -> frozenset[Mac]:
    """ENIs that the configuration leaves unchanged, and that ec2net configured by a wrong identity.

    ``configured_as``: the identity by which ec2net configured each ENI. A user who sets ``manage`` to
    "ignore" later changes no identity, and the ENI keeps what it has.
    """
    apart = {eni.mac for eni in host.enis if eni.apart and eni.standing in _DECIDED}
    now = {eni.mac: identity(eni) for eni in enis if eni.mac in apart}
    return frozenset(
        mac
        for mac, known in now.items()
        if any(known.get(key, was) != was for key, was in configured_as.get(mac, {}).items())
    )


def doubt(eni: EniFacts, around: Around, *keys: str) -> str:
    """Why the first of these keys that is not settled is not; empty if all of them are settled."""
    return next(filter(None, (KEYS[key].doubt(eni, around) for key in keys)), "")


def doubts(eni: EniFacts | None, around: Around) -> dict[str, str]:
    """The criteria of ``match`` that may come to hold for an ENI, and why that is not settled.

    ``eni`` is None while IMDS does not list the ENI.
    """
    if eni is None:
        return dict.fromkeys(CRITERIA, "IMDS does not list the ENI yet")
    found = {name: doubt(eni, around, *keys) for name, keys in CRITERIA.items()}
    if around.primary:  # the role settles the numbers of the primary
        del found["card"], found["device"]
    return {name: reason for name, reason in found.items() if reason}
