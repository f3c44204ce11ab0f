# SPDX-License-Identifier: Apache-2.0
"""The verbs of the networkd backend: a file for the base of each ENI, live changes for the rest."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from ec2net.backends.networkd import files
from ec2net.backends.networkd.apply import apply, apply_while_down
from ec2net.backends.networkd.choice import suits
from ec2net.backends.networkd.lease import Lease
from ec2net.backends.networkd.observe import files_in_place, look
from ec2net.backends.networkd.render import drop_in_path, network_file, own_path
from ec2net.backends.networkd.state import is_up, link_state
from ec2net.backends.networkd.unread import UnreadFiles
from ec2net.core.plugins.api import (
    Applied,
    Backend,
    Base,
    Boot,
    Broken,
    Deadline,
    EniIntent,
    Environment,
    Goal,
    Host,
    HostIntent,
    InPlace,
    Item,
    Kept,
    Link,
    Mac,
    Observed,
    Plan,
    Snapshot,
    Suitability,
    apply_live,
    observe_live,
    render_live,
)


class NetworkdBackend(Backend):
    """systemd-networkd leases the first address of each family; nothing else of it is used."""

    name: ClassVar[str] = "networkd"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._unread = UnreadFiles(host.run)

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        return suits(link, environment)

    @classmethod
    def prepare(cls, boot: Boot) -> None:
        from ec2net.backends.networkd.prepare import prepare

        prepare(boot)

    @classmethod
    def kept(cls, primary: Link, drivers: Collection[str], environment: Environment) -> Kept:
        from ec2net.backends.networkd.fallback import kept

        return kept(primary, drivers, environment)

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        live_items = observe_live(snapshot, links, self.host.kernel, self.host.journals)
        in_files = files_in_place()
        unread = self._unread.all()
        said = look(links, self.host.environment, [file.mac for file in unread])
        if not said.up:
            unread = ()  # no call makes networkd read them: it does when it starts
        found = InPlace(
            (*in_files.ours, *unread, *live_items.ours),
            (*in_files.foreign, *live_items.foreign),
            live_items.adjustable,
        )
        problems = () if said.problem is None else (said.problem,)
        return Observed(snapshot, found, problems=problems, own=said)

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        """Their files. networkd is not asked to act on it: it may be stopped for good, and what it
        leased is held by its successor."""
        found = files.in_folder(files.FOLDER)
        return tuple(file for file in found if file.ours and file.owner in taken)

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        path = seen.own.places.get(intent.link.index)
        base = _base(intent, seen)
        items = render_live(intent, host, seen.snapshot, self.host.kernel.protocol, base)
        link = seen.snapshot.link(intent.link.index)
        if path is None or link is None:
            return items
        return (network_file(path, intent.early, permanent=link.permanent), *items)

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        def make_live(part: Plan, broken: Broken) -> Applied:
            return apply_live(part, self.host.kernel, self.host.journals, deadline, broken)

        intents = (goal.intent for goal in goals.values())
        leases = {
            intent.mac: Lease(intent.link, intent.first(4), _base(intent, seen) is Base.LEASED)
            for intent in intents
            if _base(intent, seen) is not Base.OURS
        }
        files.discard_leftovers()
        # Without ENIs of this backend nothing was observed; files of former ones are leftovers.
        if seen.own is not None and not seen.own.up:
            return apply_while_down(plan, self.host, make_live, deadline)
        return apply(plan, self.host, make_live, leases, deadline)

    def check(self, intent: EniIntent, seen: Observed) -> tuple[str, ...]:
        """networkd must have ec2net's file in force, or its drop-in for a foreign one."""
        if not is_up(self.host.environment):
            return ()  # networkd does not answer, which is a problem of the pass
        state = link_state(intent.link.index, self.host.environment)
        used = state.file
        in_force = {used, drop_in_path(used)} if used is not None else set()
        unread = {item.path for item in self._unread.all()}
        return tuple(
            f"systemd-networkd uses {used or 'no file'} instead of {file.path} (state "
            f"{state.admin or 'unknown'})"
            + (", which it has not read" if file.path in unread else "")
            for file in files.in_folder(files.FOLDER)
            if file.owner == intent.mac and (file.path not in in_force or file.path in unread)
        )


def _base(intent: EniIntent, seen: Observed) -> Base:
    """With a foreign file, the origin of its addresses is unknown. While networkd is down, or reads
    no file, no lease arrives: ec2net brings a secondary up completely, and the primary gets back
    the IPv6 address that it lost."""
    if not seen.own.up or intent.mac in seen.own.unread:
        return Base.LEASED if intent.primary else Base.OURS
    path = seen.own.places.get(intent.link.index)
    return Base.LEASED if path == own_path(intent.link.name) else Base.FOREIGN
