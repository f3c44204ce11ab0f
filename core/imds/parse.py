# SPDX-License-Identifier: Apache-2.0
"""The text of IMDS keys to types. One bad line makes the whole key unknown, never half of it."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar

from ec2net.core.model.facts import Reading, Unknown, Value
from ec2net.core.runtime.bounded_cache import BoundedCache

T = TypeVar("T")

EMPTY = Unknown("empty answer")

LINES_MAX = 4096

_parsed: BoundedCache[tuple[Callable[[str], Any], str], tuple[Any, ...]] = BoundedCache(400_000)
"""Answers that are not parsed again, by characters: a manager gets the same pass after pass. 64 ENIs
with 100 addresses each have 330,000; parsed, an address takes ten times its text."""

NUMBER_MAX = 999
"""For device numbers and network cards; ``core/model/numbers.py`` decides which can be numbered."""

_ENTRY = 64
"""Characters that an entry counts in addition to its text."""

_SHOWN = 60
_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)


def one(parse: Callable[[str], T]) -> Callable[[str], T]:
    """For a key that holds a single line. All of these raise ``ValueError``."""

    def parse_one(text: str) -> T:
        values = many(parse)(text)
        if len(values) != 1:
            raise ValueError(f"{len(values)} lines instead of one")
        return values[0]

    return parse_one


def many(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """For a key of one value per line: keeps the order, collapses repetitions."""

    def parse_many(text: str) -> tuple[T, ...]:
        return _parse_lines(parse, text)

    return parse_many


def _parse_lines(parse: Callable[[str], Any], text: str) -> tuple[Any, ...]:
    if (known := _parsed.get((parse, text))) is not None:
        return known
    lines = [line for raw in text.split("\n") if (line := raw.strip(" \t\r"))]
    if len(lines) > LINES_MAX:
        raise ValueError(f"more than {LINES_MAX} lines")
    values = tuple(dict.fromkeys(parse(line) for line in lines))
    _parsed.put((parse, text), values, len(text) + _ENTRY)
    return values


def parsed(reading: Reading[str], parse: Callable[[str], T]) -> Reading[T]:
    """``reading`` with its text parsed; Unknown for an invalid text, and for an empty text.

    Some failures look like an empty 200. ``EMPTY`` tells the caller, which may read a second time.
    """
    if not isinstance(reading, Value):
        return reading
    text = reading.value
    if not text.strip():
        return EMPTY
    try:
        return Value(parse(text))
    except ValueError as error:
        shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
        return Unknown(f"not a valid value: {shown} ({str(error)[:_SHOWN]})")


def number(text: str) -> int:
    """A device number or network card: 0 to 999 in decimal digits."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"not a number from 0 to {NUMBER_MAX}")
    return int(text)


def listed_key(text: str) -> str:
    """A line of a listing, without the slash of folders. Any name is valid: ec2net reads few of
    them."""
    return text.rstrip("/")


def ipv4_address(text: str) -> IPv4Address:
    return _usable(IPv4Address(text))


def ipv6_address(text: str) -> IPv6Address:
    address = _usable(IPv6Address(text))
    if address.scope_id is not None:
        raise ValueError("an address with a zone")
    return address


def ipv4_network(text: str) -> IPv4Network:
    return _proper(IPv4Network(text), text)


def ipv6_network(text: str) -> IPv6Network:
    return _proper(IPv6Network(text), text)


Address = TypeVar("Address", IPv4Address, IPv6Address)
Network = TypeVar("Network", IPv4Network, IPv6Network)


def _usable(address: Address) -> Address:
    if (
        address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or address.is_link_local  # the link's own, and of IMDS and DNS
        or (address.version == 6 and address.ipv4_mapped)
    ):
        raise ValueError("not an address that an ENI can have")
    return address


def _proper(network: Network, text: str) -> Network:
    """``text`` is ADDRESS/LENGTH, as ipaddress also takes a bare address and an IPv4 netmask."""
    if text.rpartition("/")[2] != str(network.prefixlen):
        raise ValueError("not ADDRESS/LENGTH")
    if network.prefixlen == 0:
        raise ValueError("the whole Internet")
    _usable(network.network_address)
    return network
