# SPDX-License-Identifier: Apache-2.0
"""A backend behind a guard: whatever a plugin's method raises costs its own part of a pass only.

The contract lets a backend raise ``Ec2netError`` and nothing else. Any other exception is a
bug of the plugin: it is logged with its traceback and becomes a ``PluginError`` with its name.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.decide.ownership import plan_for
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import PLUGIN_FAULTS, Ec2netError, PluginError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Applied, Failure, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Backend, Goal, Observed
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.remembered import Remembered

_log = logging.getLogger("ec2net.plugins")

T = TypeVar("T")


class GuardedBackend:
    """The verbs of ``Backend``; each raises ``Ec2netError`` at worst."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.kind = type(backend)
        self._plan = Remembered(lambda _, *inputs: plan_for(*inputs))

    @classmethod
    def trusting(cls, backend: Backend, built_in: bool) -> "GuardedBackend":
        """Called directly for every backend: the unit's watchdog ends a process that hangs."""
        return cls(backend)

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        return self._guard(
            "observe",
            lambda: _of(Observed, self._backend.observe(snapshot, links, deadline)),
            deadline,
        )

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        return self._guard("leftovers", lambda: tuple(self._backend.leftovers(taken, mine)))

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        return self._guard("wanted", lambda: tuple(self._backend.wanted(intent, host, seen)))

    def planned(self, host: HostIntent, *inputs: object) -> Plan:
        """The plan for the plugin's items, which may have any type. ``inputs``: of ``plan_for``.

        A sysctl is set by the link's name, and links are equal by their index.
        """
        names = tuple(eni.name for eni in host.enis)
        return self._guard("wanted", lambda: self._plan(names, host, *inputs))

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        """Never raises: what is not known to be done counts as failed."""
        try:
            return self._guard(
                "apply",
                lambda: _of(Applied, self._backend.apply(plan, goals, seen, deadline)),
                deadline,
            )
        except Ec2netError as error:
            return Applied(failed=tuple(Failure(change, error) for change in plan.changes))

    def check(self, intent: EniIntent, seen: Observed) -> tuple[str, ...]:
        return self._guard("check", lambda: tuple(self._backend.check(intent, seen)))

    def close(self) -> None:
        self._guard("close", self._backend.close)

    def _guard(self, verb: str, call: Callable[[], T], deadline: Deadline | None = None) -> T:
        try:
            return self._call(verb, call, deadline)
        except Ec2netError:
            raise
        except PLUGIN_FAULTS as error:
            raise _broken(self.kind, verb, error) from error

    def _call(self, verb: str, call: Callable[[], T], deadline: Deadline | None) -> T:
        """How the backend is called; ``deadline`` is the call's own, None for a quick one."""
        return call()


def suits(kind: type[Backend], link: Link, environment: Environment) -> tuple[bool, str]:
    """``kind.suits``; a plugin that fails there suits nothing."""
    try:
        verdict = kind.suits(link, environment)
        return verdict.suits, verdict.reason
    except Ec2netError as error:
        return False, str(error)
    except PLUGIN_FAULTS as error:
        return False, str(_broken(kind, "suits", error))


def _of(kind: type[T], given: object) -> T:
    """``given``, which must be one. Raises ``TypeError``."""
    if not isinstance(given, kind):
        raise TypeError(f"it returned {type(given).__name__} instead of {kind.__name__}")
    return given


def _broken(kind: type[Backend], verb: str, error: BaseException) -> PluginError:
    _log.error("backend %s failed in %s", kind.name, verb, exc_info=error)
    return PluginError(
        f"failed in {verb}: {type(error).__name__}: {error}",
        subject=f"backend {kind.name}",
        remedy="this is a fault of the plugin: report it to its authors",
    )
