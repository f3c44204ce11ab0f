# SPDX-License-Identifier: Apache-2.0
"""Kinds of configuration values: what is allowed, as data and in words, and the check.

``parse`` takes a value as TOML or JSON gives it (untrusted: any type, any size), and raises
``ValueError`` without a message: callers say what is allowed. ``plain`` is its inverse.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import accumulate
from typing import Any, TypeVar

from ec2net.core.model.identity import EniId, Mac, parse_link_name

T = TypeVar("T")

SHOWN_MAX = 60
"""Characters of a value, and of a key, that a message repeats."""

GLOB_MAX = 64
"""Characters; a link name has at most 15, sets in brackets take more."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CLOSED_SET = re.compile(r"\[!?+\]?+[^\]]*\]")
"""As fnmatch reads a set: a ``]`` at the start is a literal."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that one setting accepts."""

    allowed: str
    """In words, to follow "must be"."""
    parse: Callable[[object], Any]
    """Gives a value as the type that ``Config`` has it in; ``ValueError`` if it is not allowed."""


def _exactly(kind: type[T]) -> Callable[[object], T]:
    """Not by isinstance: a bool is an int to Python, and not to a person."""

    def parse(value: object) -> T:
        if type(value) is not kind:
            raise ValueError
        return value

    return parse


_whole, _string, _list = _exactly(int), _exactly(str), _exactly(list)

FLAG = Kind("true or false", _exactly(bool))


def text(allowed: str, convert: Callable[[str], Any]) -> Kind:
    """Text that ``convert`` takes; ``allowed`` says which."""
    return Kind(allowed, lambda value: convert(_string(value)))


def choice(words: type[StrEnum]) -> Kind:
    """One of a few words."""
    return text(_either([f'"{word}"' for word in words]), words)


def whole(low: int, high: int, taken: range = range(0), taken_by: str = "") -> Kind:
    """A whole number from ``low`` to ``high``, but none from ``taken``."""

    def parse(value: object) -> int:
        number = _whole(value)
        if not low <= number <= high or number in taken:
            raise ValueError
        return number

    but = f", but not {taken[0]} to {taken[-1]} ({taken_by})" if taken else ""
    return Kind(f"a whole number from {low} to {high}{but}", parse)


def seconds(low: float, high: float) -> Kind:
    """A time from ``low`` to ``high`` seconds; TOML's ``inf`` and ``nan`` are outside."""

    def parse(value: object) -> float:
        if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
            raise ValueError
        return float(value)  # type: ignore[arg-type]

    return Kind(f"a number of seconds from {low:g} to {high:g}", parse)


def choice_or_whole(words: type[StrEnum], number: Kind) -> Kind:
    """One of a few words, or a number."""
    word = choice(words)
    listed = ", ".join(f'"{one}"' for one in words)
    return Kind(
        f"{listed} or {number.allowed}",
        lambda value: (word if isinstance(value, str) else number).parse(value),
    )


def choice_or_flag(words: type[StrEnum]) -> Kind:
    """One of a few words, or true or false."""
    word = choice(words)
    listed = ", ".join(f'"{one}"' for one in words)
    return Kind(
        f"{listed}, {FLAG.allowed}",
        lambda value: (word if isinstance(value, str) else FLAG).parse(value),
    )


def several(of: Kind, *, one_will_do: bool = False, may_be_empty: bool = False) -> Kind:
    """A list without duplicates, in the given order.

    ``one_will_do``: a single value counts as a list of one.
    """

    def parse(value: object) -> tuple[Any, ...]:
        items = [value] if one_will_do and not isinstance(value, list) else _list(value)
        if not items and not may_be_empty:
            raise ValueError
        return tuple(dict.fromkeys(of.parse(item) for item in items))

    least = "" if may_be_empty else " of at least one"
    listed = f"a list{least}, each {of.allowed}"
    return Kind(f"{of.allowed}, or a list of these" if one_will_do else listed, parse)


def matching(pattern: str, allowed: str) -> Kind:
    """Text that is all of the regular expression ``pattern``."""
    expression = re.compile(pattern, re.ASCII)

    def convert(text: str) -> str:
        if not expression.fullmatch(text):
            raise ValueError
        return text

    return text(allowed, convert)


def _cidr(text: str) -> IPv4Network | IPv6Network:
    if "/" not in text or "%" in text:
        raise ValueError
    return ip_network(text)


def _source(text: str) -> IPv4Network | IPv6Network:
    if "%" in text:
        raise ValueError
    network = ip_network(text)
    if (
        not network.prefixlen
        or network.is_loopback
        or network.is_link_local
        or network.is_multicast
    ):
        raise ValueError
    return network


def _glob(text: str) -> str:
    if not any(c in "*?[" for c in text):
        return parse_link_name(text)
    if len(text) > GLOB_MAX or "[" in _CLOSED_SET.sub("", text):
        raise ValueError
    if any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise ValueError
    return text


MAC = text('a MAC address, such as "06:53:e1:d8:f9:29"', Mac.parse)
ENI_ID = text('an ENI id, such as "eni-0304feb62015b7959"', EniId.parse)
CIDR = text('a CIDR with no host bits set, such as "10.0.16.0/20" or "2001:db8::/56"', _cidr)
SOURCE = text(
    'an address, or a CIDR with no host bits set, such as "10.0.16.5" or "10.0.16.16/28"', _source
)
"""Networks that can be a source of packets: not everything, loopback, link-local or multicast."""
GLOB = text('a link name, or a glob over link names, such as "ens*"', _glob)


def plain(value: object) -> Any:
    """A typed value as JSON and TOML have it; what the kind's ``parse`` takes."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | float):
        return value
    return str(value)


def toml_value(value: object) -> str:
    """A plain value in TOML's spelling. Bounded: long ones are cut, so for people only."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # str() refuses huge numbers (CPython gh-95778), and TOML's 0x... can be huge
        return str(value) if value.bit_length() <= 64 else f"a {value.bit_length()}-bit number"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        shown = ["[...]" if isinstance(v, list) else toml_value(v) for v in value[:8]]
        return f"[{', '.join(shown + ['...'] * (len(value) > 8))}]"
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    return _cut(str(value))


def toml_key(key: str) -> str:
    """One part of a dotted key in TOML's spelling, cut if it is long."""
    return key if _BARE_KEY.fullmatch(key) and len(key) <= SHOWN_MAX else _quoted(key)


def _quoted(text: str) -> str:
    """Cut by how long it is when it is spelt: an escape has up to twelve characters."""
    # DEL is the only control character that JSON leaves unescaped
    spelt = [json.dumps(char)[1:-1].replace("\x7f", "\\u007f") for char in text[: SHOWN_MAX + 1]]
    ends = list(accumulate(map(len, spelt), initial=0))
    if ends[-1] > SHOWN_MAX:
        fits = sum(end <= SHOWN_MAX - 3 for end in ends[1:])
        spelt = [*spelt[:fits], "..."]
    return f'"{"".join(spelt)}"'


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
