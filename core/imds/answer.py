# SPDX-License-Identifier: Apache-2.0
"""The results of one HTTP exchange with IMDS: an answer, or one of these errors.

The errors (except ``ImdsDisabled``) stay inside this package: the client turns them into
``Unknown`` readings. A 404 is an answer: ``client`` reads it as ``Absent``, and ``reader`` believes
it only with a second witness.
"""

from dataclasses import dataclass

from ec2net.core.model.errors import ImdsError


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer; ``retry_after`` and ``token_ttl`` are headers as they came, or ""."""

    status: int
    body: bytes
    retry_after: str = ""
    token_ttl: str = ""


def whole_number(text: str, most: int) -> int | None:
    """A header's decimal number, but no more than ``most``; None if ``text`` is no such number.

    It may have any number of digits and of zeros before them (RFC 9110, section 8.6).
    """
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0")
    return most if len(digits) > len(str(most)) else min(int(digits or "0"), most)


class TransportError(Exception):
    """No complete answer came: reset, closed, truncated, not HTTP. Worth another try."""


class ConnectFailed(TransportError):
    """The connection could not be made: refused, unreachable, no such device, timed out."""


class BadAnswer(TransportError):
    """A complete answer that is not usable: too large, compressed. Asking again won't help."""


class ImdsDisabled(ImdsError):
    """IMDS refuses to give tokens (PUT answers 403): it is turned off for this instance."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"IMDS is disabled for this instance (403 from {where})",
            remedy="enable it: aws ec2 modify-instance-metadata-options --http-endpoint "
            "enabled --instance-id ID; ec2net keeps the configuration",
        )
