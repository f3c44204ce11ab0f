# SPDX-License-Identifier: Apache-2.0
"""The facts from IMDS, with the facts known at that time: a pass may use them a while later."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ec2net.core.decide.last_known import with_last_known_good
from ec2net.core.imds.source import Imds
from ec2net.core.model.errors import Ec2netError, ImdsError
from ec2net.core.model.facts import ImdsFacts, Link, Unknown
from ec2net.core.model.identity import Mac
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.last_known import LastKnown

if TYPE_CHECKING:  # a pass that does not read IMDS needs no reader
    from ec2net.core.imds.reader import Listings


@dataclass(frozen=True, slots=True)
class ImdsReading:
    """One reading of IMDS."""

    imds: ImdsFacts
    indices: Mapping[Mac, Collection[int]]
    """Indices of all links with an ENI's MAC."""
    known: LastKnown
    """The facts that earlier passes had stored."""
    problems: tuple[Ec2netError, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    """How long it took."""

    @property
    def facts(self) -> ImdsFacts:
        """With the last known good in place of what is unknown."""
        return with_last_known_good(self.imds, self.known.of(self.indices), self.known.primary)

    def still_true(self, known: LastKnown, links: Mapping[Mac, tuple[Link, ...]]) -> "ImdsReading":
        """Without outdated facts: those of links that appeared, disappeared or were replaced since.

        Facts that another pass has stored since are newer than this reading.
        """
        now = indices(links)
        before, past = self.known.of(self.indices), known.of(now)
        enis = tuple(
            eni
            for eni in self.imds.enis
            if self.indices.get(eni.mac) == now.get(eni.mac)
            and before.get(eni.mac) == past.get(eni.mac)
        )
        imds = replace(self.imds, enis=enis)
        if known.primary != self.known.primary:
            imds = replace(imds, primary=Unknown("another pass has stored a newer value"))
        return replace(self, imds=imds, indices=now, known=known)


def read_imds(
    imds: Imds | None,
    known: LastKnown,
    links: Mapping[Mac, tuple[Link, ...]],
    only: Collection[Mac] | None,
    deadline: Deadline,
    listings: "Listings | None",
) -> ImdsReading:
    """Read IMDS for ``only`` these ENIs, or all. Without ``imds``, or with none of them, it is not
    asked: the last known facts stay in force. IMDS also says whether it still lists an ENI
    without a link. An unreadable fact is a problem of the outcome."""
    began = time.monotonic()
    there = indices(links)
    wanted = set(links) if only is None else set(only) & set(links)
    facts = ImdsFacts(Unknown("IMDS was not asked"), Unknown("IMDS was not asked"), ())
    problems: tuple[Ec2netError, ...] = ()
    requests = 0
    if imds is not None and (only is None or only):
        from ec2net.core.imds.reader import read_facts
        from ec2net.core.imds.unread import unread

        imds.expect(len(links))
        before = imds.requests_made
        try:
            facts = read_facts(imds, wanted, known.of(there), known.primary, deadline, listings)
        except ImdsError as error:
            problems = (error,)
            unknown = Unknown(error.problem)
            facts = ImdsFacts(unknown, unknown, ())
        else:
            problems = unread(facts)
        requests = imds.requests_made - before
    seconds = time.monotonic() - began
    return ImdsReading(facts, there, known, problems, requests, seconds)


def indices(links: Mapping[Mac, tuple[Link, ...]]) -> dict[Mac, list[int]]:
    """The indices of all links with an ENI's MAC."""
    return {mac: [link.index for link in same] for mac, same in links.items()}
