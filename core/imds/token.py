# SPDX-License-Identifier: Apache-2.0
"""IMDSv2 session tokens, and where the good candidate and its token are kept between processes."""

import logging
import time
from dataclasses import dataclass, field

from ec2net.core.imds.answer import whole_number
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.model.errors import StateError
from ec2net.core.state.run_dir import RunDir

TTL_SECONDS = 21600
"""The longest that IMDS grants (AWS, "Use the Instance Metadata Service")."""

MARGIN_SECONDS = 300
"""Renewed so long before it ends (a tenth of its life if that is less): no pass meets the end."""

FILE = "imds-token.json"

log = logging.getLogger("ec2net.imds")


@dataclass(frozen=True, slots=True)
class Token:
    """``expires``: use it until then (minus the margin).

    CLOCK_BOOTTIME, seconds: it counts suspends, and setting the clock does not move it.
    """

    text: str = field(repr=False)
    expires: float

    @classmethod
    def parse(cls, body: bytes, granted: str) -> "Token":
        """From the answer to the PUT: its body, and its header with the granted seconds.

        Raises ``ValueError`` for a token that cannot be part of a header.
        """
        text = body.decode("ascii").strip()
        if not 0 < len(text) <= 4096 or not text.isprintable() or " " in text:
            raise ValueError("not a token")
        known = whole_number(granted, TTL_SECONDS)
        seconds = TTL_SECONDS if known is None else known
        return cls(text, _now() + seconds - min(MARGIN_SECONDS, seconds / 10))

    def fresh(self) -> bool:
        # No more than the TTL ahead: a file that outlived its boot is not believed.
        return 0 < self.expires - _now() <= TTL_SECONDS


@dataclass(frozen=True, slots=True)
class Remembered:
    """The candidate and token that worked last, in any process."""

    endpoint: str
    device: str
    token: Token

    def fits(self, candidate: Candidate) -> bool:
        return (self.endpoint, self.device) == (str(candidate.endpoint), candidate.device)


class TokenStore:
    """``imds-token.json`` in the state directory, 0600; without a directory, nothing is kept.

    Losing it costs one PUT, so neither reading nor writing ever fails a pass.
    """

    def __init__(self, directory: RunDir | None) -> None:
        self._directory = directory

    def load(self) -> Remembered | None:
        data = self._directory.read(FILE) if self._directory is not None else None
        match data:
            case {
                "token": str(text),
                "expires": float() | int() as expires,
                "endpoint": str(endpoint),
                "device": str(device),
            } if text.isascii() and text.isprintable():
                return Remembered(endpoint, device, Token(text, float(expires)))
        return None

    def save(self, candidate: Candidate, token: Token) -> Remembered:
        """Keep it; also returns it as ``load`` will."""
        remembered = Remembered(str(candidate.endpoint), candidate.device, token)
        if self._directory is not None:
            data = {
                "token": token.text,
                "expires": round(token.expires, 1),
                "endpoint": remembered.endpoint,
                "device": remembered.device,
            }
            try:
                self._directory.write(FILE, data, mode=0o600)
            except StateError as error:
                log.debug("the token was not saved: %s", error)
        return remembered


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
