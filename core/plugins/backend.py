# SPDX-License-Identifier: Apache-2.0
"""The contract of a backend: what realizes an intent on one kind of host.

A backend receives the whole intent each time; a second call with the same intent changes nothing. A
backend never reads IMDS or the configuration, and changes only objects with ec2net's mark.

    observe ─▶ wanted ─▶ (the engine makes the plan) ─▶ apply ─▶ check

Every later verb receives the result of ``observe``. Between the verbs a backend keeps only
connections, which ``close`` ends.
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
    """Whether a backend suits a link, and the reason as a text for people."""

    suits: bool
    reason: str


PATIENCE = 8.0
"""Seconds that ``apply`` may wait for a network manager, such as for the first lease: DHCPv4 repeats
a lost request after 4 s (RFC 2131, 4.1)."""


@dataclass(frozen=True, slots=True)
class Host:
    """The resources of a backend: kernel session (with the marks), state directory, host files."""

    kernel: Kernel
    run: RunDir
    environment: Environment = field(default_factory=Environment)
    patience: float = PATIENCE
    """Shorter if the next pass follows at the kernel's event."""
    journals: Journals = field(init=False)
    """The unmarked changes on links; all backends share them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "journals", Journals(self.run))


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of the host that a backend observed."""

    snapshot: Snapshot
    in_place: InPlace = field(default_factory=InPlace)
    """This backend's items on its ENI links, and items left over from detached ENIs."""
    left_alone: Mapping[Mac, str] = field(default_factory=dict)
    """ENIs that their network manager or a user excludes, with the reason. ec2net changes nothing
    there. They are ignored with this reason, so that no pass fails because of them."""
    waiting: Mapping[Mac, str] = field(default_factory=dict)
    """ENIs that their network manager has not finished: pending, and retried soon."""
    problems: tuple[Ec2netError, ...] = ()
    """State that could not be read; changes that do not depend on it are made."""
    own: Any = None
    """Knowledge of this backend alone, for its later verbs."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal for one ENI: the intent, and the items that ``wanted`` made from the intent."""

    intent: EniIntent
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class BootEni:
    """An ENI that is present before a network manager starts and before IMDS is reachable."""

    link: Link
    early: EarlyIntent
    apart: bool
    """Whether the configuration, its owner or another tool excludes the ENI."""
    doubled: bool
    """Whether another tool configures it."""


@dataclass(frozen=True, slots=True)
class Boot:
    """The argument of ``prepare``. The first ENI is taken for the primary."""

    enis: tuple[BootEni, ...]
    later_apart: bool
    """Whether an ENI that is attached later is excluded, before its facts are known."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The files that a network manager keeps for a host that ``adopt`` handed over."""

    fallback: OwnedFile | None
    """A file that gives the primary ENI to the network manager at boot, with or without ec2net;
    None if a foreign file does that."""
    own_files: tuple[str, ...]
    """ec2net's files that the network manager reads now."""


class Backend(ABC):
    """The base class of backends: one way to realize intents. Construction must be cheap: heavy
    imports go inside methods."""

    name: ClassVar[str]
    """The name in the configuration: ``backend = "..."``; lower-case letters, digits, ``-``."""

    lacks: ClassVar[Mapping[str, str]] = {}
    """Settings that this backend cannot realize, each with the reason. Only ``dns_default_route``
    is one so far. An ENI that asks for one is a problem of each pass; all else is done. The command
    ``backends`` names it as well."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @classmethod
    @abstractmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        """Whether this backend suits ``link``, for ``backend = "auto"``. Pure."""

    @classmethod  # noqa: B027 - most have nothing to prepare
    def prepare(cls, boot: Boot) -> None:
        """Write the network manager's files for the ENIs of the boot, before it starts.

        The command ``early`` calls this verb for the backend of the host's network manager. It
        creates no instance of the backend. Raises ``StateError``.
        """

    @classmethod
    def kept(cls, primary: Link, drivers: Collection[str], environment: Environment) -> Kept:
        """The files that the command ``adopt`` leaves to this backend's network manager.

        Changes nothing."""
        return Kept(None, ())

    @abstractmethod
    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        """Read the host's state: this backend's items on these ENI links, items that are left over
        from detached ENIs, and the network manager's state of the links. Changes nothing.

        Raises ``Ec2netError`` if the state cannot be read. The pass then changes nothing.
        """

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        """This backend's own items for ENIs that another backend has taken over, such as files.

        ``taken``: these ENIs. ``mine``: the ENIs that this backend still has. The engine removes
        the items after the other backend has applied its changes. An item with an ``owner`` stays
        as long as that ENI is observed or on hold. Live objects do not belong here: all backends
        share marks and journals, so the other backend takes them over without a gap.
        """
        return ()

    @abstractmethod
    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        """The items of ``intent`` on this kind of host. ``host`` has the other ENIs. Pure."""

    @abstractmethod
    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        """Apply the changes in the plan's order. A failure ends the changes to its ENI only.

        ``goals``: the goals of the planned ENIs. An empty plan makes no call and no write. Ends by
        ``deadline``.
        """

    def check(self, intent: EniIntent, seen: Observed) -> tuple[str, ...]:
        """Further differences from ``intent`` after ``apply``: what the network manager did
        instead."""
        return ()

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """End connections. The next verb opens them again."""
