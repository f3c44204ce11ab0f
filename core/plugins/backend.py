# SPDX-License-Identifier: Apache-2.0
"""The contract of a backend: what realizes an intent on one kind of host.

A backend is handed the whole wanted state each time; calling it twice with the same is calling
it once. It never reads IMDS or the configuration, and it touches only what is marked ours.

    observe ─▶ wanted ─▶ (the engine makes the plan) ─▶ apply
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Applied, InPlace, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir


@dataclass(frozen=True, slots=True)
class Suitability:
    """Whether a backend is for a link, and why (people read the reason)."""

    suits: bool
    reason: str


PATIENCE = 8.0
"""Seconds that ``apply`` may wait for what a network manager does in its own time, such as the
first lease: DHCPv4 asks again after 4 s if its first question is lost (RFC 2131, 4.1)."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a backend works with: a kernel session (its marks), the state directory, host files."""

    kernel: Kernel
    run: RunDir
    environment: Environment = field(default_factory=Environment)
    patience: float = PATIENCE
    """Less where the next pass follows by itself as soon as the kernel tells of it."""


@dataclass(frozen=True, slots=True)
class Remarks:
    """What a look found besides what is in place."""

    left_alone: Mapping[Mac, str] = field(default_factory=dict)
    """ENIs that their manager or their user wants untouched, and why: nothing of them is changed."""
    waiting: Mapping[Mac, str] = field(default_factory=dict)
    """ENIs that their manager is not ready with yet: pending, and looked at again soon."""
    problems: tuple[Ec2netError, ...] = ()
    """What could not be told; what does not depend on it is done all the same."""


class Backend(ABC):
    """One way to realize intents. Construction must be cheap: heavy imports go inside methods."""

    name: ClassVar[str]
    """What the configuration calls it: ``backend = "..."``; lower-case letters, digits, ``-``."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @classmethod
    @abstractmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        """Whether this backend should have ``link`` when the configuration says ``auto``. Pure."""

    @abstractmethod
    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> InPlace:
        """What of this backend is in place, on these ENI links and left over from gone ones.

        Raises ``Ec2netError`` when it cannot be told: nothing is changed then.
        """

    def remarks(self) -> Remarks:
        """What the last ``observe`` found besides."""
        return Remarks()

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        """What this backend alone made for ENIs that are another's now (``taken``), such as files.
        ``mine`` are those that it still has.

        It goes once the other one has made its own; an item that says its ``owner`` stays as long as
        that ENI is only observed, or held. Live objects are everybody's: all backends share marks and
        journals, so those are taken over in place, without a gap.
        """
        return ()

    @abstractmethod
    def wanted(self, intent: EniIntent, host: HostIntent, snapshot: Snapshot) -> tuple[Item, ...]:
        """The items that ``intent`` means here, beside the other ENIs of ``host``. Pure."""

    def lacks(self, intent: EniIntent) -> tuple[str, ...]:
        """What is asked of ``intent`` that this backend does not have, and why. All else is done."""
        return ()

    @abstractmethod
    def apply(self, plan: Plan, deadline: Deadline) -> Applied:
        """Make the changes, in the plan's order, each ENI for itself: a failure ends the work on
        its ENI and on no other. An empty plan makes no call and no write. Ends by ``deadline``."""

    def check(self, intent: EniIntent) -> tuple[str, ...]:
        """What else of ``intent`` is not so, after applying: what the manager did instead."""
        return ()

    @abstractmethod
    def forget(self, attached: Collection[Mac]) -> None:
        """Drop what is remembered of links other than these. Writes nothing if there is none."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """End conversations. The next verb begins them anew."""
