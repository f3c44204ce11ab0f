# SPDX-License-Identifier: Apache-2.0
"""What is ours: by mark in the kernel (protocol number), else by a journal per link.

Routes, rules and (Linux 5.18) addresses carry the protocol number of their maker. Settings of
a link carry nothing: the journal keeps what they were before, so that they can be given back.
A journal holds for one attachment; it is written before the change that it tells of.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from typing import Any, TypeGuard

from ec2net.core.config.settings import Attached
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import LAST_PRIORITIES
from ec2net.core.model.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Address,
    AnyInterface,
    KernelObject,
    LinkSetting,
    ReplyMarks,
    Route,
    RouteKind,
    Rule,
    Setting,
)
from ec2net.core.model.plan import InPlace, Item, Owned, Plan, make_plan
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.state.run_dir import RunDir

_FOLDER = "journal"
RESTORED = (Setting.MTU, Setting.GROUP, Setting.ACCEPT_RA)
"""Settings that are given back; a link that was brought up stays up."""
_INT_MAX = 2**31 - 1


@dataclass(slots=True)
class Journal:
    """What was changed on one link."""

    ifindex: int
    before: dict[Setting, int] = field(default_factory=dict)
    """The value that a setting had before the first change."""
    altnames: set[str] = field(default_factory=set)
    addresses: set[AnyInterface] = field(default_factory=set)
    """Only where they cannot be marked in the kernel. With another prefix length it is another one:
    IPv4 can be on a link with several, each somebody else's."""

    def to_json(self) -> dict[str, Any]:
        return {
            "ifindex": self.ifindex,
            "before": {setting.value: value for setting, value in self.before.items()},
            "altnames": sorted(self.altnames),
            "addresses": sorted(map(str, self.addresses)),
        }

    def with_all_of(self, other: "Journal") -> "Journal":
        """Both together; where they differ, this one."""
        return Journal(
            self.ifindex,
            {**other.before, **self.before},
            self.altnames | other.altnames,
            self.addresses | other.addresses,
        )

    @property
    def empty(self) -> bool:
        return not (self.before or self.altnames or self.addresses)


class Journals:
    """The journals of all links, under /run/ec2net/journal."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._missing: dict[Mac, Journal] = {}

    def compare(self, mac: Mac, journal: Journal, there: Collection[str | AnyInterface]) -> None:
        """Note which journaled names and addresses are not there any more.

        They are struck out by ``keep_only`` unless they are made again before (``expect``): a pass
        that was killed after a removal leaves them, and somebody else may use them later.
        """
        self._missing[mac] = Journal(
            journal.ifindex,
            altnames=journal.altnames.difference(map(str, there)),
            addresses=journal.addresses.difference(there),
        )

    def expect(self, mac: Mac, what: str | AnyInterface) -> None:
        """It is being made: its entry stays."""
        if mac in self._missing:
            self._missing[mac].altnames.discard(str(what))
            if not isinstance(what, str):
                self._missing[mac].addresses.discard(what)

    def read(self, mac: Mac, ifindex: int) -> Journal:
        """The journal of a link; an empty one if there is none for this attachment."""
        data = self._run.read(_file(mac))
        if data is None or data.get("ifindex") != ifindex:
            return Journal(ifindex)
        try:
            return Journal(
                ifindex,
                {
                    Setting(name): int(value)
                    for name, value in data["before"].items()
                    if 0 <= int(value) <= _INT_MAX  # else the kernel's message cannot hold it
                },
                {str(name) for name in data["altnames"]},
                {ip_interface(text) for text in data["addresses"]},
            )
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
            return Journal(ifindex)

    def addresses(self, links: Iterable[Link]) -> frozenset[tuple[int, AnyInterface]]:
        """Those of all journals, with the index of their link."""
        there = set(self._run.names(_FOLDER))
        return frozenset(
            (link.index, interface)
            for link in links
            if link.mac is not None and _file(link.mac) in there
            for interface in self.read(link.mac, link.index).addresses
        )

    def write(self, mac: Mac, journal: Journal) -> None:
        """Raises ``StateError``."""
        if journal.empty:
            self._run.remove(_file(mac))
        else:
            self._run.write(_file(mac), journal.to_json())

    def keep_only(self, attached: Collection[Mac]) -> None:
        """Forget links that are gone, and what is gone of the others. Raises ``StateError``."""
        for mac, missing in self._missing.items():
            if missing.empty:
                continue
            journal = self.read(mac, missing.ifindex)
            journal.altnames -= missing.altnames
            journal.addresses -= missing.addresses
            self.write(mac, journal)
        self._missing.clear()
        kept = {_file(mac) for mac in attached}
        for name in self._run.names(_FOLDER):
            if name not in kept:
                self._run.remove(name)


def _file(mac: Mac) -> str:
    return f"{_FOLDER}/{mac}.json"


def snapshot_of(kernel: Kernel, drivers: Iterable[str], run: RunDir) -> Snapshot:
    """The kernel's, in which addresses are marked. Raises ``KernelError``."""
    snapshot = kernel.snapshot(drivers)
    if kernel.marks_addresses:
        return snapshot
    return with_journaled(snapshot, Journals(run), kernel.protocol)


def with_journaled(snapshot: Snapshot, journals: Journals, protocol: int) -> Snapshot:
    """Addresses as if they were marked, where they cannot be: those of the journals are."""
    ours = journals.addresses(snapshot.links)
    addresses = tuple(
        replace(found, protocol=protocol)
        if (found.item.link.index, found.item.interface) in ours
        else found
        for found in snapshot.addresses
    )
    return replace(snapshot, addresses=addresses)


def marked(snapshot: Snapshot, protocol: int) -> tuple[KernelObject, ...]:
    """Addresses, routes and rules that carry our protocol number."""
    return tuple(found.item for found in snapshot.objects if _is_marked(found, protocol))


def unmarked(snapshot: Snapshot, protocol: int) -> tuple[KernelObject, ...]:
    """Those that somebody else made."""
    return tuple(found.item for found in snapshot.objects if not _is_marked(found, protocol))


def _is_marked(found: Found[KernelObject], protocol: int) -> bool:
    """A kind of route that we never make (blackhole, multipath) is not ours, whatever its mark."""
    if isinstance(found.item, Route) and found.item.kind is RouteKind.OTHER:
        return False
    return found.protocol == protocol


def owners(ours: Iterable[Item], host: HostIntent, foreign: Iterable[Item] = ()) -> dict[Item, Mac]:
    """For which ENI each item of ours is: by its link, its table, or (main-first) its source.

    The rule that tells a source's table may be somebody else's, who was quicker with it. By which
    the host's IPv4 fails (``ipv4_fast_failure``), is the primary's.
    """
    by_index = {link.index: eni.mac for eni in host.enis for link in eni.links}
    primary = by_index.get(host.primary_link.index) if host.primary_link is not None else None
    macs = set(by_index.values())
    by_table = {
        **{eni.table: eni.mac for eni in host.enis if eni.table is not None and eni.links},
        **{intent.table: intent.mac for intent in host.ready},
    }
    ours = tuple(ours)
    for item in ours:
        if (
            isinstance(item, Route)
            and not _is_guard(item)
            and item.table not in (MAIN_TABLE, LOCAL_TABLE)
        ):
            by_table.setdefault(item.table, by_index.get(item.link.index, Mac("")))
    by_source = {
        item.source: by_table[item.table]
        for item in (*foreign, *ours)
        if isinstance(item, Rule) and item.table in by_table and item.mark is None
    }
    found = {}
    for item in ours:
        mac: Mac | None = None
        if isinstance(item, Rule):
            last = item.priority in LAST_PRIORITIES
            mac = by_table.get(item.table) or (primary if last else by_source.get(item.source))
        elif _is_guard(item):
            mac = by_table.get(item.table)
        elif isinstance(item, Route | Address | LinkSetting | ReplyMarks):
            mac = by_index.get(item.link.index)
        elif isinstance(item, Owned):
            mac = item.owner if item.owner in macs else None
        if mac is not None and mac.text:
            found[item] = mac
    return found


def _is_guard(item: Item) -> TypeGuard[Route]:
    """A table's last route (``core/live/guard.py``): it has no link, and stays when that goes."""
    return isinstance(item, Route) and item.kind is RouteKind.UNREACHABLE


def held(owned: Mapping[Item, Mac], macs: Collection[Mac]) -> frozenset[Item]:
    """The items of these ENIs: what stays although no intent wants it."""
    return frozenset(item for item, mac in owned.items() if mac in macs)


def plan_for(
    host: HostIntent,
    mine: set[Mac],
    wanted: Mapping[Mac, tuple[Item, ...]],
    found: InPlace,
    without: frozenset[Mac],
) -> Plan:
    """The plan of one backend; of what nobody wants, only what surely is nobody's goes."""
    found = replace(found, ours=(*found.ours, *_unjournaled(found, host, without)))
    owned = owners(found.ours, host, found.foreign)
    past = _of_earlier_attachments(host, owned)
    stays = {
        eni.mac
        for eni in host.enis
        if eni.mac not in without
        and (eni.mac not in mine or (eni.mac not in past and _keeps(eni.mac, host, wanted)))
    }
    waiting = [eni for eni in host.enis if eni.mac not in without and _waits(eni)]
    keep = held(owned, stays) | _doubtful(found.ours, owned, waiting)
    keep -= _overtaken(owned, host, mine)
    return make_plan(wanted, found, keep=keep, owners=owned)


def _of_earlier_attachments(host: HostIntent, owned: Mapping[Item, Mac]) -> set[Mac]:
    """Ignored ENIs that came later, with nothing of ours on their links: they came back.

    What is left of before are the rules, and a guard, which do not go with a link.
    """
    on_links = {m for item, m in owned.items() if not (isinstance(item, Rule) or _is_guard(item))}
    return {
        eni.mac
        for eni in host.enis
        if eni.standing is Standing.IGNORED
        and eni.attached is Attached.LATER
        and eni.mac not in on_links
    }


def _unjournaled(
    found: InPlace, host: HostIntent, without: Collection[Mac]
) -> tuple[LinkSetting, ...]:
    """Names that were given to an ENI whose journal was lost, as its group tells, to take them back.

    What other settings were before is lost with the journal: they stay.
    """
    foreign = {item for item in found.foreign if isinstance(item, LinkSetting)}
    return tuple(
        name
        for intent in host.ready
        if intent.mac in without
        and LinkSetting(intent.link, Setting.GROUP, intent.link_group) in foreign
        for altname in intent.altnames
        if (name := LinkSetting(intent.link, Setting.ALTNAME, altname)) in foreign
    )


def _overtaken(
    owned: Mapping[Item, Mac], host: HostIntent, mine: Collection[Mac]
) -> frozenset[Item]:
    """Rules of ``ipv4_fast_failure`` that stop to be right: they go in a pass for another ENI too."""
    last = {intent.mac: intent.no_ipv4 for intent in host.ready if not intent.unread}
    return frozenset(
        item
        for item, mac in owned.items()
        if isinstance(item, Rule)
        and item.priority in LAST_PRIORITIES
        and mac in mine
        and item not in last.get(mac, (item,))
    )


def _waits(eni: EniOutcome) -> bool:
    """Whether it is there, and nothing says yet what is wanted of it.

    An ignored link that IMDS never told of is none that anything was made for.
    """
    if eni.standing is Standing.IGNORED and eni.eni_id is None:
        return False
    return bool(eni.links) and eni.intent is None and eni.standing is not Standing.NO_ADDRESS


def _doubtful(
    ours: Iterable[Item], owned: Mapping[Item, Mac], waiting: Collection[EniOutcome]
) -> frozenset[Item]:
    """Rules without an owner that may be for one of these ENIs.

    They lead to an empty table, since the kernel flushes that when the link is set down, and the
    ENI's number is not known; or to main, and somebody took away the partner that would tell.
    """
    rules = {item for item in ours if isinstance(item, Rule)}
    paired = {rule.source for rule in rules if rule.table != MAIN_TABLE}
    no_number = any(eni.table is None for eni in waiting)
    return frozenset(
        rule
        for rule in rules
        if rule not in owned and (no_number or (waiting and rule.source not in paired))
    )


def _keeps(mac: Mac, host: HostIntent, wanted: Mapping[Mac, tuple[Item, ...]]) -> bool:
    """Whether nothing of an ENI may be removed: not planned for now, or not read completely."""
    eni = host.of(mac)
    if eni is None or eni.standing is Standing.NO_ADDRESS:
        return False
    intent: EniIntent | None = eni.intent
    return mac not in wanted or (intent is not None and bool(intent.unread))
