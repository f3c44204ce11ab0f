# SPDX-License-Identifier: Apache-2.0
"""The contract of a backend: what realizes an intent on one kind of host.

A backend is handed the whole wanted state each time; calling it twice with the same is calling
it once. It never reads IMDS or the configuration, and it touches only what is marked ours.

    observe ─▶ wanted ─▶ (the engine makes the plan) ─▶ apply ─▶ check

What ``observe`` returns is handed to every later verb: a backend keeps nothing between them but
conversations, which ``close`` ends.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ec2net.core.decide.intent import EarlyIntent, EniIntent, HostIntent
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.owned_file import OwnedFile
from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Applied, InPlace, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import Journals
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
    journals: Journals = field(init=False)
    """What was changed on links and carries no mark: the same for all backends."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "journals", Journals(self.run))


@dataclass(frozen=True, slots=True)
class Observed:
    """What a backend saw of the host."""

    snapshot: Snapshot
    in_place: InPlace = field(default_factory=InPlace)
    """What of this backend is in place, on its ENI links and left over from gone ones."""
    left_alone: Mapping[Mac, str] = field(default_factory=dict)
    """ENIs that their manager or their user wants untouched, and why: nothing of them is changed.
    They are ignored with this reason, instead of failing a pass each minute."""
    waiting: Mapping[Mac, str] = field(default_factory=dict)
    """ENIs that their manager is not ready with yet: pending, and looked at again soon."""
    problems: tuple[Ec2netError, ...] = ()
    """What could not be told; what does not depend on it is done all the same."""
    own: Any = None
    """What only this backend understands, for its later verbs."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of one ENI: the intent, and the items that ``wanted`` made of it."""

    intent: EniIntent
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class BootEni:
    """An ENI that is there before a network manager starts, and before IMDS can be asked."""

    link: Link
    early: EarlyIntent
    apart: bool
    """Whether it is another's by the configuration, by its owner or by another tool."""
    doubled: bool
    """Whether another tool configures it."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What ``prepare`` gets. The first ENI is taken for the primary."""

    enis: tuple[BootEni, ...]
    later_apart: bool
    """Whether nothing is to be done for an ENI that comes some time, before it is known."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the network manager of a backend keeps for a host that ``adopt`` hands to it."""

    fallback: OwnedFile | None
    """A file by which the manager has the primary at boot whatever becomes of ec2net; None where
    a file of somebody else does that."""
    own_files: tuple[str, ...]
    """Files of ours that the manager reads now."""


class Backend(ABC):
    """One way to realize intents. Construction must be cheap: heavy imports go inside methods."""

    name: ClassVar[str]
    """What the configuration calls it: ``backend = "..."``; lower-case letters, digits, ``-``."""

    lacks: ClassVar[Mapping[str, str]] = {}
    """Settings that this backend cannot realize, each with the reason. Only ``dns_default_route`` is
    one so far. An ENI that asks for one is a problem of each pass; all else is done. The command
    ``backends`` names it as well."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @classmethod
    @abstractmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        """Whether this backend should have ``link`` when the configuration says ``auto``. Pure."""

    @classmethod  # noqa: B027 - most have nothing to prepare
    def prepare(cls, boot: Boot) -> None:
        """Give the network manager what it needs for the ENIs of the boot, before it starts.

        The command ``early`` calls it for the backend of the host's manager, and makes no backend.
        Raises ``StateError``.
        """

    @classmethod
    def kept(cls, primary: Link, drivers: Collection[str], environment: Environment) -> Kept:
        """What the command ``adopt`` leaves to the manager of this backend. Changes nothing."""
        return Kept(None, ())

    @abstractmethod
    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        """Look at the host: what of this backend is in place, on these ENI links and left over from
        gone ones, and what its manager says of the links. Changes nothing.

        Raises ``Ec2netError`` when it cannot be told: nothing is changed then.
        """

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        """What this backend alone made for ENIs that are another's now (``taken``), such as files.
        ``mine`` are those that it still has.

        It goes once the other one has made its own; an item that says its ``owner`` stays as long as
        that ENI is only observed, or held. Live objects are everybody's: all backends share marks and
        journals, so those are taken over in place, without a gap.
        """
        return ()

    @abstractmethod
    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        """The items that ``intent`` means here, beside the other ENIs of ``host``. Pure."""

    @abstractmethod
    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        """Make the changes, in the plan's order, each ENI for itself: a failure ends the work on
        its ENI and on no other. ``goals``: what is wanted of the ENIs that are planned for. An empty
        plan makes no call and no write. Ends by ``deadline``."""

    def check(self, intent: EniIntent, seen: Observed) -> tuple[str, ...]:
        """What else of ``intent`` is not so, after applying: what the manager did instead."""
        return ()

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """End conversations. The next verb begins them anew."""
