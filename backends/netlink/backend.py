# SPDX-License-Identifier: Apache-2.0
"""The verbs of the netlink backend: all of it is live changes.

The primary keeps the base configuration that brought the host up; a secondary is brought up
whole.
"""

from collections.abc import Collection
from typing import ClassVar

from ec2net.core.config.settings import DnsDefaultRoute
from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import Manager, link_manager
from ec2net.core.live.apply import apply
from ec2net.core.live.guard import guarded
from ec2net.core.live.observe import observe
from ec2net.core.live.render import Base, render
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Applied, InPlace, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Backend, Host, Suitability
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import Journals


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
        return observe(snapshot, links, self.host.kernel, self._journals)

    def wanted(self, intent: EniIntent, host: HostIntent, snapshot: Snapshot) -> tuple[Item, ...]:
        base = Base.FOREIGN if intent.primary else Base.OURS
        return render(intent, host, snapshot, self.host.kernel.protocol, base)

    def lacks(self, intent: EniIntent) -> tuple[str, ...]:
        if intent.early.dns is DnsDefaultRoute.AUTO:
            return ()
        return ("dns_default_route: it has nothing to do with DNS, as /etc/resolv.conf is made",)

    def apply(self, plan: Plan, deadline: Deadline) -> Applied:
        with guarded(plan.changes, self.host.kernel):
            return apply(plan, self.host.kernel, self._journals, deadline)

    def forget(self, attached: Collection[Mac]) -> None:
        self._journals.keep_only(attached)
