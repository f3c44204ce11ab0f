# SPDX-License-Identifier: Apache-2.0
"""A backend that changes nothing: it logs the intended changes, and keeps no state.

It also shows the other two hooks: it lowers jumbo frames on ENIs of further network cards, and logs
the end of each pass.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ec2net.core.plugins.api import (
    Applied,
    Backend,
    Deadline,
    EniIntent,
    Environment,
    Facts,
    Goal,
    HostIntent,
    Item,
    Link,
    Mac,
    Observed,
    PassReport,
    Plan,
    Snapshot,
    Suitability,
    hookimpl,
)

EC2NET_API = 1
"""The version of the plugin interface that this is made for."""

_log = logging.getLogger("ec2net.noop")


class NoopBackend(Backend):
    """Wants the rules of each ENI and never makes them."""

    name: ClassVar[str] = "noop"

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        return Suitability(False, "it is only used where it is named")

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        return Observed(snapshot)

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        return intent.rules

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        for change in plan.changes:
            _log.info("would %s %s", change.action.name.lower(), change.item.describe())
        return Applied(done=plan.changes)


@hookimpl
def ec2net_backends() -> Sequence[type[Backend]]:
    return (NoopBackend,)


@hookimpl
def ec2net_adjust_intent(intent: EniIntent, facts: Facts) -> EniIntent | None:
    return replace(intent, mtu=1500) if intent.number.card > 0 else None


@hookimpl
def ec2net_pass_finished(report: PassReport) -> None:
    _log.info("%d changes in this pass", len(report.done))
