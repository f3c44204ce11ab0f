# SPDX-License-Identifier: Apache-2.0
"""The IMDS client: every key reads as a value, absent or unknown, within bounds.

IMDSv2 only. How long one key may take, when it is tried again, and when the rest of a pass
no longer asks, is decided here; connection and token are the session's.
"""

import logging
from collections.abc import Sequence
from typing import Self

from ec2net.core.imds.answer import Answer, BadAnswer, ImdsDisabled, TransportError
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.imds.proof import Doubt, complete
from ec2net.core.imds.retry import Patience, backoff, is_busy, retry_after
from ec2net.core.imds.session import BudgetSpent, Session
from ec2net.core.model.errors import DeadlineExceeded, ImdsError
from ec2net.core.model.facts import Absent, Reading, Unknown, Value
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

TRIES = 3

KEY_SECONDS = 3.0
"""All tries of one key, and at most a third of what the pass has left: a key that hangs leaves
time for the others, and the circuit leaves time for what comes after reading."""

CIRCUIT_KEYS = 3
"""After so many keys in a row without any answer, ec2net reads no further keys in this pass."""

REQUEST_BUDGET = 512
"""Per pass: three times what a first pass over 15 ENIs needs. IMDS shares 1024 packets per
second and ENI with DNS and NTP (AWS, "VPC DNS quotas")."""

ENI_BUDGET = 32
"""Requests per pass for each ENI, if that is more in all: three times the listing and nine keys."""

log = logging.getLogger("ec2net.imds")


class ImdsClient:
    """Reads keys of IMDS. For one thread. Close it, or use it as a context manager.

    The request budget, the circuit and the time waited at IMDS's request count per *pass*. The
    connection and the token outlive the pass.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        state: RunDir | None = None,
        version: str = "0",
        budget: int = REQUEST_BUDGET,
    ) -> None:
        """``state`` keeps token and good candidate for later processes; None keeps nothing.

        ``version`` goes into the user agent, ``budget`` is in HTTP requests per pass.
        """
        self._session = Session(candidates, state=state, version=version, budget=budget)
        self._budget = budget
        self._reset()

    def expect(self, enis: int) -> None:
        """Have this pass ask for so many ENIs: its budget of requests grows with them."""
        if (more := enis * ENI_BUDGET - self._budget) > 0:
            self._session.allow(more)
            self._budget += more

    def new_pass(self, candidates: Sequence[Candidate] | None = None) -> None:
        """Begin a pass, with other candidates if links came or went."""
        self._session.new_pass(candidates)
        self._reset()

    def _reset(self) -> None:
        self._patience = Patience()
        self._doubt = Doubt()
        self._tried_others = False
        self._silent_keys = 0
        self._busy_keys = 0
        self.heard = False
        """Whether IMDS has answered in this pass, whatever it was."""
        self._given_up: ImdsError | None = None

    @property
    def requests_made(self) -> int:
        """HTTP requests since the client was made, those for tokens included."""
        return self._session.requests_made

    def answers(self, path: str, deadline: Deadline) -> bool:
        """Whether the candidate that answered in this pass also answers a new connection.

        One request for ``path``, neither repeated nor sent in another way, since the question is
        whether the way still works. An error that IMDS answers counts as well.
        """
        return self._session.answers(path, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later ``get`` opens another."""
        self._session.close()

    def get(self, path: str, deadline: Deadline) -> Reading[str]:
        """Read ``path``, such as ``latest/meta-data/mac``.

        Raises ``ImdsError`` if no candidate answers or IMDS is disabled (then for every key of
        the pass), and whatever interrupts the deadline. The deadline's end is an Unknown.
        """
        if self._given_up is not None:
            raise self._given_up
        if self._silent_keys >= CIRCUIT_KEYS:
            return Unknown(f"not asked: IMDS did not answer for {CIRCUIT_KEYS} keys in a row")
        try:
            reading = self._try(path, deadline)
            if self._doubt.raised(path, reading) and self._elsewhere(reading, deadline):
                reading = self._try(path, deadline)
        except BudgetSpent:
            reading = Unknown(f"not asked: the request budget of {self._budget} is used up")
        except DeadlineExceeded as error:
            reading = self._silence(error.problem)
        except ImdsError as error:
            if isinstance(error, ImdsDisabled) or not self.heard:
                self._given_up = error
                log.debug("%s: %s; no further try in this pass", path, error)
                raise
            reading = self._silence(error.problem)
        log.debug("%s: %s", path, _outcome(reading))
        return reading

    def _elsewhere(self, reading: Reading[str], deadline: Deadline) -> bool:
        """Whether another candidate took the place of one that gives tokens and no keys.

        The others are tried once in a pass: IMDS may be overloaded, and more requests make it worse.
        """
        if self._tried_others or deadline.expired():
            return False
        if complete(reading) and self._session.gives_keys(deadline):
            self._doubt.cleared()
            return False
        self._tried_others = True
        if not self._session.leave(deadline):
            return False
        self._doubt.cleared()
        self._patience = Patience()
        self._silent_keys = self._busy_keys = 0
        return True

    def _try(self, path: str, deadline: Deadline) -> Reading[str]:
        # Retries make an overload worse: one try per key, and no waiting, until one succeeds.
        tries = TRIES if self._busy_keys < CIRCUIT_KEYS else 1
        share: Deadline | None = None
        failure, answered = "not asked", False
        for attempt in range(tries):
            asked = self._patience.due()
            pause = max(asked, backoff(attempt))
            if not self._may_wait(pause, asked, deadline, last=tries == 1):
                why = f"IMDS asks to wait {asked:.3g} s" if asked else "no time left to retry"
                failure, answered = f"{failure}; {why}", answered or asked > 0
                break
            if pause:
                log.debug("%s: %s; next try in %.2f s", path, failure, pause)
                deadline.sleep(pause)
            try:
                if share is None or not self._session.proven:
                    self._session.connect(deadline)
                    share = _share(path, deadline)
                answer = self._session.fetch(path, share)
            except BadAnswer as error:
                return Unknown(str(error))
            except (TransportError, DeadlineExceeded) as error:
                failure, answered = str(error), False
                self._session.failed(error)
                if self._session.proven and share is not None and share.expired():
                    break
                continue
            self.heard = answered = True
            self._silent_keys = 0
            if not is_busy(answer.status):
                self._busy_keys = 0
                return _reading(answer)
            failure = f"HTTP {answer.status}"
            self._patience.asked(retry_after(answer.retry_after))
            # The pause that IMDS requests does not count against the key.
            share = None
        return self._busy(failure) if answered else self._silence(failure)

    def _may_wait(self, pause: float, asked: float, deadline: Deadline, *, last: bool) -> bool:
        """Whether to wait for ``pause``, of which IMDS asks for ``asked`` seconds."""
        if pause >= deadline.remaining():
            return False
        return not asked or (not last and self._patience.grants(asked))

    def _busy(self, reason: str) -> Unknown:
        """A key ends with an IMDS that cannot answer now: one step towards a single try per key."""
        self._busy_keys += 1
        return Unknown(reason)

    def _silence(self, reason: str) -> Unknown:
        """A key ends without an answer: one step towards opening the circuit."""
        self._silent_keys += 1
        if self._silent_keys == CIRCUIT_KEYS:
            log.debug(
                "no answer for %d keys in a row: ec2net does not read the remaining keys",
                CIRCUIT_KEYS,
            )
        return Unknown(reason)


def _share(path: str, deadline: Deadline) -> Deadline:
    return deadline.within(min(KEY_SECONDS, deadline.remaining() / 3), path)


def _reading(answer: Answer) -> Reading[str]:
    if answer.status == 404:
        return Absent()
    if answer.status != 200:
        redirect = ", a redirect, is not followed" if 300 <= answer.status < 400 else ""
        return Unknown(f"HTTP {answer.status}{redirect}")
    try:
        text = answer.body.decode("ascii")
    except UnicodeDecodeError:
        return Unknown("not a valid value: not ASCII")
    if not text.translate(_WHITESPACE).isprintable():
        return Unknown("not a valid value: control characters")
    return Value(text)


_WHITESPACE = dict.fromkeys(map(ord, "\t\r\n"))


def _outcome(reading: Reading[str]) -> str:
    """For the log. Values are logged by the parser, not here: some keys hold secrets."""
    match reading:
        case Value():
            return "value"
        case Absent():
            return "absent"
        case Unknown(reason):
            return f"unknown: {reason}"
