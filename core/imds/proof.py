# SPDX-License-Identifier: Apache-2.0
"""Which answers show that a candidate gives keys, and not only tokens. Pure."""

from ec2net.core.imds.answer import Answer
from ec2net.core.model.facts import Absent, Reading, Unknown, Value
from ec2net.core.model.identity import Mac

MAC_PATH = "latest/meta-data/mac"
MACS_PATH = "latest/meta-data/network/interfaces/macs/"
"""AWS, "Instance metadata categories": every instance has both."""

PROOF_PATH = MACS_PATH

BAD_KEYS = 3
"""After so many keys in a row without a usable answer, ec2net tries other candidates."""


def is_proof(answer: Answer) -> bool:
    """Whether ``answer`` to ``PROOF_PATH`` names a MAC."""
    if answer.status != 200:
        return False
    try:
        return bool([Mac.parse(line.strip()) for line in answer.body.decode("ascii").split()])
    except ValueError:
        return False


class Doubt:
    """Whether the candidate in use gives keys, by what it answered in this pass.

    Before its first value one bad key is enough. Afterwards ``BAD_KEYS`` in a row are: an ENI may lose
    several keys at once, and a single key may hang.
    """

    def __init__(self) -> None:
        self._given = False
        self._bad = 0

    def cleared(self) -> None:
        """The candidate has shown that it gives keys."""
        self._given, self._bad = True, 0

    def raised(self, path: str, reading: Reading[str]) -> bool:
        """Count ``reading`` of ``path``; whether another candidate may be better."""
        needed = path in (MAC_PATH, MACS_PATH)
        match reading:
            # no value that ec2net reads is HTML
            case Value(text) if text.strip() and "<" not in text:
                self.cleared()
                return False
            case Absent() | Value() if self._given and not needed:
                return False
        self._bad += 1
        return needed or not self._given or self._bad >= BAD_KEYS


def complete(reading: Reading[str]) -> bool:
    """Whether the candidate answered at once, so that it is cheap to ask it for the proof."""
    return not isinstance(reading, Unknown)
