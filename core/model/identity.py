# SPDX-License-Identifier: Apache-2.0
"""Names that come from outside (IMDS, argv, unit instance names), parsed once and then trusted.

Nothing unparsed reaches a path, a file or the kernel; each parser raises ``ValueError``
with what is wrong in the text.
"""

import os
import re
from dataclasses import dataclass
from enum import StrEnum

from ec2net.core.model.printable import printable as printable  # noqa: PLC0414 (exported)

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", re.ASCII)
_ENI_ID = re.compile(r"[a-z]{2,12}-[0-9a-f]{8,32}", re.ASCII)
_ANY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

LINK_NAME_MAX = 15
"""IFNAMSIZ - 1 (include/uapi/linux/if.h)."""


@dataclass(frozen=True, order=True, slots=True)
class Mac:
    """A 48-bit MAC address in the spelling of IMDS and iproute2: ``06:53:e1:d8:f9:29``."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "Mac":
        """Accept either case and IMDS's trailing slash in listings."""
        lowered = text.strip().rstrip("/").lower()
        if not _MAC.fullmatch(lowered):
            raise ValueError(f"{_quoted(text)} is not a MAC address")
        return cls(lowered)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, order=True, slots=True)
class EniId:
    """An ENI's id, such as ``eni-0304feb62015b7959``; EC2 has resources with other prefixes."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "EniId":
        if not _ENI_ID.fullmatch(text.strip()):
            raise ValueError(f"{_quoted(text)} is not an ENI id")
        return cls(text.strip())

    @classmethod
    def of_imds(cls, text: str) -> "EniId":
        """Accept an id of any form: an id names an ENI, and nothing of the network hangs on it."""
        if not _ANY_ID.fullmatch(text.strip()):
            raise ValueError(f"{_quoted(text)} is not an ENI id")
        return cls(text.strip())

    @property
    def usual(self) -> bool:
        """Whether the id has the form of EC2's ids, and so is the name of no link."""
        return _ENI_ID.fullmatch(self.text) is not None

    def __str__(self) -> str:
        return self.text


class OddName(str):
    """A link's name that is no printable text: the kernel allows any bytes but a few.

    It is the name to the last byte (those that are not UTF-8 by PEP 383), and whatever formats it
    into a message gets it escaped.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return printable(str.__str__(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def link_name(raw: str | bytes) -> str:
    """A name that the kernel gave, without loss."""
    text = os.fsdecode(raw)
    return text if text.isprintable() else OddName(text)


def parse_link_name(text: str) -> str:
    """Return ``text`` if the kernel could call a link so (dev_valid_name in net/core/dev.c).

    Alternative names of up to 127 characters are not link names: callers that accept
    those resolve them first.
    """
    if not text:
        raise ValueError("a link name cannot be empty")
    if text in (".", ".."):
        raise ValueError(f"{_quoted(text)} is not a link name")
    if any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise ValueError(f"{_quoted(text)} has a character that link names cannot have")
    if len(text.encode()) > LINK_NAME_MAX:
        raise ValueError(f"{_quoted(text)} is longer than {LINK_NAME_MAX} bytes")
    return text


def _quoted(text: str) -> str:
    """Text for a message: bounded and printable, since it may be anything."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Attached(StrEnum):
    """Whether an ENI was there when the host booted (``core/state/boot_enis.py`` remembers)."""

    BOOT = "boot"
    LATER = "later"
