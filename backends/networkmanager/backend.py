# SPDX-License-Identifier: Apache-2.0
"""The verbs of the NetworkManager backend: defaults for profiles, live changes for the rest."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar

from ec2net.backends.networkmanager import attempts, conf
from ec2net.backends.networkmanager.choice import suits
from ec2net.backends.networkmanager.device import Device, Routes, State, routes
from ec2net.backends.networkmanager.items import Activation, AppliedMtu
from ec2net.backends.networkmanager.render import conf_file
from ec2net.core.plugins.api import (
    NETWORKMANAGER_UNIT,
    Applied,
    Backend,
    Base,
    Boot,
    Deadline,
    EniIntent,
    Environment,
    Goal,
    Host,
    HostIntent,
    InPlace,
    Item,
    KernelObject,
    Link,
    Mac,
    Observed,
    Plan,
    Snapshot,
    Suitability,
    apply_live,
    await_sources,
    guarded,
    make_plan,
    may_return,
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
    "NetworkManager has no global default for this setting, and ec2net does not write profiles "
    '(set ipv4.dns-search "~." and ipv4.dns-priority in the profile)'
)
"""NetworkManager.conf(5), CONNECTION SECTION: of DNS there is only the priority."""


class NetworkManagerBackend(Backend):
    """NetworkManager leases the first address of each family, by whatever profile it has."""

    name: ClassVar[str] = "networkmanager"
    lacks: ClassVar[Mapping[str, str]] = {"dns_default_route": _NO_DNS_ROUTE}

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._manager: NetworkManager | None = None

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        return suits(link, environment)

    @classmethod
    def prepare(cls, boot: Boot) -> None:
        from ec2net.backends.networkmanager.prepare import prepare

        prepare(boot)

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        from ec2net.backends.networkmanager.observe import in_place, look, serve_own, without_it

        said = look(self._talk(), self.host.run, links, deadline)
        live_items = observe_live(snapshot, links, self.host.kernel, self.host.journals)
        if said.problem is not None:
            without_it(said, links, snapshot, live_items.ours, self.host.environment)
        serve_own(said, links, snapshot, live_items.ours)
        own = in_place(said, links)
        found = InPlace(
            (*own.ours, *live_items.ours),
            (*own.foreign, *live_items.foreign),
            (*own.adjustable, *live_items.adjustable),
        )
        problems = () if said.problem is None else (said.problem,)
        return Observed(snapshot, found, said.left_alone, said.waiting, problems, said)

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        """The file, once no ENI is NetworkManager's, and NetworkManager is disabled or has others.

        It needs the file at its return, also where a user unmasks it: without the file the leases of
        secondaries go to main, where they catch other ENIs' replies.
        """
        file = conf.in_place()
        if file is None or not file.ours or mine:
            return ()
        return () if may_return(NETWORKMANAGER_UNIT, self.host.environment) else (file,)

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        snapshot = seen.snapshot
        base = Base.OURS if intent.mac in seen.own.live else Base.LEASED
        items = render_live(intent, host, snapshot, self.host.kernel.protocol, base)
        file = _file(intent, host, snapshot, seen.own)
        if _primary(host, snapshot) is None or base is Base.OURS:
            return (*file, *items)  # the result of an activation is not known, or not wanted
        return (*file, *_of_the_manager(intent, seen.own), *items)

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        from ec2net.backends.networkmanager.apply import apply

        devices = _devices(seen)
        targets = {item for goal in goals.values() for item in goal.items}

        def make_live(part: Plan, made: Collection[Activation], limit: Deadline) -> Applied:
            for activation in made:
                if activation in targets:  # otherwise it is the inverse of one
                    part = self._planned_again(part, goals[activation.mac], seen.snapshot)
            coming = bool(made) or any(d.state < State.ACTIVATED for d in devices.values())
            patience = self.host.patience if coming else min(LATE_SECONDS, self.host.patience)
            leases = limit.within(patience, "waiting for leases")
            await_sources(part.changes, devices, self.host.kernel, leases)
            with guarded(part.changes, self.host.kernel):
                return apply_live(part, self.host.kernel, self.host.journals, limit)

        return apply(plan, self._talk(), devices, self.host, make_live, deadline)

    def _planned_again(self, plan: Plan, goal: Goal, before: Snapshot) -> Plan:
        """``plan`` with what an ENI lacks now that its link was taken down in between."""
        mac, link = goal.intent.mac, before.link(goal.intent.link.index)
        if link is None:
            return plan
        snapshot = self.host.kernel.snapshot((link.driver,))
        found = observe_live(snapshot, (link,), self.host.kernel, self.host.journals)
        live = tuple(item for item in goal.items if isinstance(item, KernelObject))
        anew = make_plan({mac: live}, found, keep=frozenset(found.ours))
        others = tuple(change for change in plan.changes if change.mac != mac)
        return Plan((*anew.changes, *others), plan.conflicts)

    def check(self, intent: EniIntent, seen: Observed) -> tuple[str, ...]:
        """An activation that did not move the leased routes is not repeated, so it is a problem."""
        device = _devices(seen).get(intent.mac)
        if device is None or intent.primary or routes(device) is not Routes.MAIN:
            return ()
        if not attempts.was_made(self.host.run, intent.mac, device):
            return ()
        text = (
            f"NetworkManager has the leased routes of {intent.link} in the main table, where "
            "they catch"
        )
        return (f"{text} other ENIs' replies (does its own profile set a route-table?)",)

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


def _file(
    intent: EniIntent, host: HostIntent, snapshot: Snapshot, said: "Seen"
) -> tuple[Item, ...]:
    link = _primary(host, snapshot)
    if link is None or said.problem is not None:
        # The primary is not known, or NetworkManager does not answer: the present file stays.
        return (said.file,) if said.file is not None and said.file.ours else ()
    links = {eni.mac: snapshot.link(eni.link.index) for eni in host.enis if eni.link}
    drivers = {found.driver for found in links.values() if found is not None}
    # Not the devices that NetworkManager does not manage now: a user may return them.
    hands_off = [one for eni in host.enis if eni.apart and (one := links.get(eni.mac))]
    # This ENI's intent supplies the primary's metric only while the primary has none.
    early = next((eni.early for eni in host.ready if eni.primary), intent.early)
    # If ec2net ignores later ENIs, the file must not match an unknown one.
    only = [one for one in links.values() if one] if host.later_apart else None
    return (conf_file(link, early.main_metric, early.parking_table, drivers, hands_off, only=only),)


def _of_the_manager(intent: EniIntent, said: "Seen") -> tuple[Item, ...]:
    from ec2net.backends.networkmanager.merge import users_own
    from ec2net.backends.networkmanager.observe import MTU

    device = said.devices.get(intent.mac)
    if device is None:
        return ()
    found: list[Item] = []
    where = routes(device)
    target = Routes.MAIN if intent.primary else Routes.PARKED
    tried = where is not target and intent.mac in said.activated
    if where in (Routes.MAIN, Routes.PARKED, Routes.NONE) and not tried:
        found.append(Activation(intent.link, intent.mac, target))
    # A profile's own MTU takes precedence.
    if isinstance(intent.mtu, int) and not users_own(device.applied, MTU):
        found.append(AppliedMtu(intent.link, intent.mac, intent.mtu))
    return tuple(found)


def _devices(seen: Observed) -> dict[Mac, Device]:
    """None where NetworkManager was not asked: leftovers alone are planned then."""
    return {} if seen.own is None else dict(seen.own.devices)


def _primary(host: HostIntent, snapshot: Snapshot) -> Link | None:
    return None if host.primary_link is None else snapshot.link(host.primary_link.index)
