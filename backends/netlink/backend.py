# SPDX-License-Identifier: Apache-2.0
"""The verbs of the netlink backend: all of it is live changes.

The primary keeps the base configuration that brought the host up; a secondary is brought up
whole.
"""

from collections.abc import Collection
from typing import ClassVar

from ec2net.core.plugins.api import (
    Applied,
    Backend,
    Base,
    Deadline,
    DnsDefaultRoute,
    EniIntent,
    Environment,
    Host,
    HostIntent,
    InPlace,
    Item,
    Journals,
    Link,
    Mac,
    Manager,
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
    """Needs nobody else: no daemon, no DHCP client for secondary ENIs."""

    name: ClassVar[str] = "netlink"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._journals = Journals(host.run)

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        manager = link_manager(link, environment)
        return Suitability(manager is Manager.NOBODY, f"{manager.value} manages {link.name}")

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> InPlace:
        return observe_live(snapshot, links, self.host.kernel, self._journals)

    def wanted(self, intent: EniIntent, host: HostIntent, snapshot: Snapshot) -> tuple[Item, ...]:
        base = Base.FOREIGN if intent.primary else Base.OURS
        return render_live(intent, host, snapshot, self.host.kernel.protocol, base)

    def lacks(self, intent: EniIntent) -> tuple[str, ...]:
        if intent.early.dns is DnsDefaultRoute.AUTO:
            return ()
        return ("dns_default_route: it has nothing to do with DNS, as /etc/resolv.conf is made",)

    def apply(self, plan: Plan, deadline: Deadline) -> Applied:
        with guarded(plan.changes, self.host.kernel):
            return apply_live(plan, self.host.kernel, self._journals, deadline)

    def forget(self, attached: Collection[Mac]) -> None:
        self._journals.keep_only(attached)
