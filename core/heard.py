# SPDX-License-Identifier: Apache-2.0
"""What IMDS said, with what was known when it was asked: it may be used only a while later."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ec2net.core import lastgood
from ec2net.core.errors import Ec2netError
from ec2net.core.facts import EniFacts, ImdsFacts, Link, Unknown
from ec2net.core.identity import Mac
from ec2net.core.state import RunDir


@dataclass(frozen=True, slots=True)
class Heard:
    """One reading of IMDS."""

    imds: ImdsFacts
    indices: Mapping[Mac, Collection[int]]
    """Of all links with an ENI's MAC."""
    primary: Mac | None
    past: Mapping[Mac, EniFacts]
    """What earlier passes had stored."""
    problems: tuple[Ec2netError, ...] = ()
    requests: int = 0

    @property
    def facts(self) -> ImdsFacts:
        """With the last known good in place of what is unknown."""
        return lastgood.with_last_known_good(self.imds, self.past, self.primary)

    def still_true(self, run: RunDir, links: Mapping[Mac, tuple[Link, ...]]) -> "Heard":
        """Without what has changed since: links that came, went or came again.

        What another pass has stored since is newer than what was heard.
        """
        now = indices(links)
        primary, past = lastgood.remembered(run, now)
        enis = tuple(
            eni
            for eni in self.imds.enis
            if self.indices.get(eni.mac) == now.get(eni.mac)
            and self.past.get(eni.mac) == past.get(eni.mac)
        )
        imds = replace(self.imds, enis=enis)
        if primary != self.primary:
            imds = replace(imds, primary=Unknown("another pass knows better"))
        return replace(self, imds=imds, indices=now, primary=primary, past=past)


def indices(links: Mapping[Mac, tuple[Link, ...]]) -> dict[Mac, list[int]]:
    """The indices of all links with an ENI's MAC."""
    return {mac: [link.index for link in same] for mac, same in links.items()}
