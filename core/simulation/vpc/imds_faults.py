# SPDX-License-Identifier: Apache-2.0
"""The faults of IMDS, as values: which requests are hit, how often, and by which effect."""

import math
import re
import threading
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Status:
    """An HTTP status instead of the answer: 404, 429, 503; 403 everywhere is 'IMDS disabled'."""

    code: int
    retry_after: int | None = None
    """Seconds for a ``Retry-After`` header."""


@dataclass(frozen=True, slots=True)
class Hang:
    """The request is read and never answered."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The answer, headers included, comes in single bytes; each read of the client succeeds."""

    bytes_per_second: float = 1.0
    headers_at_once: bool = False


@dataclass(frozen=True, slots=True)
class Garbage:
    """Status 200 with this body."""

    body: bytes = b"<!DOCTYPE html>\n<h1>It works!</h1>\n\xff\xfe\x00[Match]\nName=*\n"


@dataclass(frozen=True, slots=True)
class Oversized:
    """Status 200 with a body of this many bytes."""

    size: int = 8 << 20


@dataclass(frozen=True, slots=True)
class EmptyBody:
    """Status 200 with no body."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """The connection ends after half of the body that was announced."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset instead of an answer."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Status 302 to elsewhere."""

    location: str = "http://192.0.2.80/latest/meta-data/"


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer comes this many seconds late. Adds to other faults."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TokenSpent:
    """A token ends with the request that used it."""


@dataclass(frozen=True, slots=True)
class TokenLife:
    """Tokens live this many seconds only, whatever was asked for and announced."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ListingAdds:
    """A directory lists a name that it does not have."""

    name: str


@dataclass(frozen=True, slots=True)
class ListingOmits:
    """A directory does not list a name that it has; reading it still works."""

    name: str


@dataclass(frozen=True, slots=True)
class OnlyFrom:
    """Requests from any other source address are never answered."""

    sources: frozenset[IPv4Address | IPv6Address]


Effect: TypeAlias = (
    Status
    | Hang
    | Drip
    | Garbage
    | Oversized
    | EmptyBody
    | Truncated
    | Reset
    | Redirect
    | Delay
    | TokenSpent
    | TokenLife
    | ListingAdds
    | ListingOmits
    | OnlyFrom
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An effect on those requests whose path ``path`` (a regular expression) is found in.

    ``rate`` is the share of them that is hit: 0.5 means every second one, beginning with
    the second; 1 all of them. After ``count`` hits the fault is over (None: never).
    ``version`` limits it to the IPv4 (4) or the IPv6 (6) endpoint.
    """

    effect: Effect
    path: str = ""
    rate: float = 1.0
    count: int | None = None
    methods: frozenset[str] = frozenset({"GET", "PUT"})
    version: int | None = None


@dataclass(eq=False)
class ActiveFault:
    """A fault that is switched on, and how many requests it has met and hit."""

    fault: Fault
    met: int = 0
    hits: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def strikes(self, method: str, path: str, source: IPv4Address | IPv6Address) -> bool:
        """Whether this request is hit; counts it."""
        fault = self.fault
        if method not in fault.methods or not re.search(fault.path, path):
            return False
        if fault.version not in (None, source.version):
            return False
        if isinstance(fault.effect, OnlyFrom) and source in fault.effect.sources:
            return False
        with self._lock:
            before = math.floor(self.met * fault.rate)
            self.met += 1
            if math.floor(self.met * fault.rate) == before:
                return False
            if fault.count is not None and self.hits >= fault.count:
                return False
            self.hits += 1
        return True
