# SPDX-License-Identifier: Apache-2.0
"""The verbs of the netlink backend: it makes only live changes.

The primary ENI keeps the base configuration from boot (initrd, DHCP client, static files), and gets
secondary addresses alone. ec2net configures a secondary ENI completely.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar

from ec2net.core.plugins.api import (
    Applied,
    Backend,
    Base,
    Deadline,
    EniIntent,
    Environment,
    Goal,
    HostIntent,
    Item,
    Link,
    Mac,
    Manager,
    Observed,
    Plan,
    Snapshot,
    Suitability,
    apply_live,
    guarded,
    link_manager,
    observe_live,
    render_live,
)


class NetlinkBackend(Backend):
    """Needs no daemon, and no DHCP client for secondary ENIs."""

    name: ClassVar[str] = "netlink"
    lacks: ClassVar[Mapping[str, str]] = {"dns_default_route": "it does not configure DNS"}

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        manager = link_manager(link, environment)
        return Suitability(manager is Manager.NOBODY, f"{manager.value} manages {link.name}")

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        found = observe_live(snapshot, links, self.host.kernel, self.host.journals)
        return Observed(snapshot, found)

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        base = Base.FOREIGN if intent.primary else Base.OURS
        return render_live(intent, host, seen.snapshot, self.host.kernel.protocol, base)

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        with guarded(plan.changes, self.host.kernel):
            return apply_live(plan, self.host.kernel, self.host.journals, deadline)
