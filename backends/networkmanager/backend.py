# SPDX-License-Identifier: Apache-2.0
"""The verbs of the NetworkManager backend: defaults for profiles, live changes for the rest."""

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar

from ec2net.backends.networkmanager import attempts, conf
from ec2net.backends.networkmanager.choice import suits
from ec2net.backends.networkmanager.device import Routes, State, routes
from ec2net.backends.networkmanager.items import Activation, AppliedMtu
from ec2net.backends.networkmanager.render import conf_file
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
    Plan,
    Remarks,
    Snapshot,
    Suitability,
    apply_live,
    await_sources,
    guarded,
    make_plan,
    observe_live,
    render_live,
)

if TYPE_CHECKING:
    from ec2net.backends.networkmanager.client import NetworkManager
    from ec2net.backends.networkmanager.observe import Seen


LATE_SECONDS = 2.0
"""For the other family of a connection that is activated, which one family is enough for. While it
is not, the host's patience counts."""


_NO_DNS_ROUTE = (
    "dns_default_route: NetworkManager has no default for it that a profile leaves open, and profiles"
    ' are not written (their own: ipv4.dns-search "~.", ipv4.dns-priority)'
)
"""NetworkManager.conf(5), CONNECTION SECTION: of DNS there is only the priority."""


class NetworkManagerBackend(Backend):
    """NetworkManager leases the first address of each family, by whatever profile it has."""

    name: ClassVar[str] = "networkmanager"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._journals = Journals(host.run)
        self._manager: NetworkManager | None = None
        self._seen: Seen | None = None
        self._links: dict[Mac, Link] = {}
        self._live: dict[Mac, tuple[Item, ...]] = {}
        self._targets: set[Activation] = set()

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        return suits(link, environment)

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> InPlace:
        from ec2net.backends.networkmanager.observe import in_place, look, without_it

        self._links = {link.mac: link for link in links if link.mac is not None}
        self._targets.clear()
        self._seen = look(self._talk(), links, deadline)
        if self._seen.problem is not None:
            without_it(self._seen, links, snapshot)
        live_items = observe_live(snapshot, links, self.host.kernel, self._journals)
        own = in_place(self._seen, links)
        return InPlace(
            (*own.ours, *live_items.ours),
            (*own.foreign, *live_items.foreign),
            (*own.adjustable, *live_items.adjustable),
        )

    def remarks(self) -> Remarks:
        if self._seen is None:
            return Remarks()
        problem = self._seen.problem
        problems = () if problem is None else (problem,)
        return Remarks(self._seen.left_alone, self._seen.waiting, problems)

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        """The file, once no ENI is NetworkManager's."""
        file = conf.in_place()
        return (file,) if file is not None and file.ours and not mine else ()

    def wanted(self, intent: EniIntent, host: HostIntent, snapshot: Snapshot) -> tuple[Item, ...]:
        items = render_live(intent, host, snapshot, self.host.kernel.protocol, Base.LEASED)
        self._live[intent.mac] = items
        file = self._file(intent, host, snapshot)
        if _primary(host, snapshot) is None:
            return (*file, *items)  # what an activation would bring is not known
        return (*file, *self._of_the_manager(intent), *items)

    def _file(self, intent: EniIntent, host: HostIntent, snapshot: Snapshot) -> tuple[Item, ...]:
        link = _primary(host, snapshot)
        silent = self._seen is not None and self._seen.problem is not None
        if link is None or silent:
            # The primary is not known, or the file could not be made known: what is there stays.
            present = conf.in_place()
            return (present,) if present is not None and present.ours else ()
        links = {eni.mac: snapshot.link(eni.link.index) for eni in host.enis if eni.link}
        drivers = {found.driver for found in links.values() if found is not None}
        # Not those that NetworkManager leaves alone now: a user may let it have them again.
        hands_off = [one for eni in host.enis if eni.apart and (one := links.get(eni.mac))]
        # An ENI of its own is only asked for the primary's metric while that has no intent yet.
        early = next((eni.early for eni in host.ready if eni.primary), intent.early)
        # Where an ENI that comes is not ours to touch, it must not match before it is known.
        only = [one for one in links.values() if one] if host.later_apart else None
        return (
            conf_file(link, early.main_metric, early.parking_table, drivers, hands_off, only=only),
        )

    def _of_the_manager(self, intent: EniIntent) -> tuple[Item, ...]:
        device = self._seen.devices.get(intent.mac) if self._seen is not None else None
        if device is None:
            return ()
        found: list[Item] = []
        where = routes(device)
        target = Routes.MAIN if intent.primary else Routes.PARKED
        tried = where is not target and attempts.was_made(self.host.run, intent.mac, device)
        if where in (Routes.MAIN, Routes.PARKED, Routes.NONE) and not tried:
            activation = Activation(intent.link, intent.mac, target)
            self._targets.add(activation)
            found.append(activation)
        if isinstance(intent.mtu, int) and not self._users_mtu(intent.mac):
            found.append(AppliedMtu(intent.link, intent.mac, intent.mtu))
        return tuple(found)

    def _users_mtu(self, mac: Mac) -> bool:
        """A profile's own MTU wins."""
        from ec2net.backends.networkmanager.merge import users_own
        from ec2net.backends.networkmanager.observe import MTU

        device = self._seen.devices.get(mac) if self._seen is not None else None
        return device is not None and bool(users_own(device.applied, MTU))

    def lacks(self, intent: EniIntent) -> tuple[str, ...]:
        if intent.early.dns is DnsDefaultRoute.AUTO:
            return ()
        return (_NO_DNS_ROUTE,)

    def apply(self, plan: Plan, deadline: Deadline) -> Applied:
        from ec2net.backends.networkmanager.apply import apply

        devices = self._seen.devices if self._seen is not None else {}

        def make_live(part: Plan, made: Collection[Activation], limit: Deadline) -> Applied:
            for activation in made:
                if activation in self._targets:  # else it is the inverse of one
                    part = self._planned_again(part, activation.mac)
            coming = bool(made) or any(d.state < State.ACTIVATED for d in devices.values())
            patience = self.host.patience if coming else min(LATE_SECONDS, self.host.patience)
            leases = limit.within(patience, "waiting for leases")
            await_sources(part.changes, devices, self.host.kernel, leases)
            with guarded(part.changes, self.host.kernel):
                return apply_live(part, self.host.kernel, self._journals, limit)

        return apply(plan, self._talk(), devices, self.host, make_live, deadline)

    def _planned_again(self, plan: Plan, mac: Mac) -> Plan:
        """``plan`` with what an ENI lacks now that its link was taken down in between."""
        link = self._links[mac]
        snapshot = self.host.kernel.snapshot((link.driver,))
        found = observe_live(snapshot, (link,), self.host.kernel, self._journals)
        wanted = {mac: self._live.get(mac, ())}
        anew = make_plan(wanted, found, keep=frozenset(found.ours))
        others = tuple(change for change in plan.changes if change.mac != mac)
        return Plan((*anew.changes, *others), plan.conflicts)

    def check(self, intent: EniIntent) -> tuple[str, ...]:
        """An activation that did not move the leased routes is not repeated, so it is told here."""
        device = self._seen.devices.get(intent.mac) if self._seen is not None else None
        if device is None or intent.primary or routes(device) is not Routes.MAIN:
            return ()
        if not attempts.was_made(self.host.run, intent.mac, device):
            return ()
        text = f"NetworkManager has the leased routes of {intent.link} in main, where they catch"
        return (f"{text} other ENIs' replies (does its own configuration give a route-table?)",)

    def forget(self, attached: Collection[Mac]) -> None:
        self._journals.keep_only(attached)
        attempts.keep_only(self.host.run, attached)

    def close(self) -> None:
        if self._manager is not None:
            self._manager.bus.close()
            self._manager = None

    def _talk(self) -> "NetworkManager":
        if self._manager is None:
            from ec2net.backends.networkmanager.bus import Bus
            from ec2net.backends.networkmanager.client import NetworkManager

            self._manager = NetworkManager(Bus())
        return self._manager


def _primary(host: HostIntent, snapshot: Snapshot) -> Link | None:
    return None if host.primary_link is None else snapshot.link(host.primary_link.index)
