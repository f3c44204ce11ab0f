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
from typing import Any, Protocol

from ec2net.core.model.identity import EniId, Mac, parse_link_name

SHOWN_MAX = 60
"""Characters of a value, and of a key, that a message repeats."""

GLOB_MAX = 64
"""Characters; a link name has at most 15, sets in brackets take more."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CLOSED_SET = re.compile(r"\[!?+\]?+[^\]]*\]")
"""As fnmatch reads a set: a ``]`` at its start stands for itself."""


class NotAllowed(ValueError):
    """A value is not what its kind allows."""


class Kind(Protocol):
    """What one setting may hold."""

    @property
    def allowed(self) -> str:
        """In words, to follow "must be"."""

    def parse(self, value: object) -> Any:
        """``value`` as the type that ``Config`` has it in; ``ValueError`` if not allowed."""


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    @property
    def allowed(self) -> str:
        return "true or false"

    def parse(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise NotAllowed
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: type[StrEnum]

    @property
    def allowed(self) -> str:
        return _either([f'"{word}"' for word in self.words])

    def parse(self, value: object) -> StrEnum:
        if not isinstance(value, str):
            raise NotAllowed
        return self.words(value)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``low`` to ``high``, but none from ``taken``."""

    low: int
    high: int
    taken: range = range(0)
    taken_by: str = ""

    @property
    def allowed(self) -> str:
        text = f"a whole number from {self.low} to {self.high}"
        if self.taken:
            text += f", but not {self.taken[0]} to {self.taken[-1]} ({self.taken_by})"
        return text

    def parse(self, value: object) -> int:
        # not isinstance: a bool is an int to Python, and not to a person
        if type(value) is not int or not self.low <= value <= self.high or value in self.taken:
            raise NotAllowed
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time from ``low`` to ``high`` seconds; TOML's ``inf`` and ``nan`` are outside."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        return f"a number of seconds from {self.low:g} to {self.high:g}"

    def parse(self, value: object) -> float:
        if type(value) not in (int, float) or not self.low <= value <= self.high:  # type: ignore[operator]
            raise NotAllowed
        return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ChoiceOrWhole:
    """One of a few words, or a number."""

    choice: Choice
    whole: Whole

    @property
    def allowed(self) -> str:
        words = ", ".join(f'"{word}"' for word in self.choice.words)
        return f"{words} or {self.whole.allowed}"

    def parse(self, value: object) -> StrEnum | int:
        return self.choice.parse(value) if isinstance(value, str) else self.whole.parse(value)


@dataclass(frozen=True, slots=True)
class Text:
    """Text that ``convert`` takes; ``allowed`` says which."""

    allowed: str
    convert: Callable[[str], Any]

    def parse(self, value: object) -> Any:
        if not isinstance(value, str):
            raise NotAllowed
        return self.convert(value)


@dataclass(frozen=True, slots=True)
class Several:
    """A list; without duplicates, in the order given."""

    of: Kind
    one_will_do: bool = False
    """Whether a value that is no list stands for a list of one."""
    may_be_empty: bool = False

    @property
    def allowed(self) -> str:
        if self.one_will_do:
            return f"{self.of.allowed}, or a list of such"
        return f"a list{'' if self.may_be_empty else ' of at least one'}, each {self.of.allowed}"

    def parse(self, value: object) -> tuple[Any, ...]:
        if self.one_will_do and not isinstance(value, list):
            value = [value]
        if not isinstance(value, list) or not (value or self.may_be_empty):
            raise NotAllowed
        return tuple(dict.fromkeys(self.of.parse(item) for item in value))


def matching(pattern: str, allowed: str) -> Text:
    """Text that is all of the regular expression ``pattern``."""
    expression = re.compile(pattern, re.ASCII)

    def convert(text: str) -> str:
        if not expression.fullmatch(text):
            raise NotAllowed
        return text

    return Text(allowed, convert)


def _cidr(text: str) -> IPv4Network | IPv6Network:
    if "/" not in text or "%" in text:
        raise NotAllowed
    return ip_network(text)


def _glob(text: str) -> str:
    if not any(c in "*?[" for c in text):
        return parse_link_name(text)
    if len(text) > GLOB_MAX or "[" in _CLOSED_SET.sub("", text):
        raise NotAllowed
    if any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise NotAllowed
    return text


MAC = Text('a MAC address, such as "06:53:e1:d8:f9:29"', Mac.parse)
ENI_ID = Text('an ENI id, such as "eni-0304feb62015b7959"', EniId.parse)
CIDR = Text('a CIDR with no host bits set, such as "10.0.16.0/20" or "2001:db8::/56"', _cidr)
GLOB = Text('a link name, or a glob over link names, such as "ens*"', _glob)


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
    # DEL is the one control character that JSON leaves as it is
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
