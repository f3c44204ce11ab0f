# SPDX-License-Identifier: Apache-2.0
"""Whether an apply cost the host what every instance needs: IMDS and the default gateway.

IMDS answers HTTP, in the way in which this pass has read it. The gateway is the one by which the
kernel would send abroad (so that a lost default route counts too) and answers ARP or neighbour
solicitations: the router of a VPC answers no ping. The primary's gateway in main would not do, since a
host need not use it.
"""

from dataclasses import dataclass
from typing import Self

from ec2net.core.engine.verify import ABROAD
from ec2net.core.imds.proof import MAC_PATH
from ec2net.core.imds.source import Imds
from ec2net.core.kernel.neighbours import Neighbours
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import AnyAddress
from ec2net.core.runtime.deadline import Deadline

BEFORE_SECONDS = 0.5
"""For gateways without a recent answer; in a VPC they answer within a millisecond."""

_IMDS_SECONDS = 1.0
"""For one request: a lost packet is sent again once."""

_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5
"""Seconds between looks, each twice the last. A neighbour's answer ends a pause at once."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The reachable destinations; false if there was none."""

    imds: bool = False
    gateways: frozenset[int] = frozenset()
    """IP versions of those that answered."""

    def __bool__(self) -> bool:
        return self.imds or bool(self.gateways)

    def __str__(self) -> str:
        parts = ["IMDS"] if self.imds else []
        parts += [f"the IPv{version} default gateway" for version in sorted(self.gateways)]
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Reachability:
    """How to look. ``imds`` is None where this pass does without."""

    kernel: Kernel
    imds: Imds | None

    def now(self, deadline: Deadline) -> Reached:
        """The reachable destinations before an apply; IMDS if it answered in this pass.

        Raises whatever interrupts the deadline.
        """
        silent = set(ABROAD)
        with _Gateways(self.kernel) as gateways:
            limit = deadline.within(min(BEFORE_SECONDS, deadline.remaining()), "finding gateways")
            while True:  # ends by deadline
                silent = {version for version in silent if gateways.is_silent(version)}
                if not silent or limit.expired():
                    break
                gateways.wait(limit, BEFORE_SECONDS)
            answered = self.imds is not None and self.imds.heard
            return Reached(answered, gateways.known - silent)

    def lost(self, before: Reached, deadline: Deadline) -> Reached:
        """The destinations of ``before`` that do not answer until the deadline; returns as soon as
        all answer.

        Each is asked again: the kernel's knowledge of its neighbours is half a minute old.
        """
        imds, silent = before.imds, set(before.gateways)
        pause = _FIRST_PAUSE
        with _Gateways(self.kernel, anew=True) as gateways:
            while True:  # ends by deadline
                silent = {version for version in silent if gateways.is_silent(version)}
                if imds and self.imds is not None:
                    share = deadline.within(_IMDS_SECONDS, "asking IMDS")
                    imds = not self.imds.answers(MAC_PATH, share)
                lost = Reached(imds, frozenset(silent))
                if not lost or deadline.expired():
                    return lost
                gateways.wait(deadline, pause)
                pause = min(2 * pause, _LAST_PAUSE)


class _Gateways:
    """The default gateways, as the kernel would use them now. ``anew``: what it knows is not
    enough, each must answer once more."""

    def __init__(self, kernel: Kernel, *, anew: bool = False) -> None:
        self._kernel = kernel
        self._anew = anew
        self._neighbours = Neighbours()
        self._asked: set[tuple[int, AnyAddress]] = set()
        self.known: frozenset[int] = frozenset()
        """IP versions that have one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._neighbours.close()

    def is_silent(self, version: int) -> bool:
        """Whether there is a gateway that has not answered (yet); asks it once more, then."""
        try:
            answer = self._kernel.lookup(ABROAD[version])
        except KernelError:
            return self._anew
        if answer.gateway is None:
            return self._anew
        self.known |= {version}
        which = (answer.link, answer.gateway)
        if (which in self._asked or not self._anew) and self._neighbours.answers(*which):
            return False
        self._neighbours.ask(*which)
        self._asked.add(which)
        return True

    def wait(self, deadline: Deadline, seconds: float) -> None:
        """Until a neighbour changes, at most ``seconds``."""
        deadline.wait(self._neighbours.fileno(), seconds=seconds)
        self._neighbours.drain()
