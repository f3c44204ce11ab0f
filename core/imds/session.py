# SPDX-License-Identifier: Apache-2.0
"""The session with IMDS: which candidate answers, the token, one request at a time within a budget.

requests is imported after the first connection succeeds.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ec2net.core.imds.answer import Answer, BadAnswer, ConnectFailed, ImdsDisabled, TransportError
from ec2net.core.imds.bounded_socket import BoundedSocket, connect
from ec2net.core.imds.endpoint import Candidate
from ec2net.core.imds.proof import PROOF_PATH, is_proof
from ec2net.core.imds.race import NobodyAnswers, race
from ec2net.core.imds.retry import backoff, is_busy, retry_after
from ec2net.core.imds.token import TTL_SECONDS, Token, TokenStore
from ec2net.core.kernel.link_events import link_index
from ec2net.core.model.errors import DeadlineExceeded, ImdsError
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

if TYPE_CHECKING:
    from ec2net.core.imds.transport import Transport

FIND_SECONDS = 2.0
"""To find a candidate that answers. With ``UNPROVEN_SECONDS`` before it: 3 s in all (R19)."""

UNPROVEN_SECONDS = 1.0
"""For the first request to the remembered candidate, which may no longer answer."""

FINDS_PER_PASS = 2
"""One at the start, one more when that candidate goes bad."""

REQUEST_SECONDS = 2.0
"""A lost packet is sent again after 0.2 s, 0.6 s, 1.4 s; beyond that IMDS hangs."""

OTHERS = 16
"""At most so many other candidates are asked for a key in a pass: two requests each, and IMDS may be
only overloaded."""

TOKEN_TRIES = 5
"""For the race's probe; more than a key has, since nothing can be read without a token."""

log = logging.getLogger("ec2net.imds")


class BudgetSpent(Exception):
    """The pass has made all requests that it may make."""


class Session:
    """Sends requests with a valid token to the candidate that answers."""

    def __init__(
        self, candidates: Sequence[Candidate], *, state: RunDir | None, version: str, budget: int
    ) -> None:
        self.requests_made = 0
        self._store = TokenStore(state)
        self._remembered = self._store.load()
        self._user_agent = f"ec2net/{version}"
        self._budget = budget
        self._candidates = tuple(candidates)
        self._transport: Transport | None = None
        self._current: Candidate | None = None
        """The last candidate, connected or not."""
        self._token: Token | None = None
        self.new_pass(None)

    def new_pass(self, candidates: Sequence[Candidate] | None) -> None:
        """Renew the budget; take other candidates if there are."""
        if candidates is not None:
            self._candidates = tuple(candidates)
            if self._transport is not None and self._transport.candidate not in candidates:
                self.close()
        self._requests_left = self._budget
        self._finds_left = FINDS_PER_PASS
        self._doubted = False
        self.proven = False
        """Whether the current candidate has answered in this pass."""
        self._last: Candidate | None = None

    def allow(self, more: int) -> None:
        """Allow this number of further requests, in this pass and in later ones."""
        self._budget += more
        self._requests_left += more

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connect(self, deadline: Deadline) -> None:
        """Have a connection and a token. Costs nothing if they are there.

        Raises ``ImdsError`` if no candidate answers, ``TransportError`` if this pass has looked
        often enough, ``DeadlineExceeded``.
        """
        if self._transport is not None:
            return
        if self._finds_left == 0:
            raise ConnectFailed(
                "the connection was lost, and ec2net already searched for IMDS in this pass"
            )
        self._finds_left -= 1
        order = self._candidates
        if (last := self._remembered) is not None:
            order = tuple(sorted(order, key=lambda candidate: not last.fits(candidate)))
        try:
            race(order, self._probe, deadline.within(FIND_SECONDS, "finding IMDS"))
        except NobodyAnswers as error:
            if deadline.expired():
                raise deadline.exceeded() from error
            raise ImdsError(
                f"no IMDS endpoint answers: {error}",
                remedy="check that IMDS is enabled and that no route or firewall hides it; "
                "ec2net keeps the configuration",
            ) from error

    def fetch(self, path: str, deadline: Deadline) -> Answer:
        """GET ``path``; a token that IMDS no longer takes is renewed once.

        Raises ``TransportError``, ``DeadlineExceeded``, ``BudgetSpent``, ``ImdsDisabled``.
        """
        transport = self._transport
        if transport is None:
            raise ConnectFailed("not connected")
        token = self._token
        if token is None or not token.fresh():
            token = self._renew(transport, deadline)
        answer = self._get(transport, path, token, deadline)
        # A 403 may mean that IMDS was disabled meanwhile: once in a pass, the PUT decides.
        doubtful = answer.status == 403 and not self._doubted
        if answer.status == 401 or doubtful:
            self._doubted = self._doubted or doubtful
            log.debug("HTTP %d: renewing the token", answer.status)
            token = self._renew(transport, deadline)
            answer = self._get(transport, path, token, deadline)
        self.proven = True
        self._last = transport.candidate
        return answer

    def gives_keys(self, deadline: Deadline) -> bool:
        """Whether the current candidate answers a key that every instance has.

        Raises ``BudgetSpent``, ``ImdsDisabled``, and what interrupts the deadline.
        """
        try:
            share = deadline.within(UNPROVEN_SECONDS, PROOF_PATH)
            return is_proof(self.fetch(PROOF_PATH, share))
        except (TransportError, DeadlineExceeded):
            return False

    def leave(self, deadline: Deadline) -> bool:
        """Change to another candidate that gives a token and a key; whether there is one.

        The one that is taken is remembered in the place of the current one. If no other is better, the
        current one and its token stay: while IMDS is overloaded, a new token may not be given. Raises ``BudgetSpent``, and what interrupts the deadline.
        """
        left = self._current
        others = [candidate for candidate in self._candidates if candidate != left]
        try:
            race(others[:OTHERS], self._prove, deadline.within(FIND_SECONDS, "finding IMDS"))
        except (NobodyAnswers, ImdsDisabled) as error:
            log.debug("%s has no keys, and no other endpoint has any: %s", left, error)
            return False
        log.debug("%s has no keys: switching to %s", left, self._current)
        return True

    def answers(self, path: str, deadline: Deadline) -> bool:
        """One GET by a new connection to the candidate that answered last in this pass.

        Every other program would use a new connection as well. A failure because the link is gone
        says nothing about the former way.
        """
        from ec2net.core.imds.transport import Transport

        if (candidate := self._last) is None or self._token is None:
            return False
        if candidate.device and link_index(candidate.device) is None:
            return True
        self.close()
        self.requests_made += 1
        headers = {"X-aws-ec2-metadata-token": self._token.text}
        try:
            connection = connect(candidate, deadline)
            self._transport = Transport(connection, user_agent=self._user_agent)
            self._transport.request("GET", path, headers, deadline)
        except BadAnswer:
            return True
        except (TransportError, DeadlineExceeded) as error:
            log.debug("%s does not answer any more: %s", candidate, error)
            self.close()
            return False
        return True

    def failed(self, error: Exception) -> None:
        """Draw the conclusion from an error of ``fetch``: keep the candidate or look for another.

        One that has answered in this pass is kept, and is connected again, unless it refuses.
        """
        if self.proven and not isinstance(error, ConnectFailed):
            return
        log.debug("%s: not used any more: %s", self._transport and self._transport.candidate, error)
        self.close()
        self._remembered = None
        self.proven = False

    def _probe(self, connection: BoundedSocket, share: Deadline) -> None:
        """For the race: whether this candidate answers. Its token is the proof, or the stored one."""
        self._try(connection, share, key=False)

    def _prove(self, connection: BoundedSocket, share: Deadline) -> None:
        """For the race after a candidate gave only tokens: a key is the proof."""
        self._try(connection, share, key=True)

    def _try(self, connection: BoundedSocket, share: Deadline, *, key: bool) -> None:
        """Take this candidate if it gives a token, and (``key``) what every instance has."""
        from ec2net.core.imds.transport import Transport

        candidate = connection.candidate
        transport = Transport(connection, user_agent=self._user_agent)
        try:
            last = self._remembered
            if last is not None and last.fits(candidate) and last.token.fresh():
                token = last.token
                log.debug("%s: used again, with the saved token", candidate)
            else:
                token = self._new_token(transport, share, tries=TOKEN_TRIES)
                if key:
                    answer = self._get(transport, PROOF_PATH, token, share)
                    if not is_proof(answer):
                        raise TransportError(f"no keys: HTTP {answer.status}")
                self._keep(candidate, token)
                self.proven = True
        except BaseException:
            transport.close()
            raise
        self.close()
        self._token, self._transport, self._current = token, transport, candidate

    def _renew(self, transport: "Transport", deadline: Deadline) -> Token:
        """A new token for the current candidate. Raises as ``_new_token``."""
        self._token = self._new_token(transport, deadline)
        self._keep(transport.candidate, self._token)
        return self._token

    def _keep(self, candidate: Candidate, token: Token) -> None:
        self._remembered = self._store.save(candidate, token)

    def _new_token(self, transport: "Transport", deadline: Deadline, *, tries: int = 1) -> Token:
        """PUT for a token. Raises ``ImdsDisabled``, ``TransportError``, ``DeadlineExceeded``."""
        failure, asked = "", 0.0
        for attempt in range(tries):
            pause = max(asked, backoff(attempt))
            if pause and pause >= deadline.remaining():
                # Without ec2net's own pause, which is random: the same problem must have the same
                # text.
                when = f", retry in {asked:.3g} s" if asked else ""
                raise TransportError(f"no token: {failure}{when}")
            deadline.sleep(pause)
            try:
                answer = self._send(
                    transport,
                    "PUT",
                    "latest/api/token",
                    {"X-aws-ec2-metadata-token-ttl-seconds": str(TTL_SECONDS)},
                    deadline,
                )
            except (ConnectFailed, BadAnswer):
                raise
            except TransportError as error:
                failure, asked = str(error), 0.0
                continue
            if answer.status == 200:
                break
            if answer.status == 403:
                raise ImdsDisabled(str(transport.candidate))
            failure, asked = f"HTTP {answer.status}", retry_after(answer.retry_after)
            if not is_busy(answer.status):
                raise TransportError(f"no token: {failure}")
        else:
            raise TransportError(f"no token: {failure}")
        try:
            token = Token.parse(answer.body, answer.token_ttl)
        except ValueError as error:
            raise TransportError("IMDS returned an invalid token") from error
        log.debug("%s: new token", transport.candidate)
        return token

    def _get(self, transport: "Transport", path: str, token: Token, deadline: Deadline) -> Answer:
        headers = {"X-aws-ec2-metadata-token": token.text}
        return self._send(transport, "GET", path, headers, deadline)

    def _send(
        self,
        transport: "Transport",
        method: str,
        path: str,
        headers: dict[str, str],
        deadline: Deadline,
    ) -> Answer:
        seconds = REQUEST_SECONDS if self.proven else UNPROVEN_SECONDS
        share = deadline.within(seconds, f"{method} {path}")
        if share.expired():
            raise share.exceeded()
        if self._requests_left == 0:
            raise BudgetSpent
        self._requests_left -= 1
        self.requests_made += 1
        return transport.request(method, path, headers, share)
