# SPDX-License-Identifier: Apache-2.0
"""Default routes, gateways, and what others put into tables and priorities of ENIs. Pure."""

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.engine.causes import deletion
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import (
    MAIN_TABLE,
    AnyAddress,
    LinkRef,
    Route,
    RouteKind,
    Rule,
)
from ec2net.core.model.policy_rule import KERNEL, maker_of
from ec2net.core.model.snapshot import Found, Snapshot


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway of an ENI."""

    mac: Mac
    link: LinkRef
    address: AnyAddress


def gateways(host: HostIntent, snapshot: Snapshot) -> tuple[Gateway, ...]:
    """Gateways that must answer: those of ENIs whose links are up."""
    return tuple(
        Gateway(intent.mac, intent.link, address)
        for intent in host.ready
        if (link := snapshot.link(intent.link.index)) is not None and link.up
        for address in intent.gateways
    )


def silent(found: Collection[Gateway]) -> Iterator[Finding]:
    """``found`` are gateways that were asked and did not answer."""
    for gateway in found:
        way = "ARP" if gateway.address.version == 4 else "neighbour solicitations"
        yield Finding(
            Severity.ERROR,
            Check.GATEWAY,
            gateway.link.name,
            f"the gateway {gateway.address} does not answer {way}: no traffic leaves the subnet",
            "check that the ENI is attached ('aws ec2 describe-network-interfaces'), that its "
            "subnet is the one that IMDS reports, and that no filter (nft, ebtables, tc) drops "
            f"{'ARP' if way == 'ARP' else 'ICMPv6'}",
        )


def fixed(found: Collection[Gateway]) -> Iterator[Finding]:
    """``found`` are gateways with a permanent neighbour entry, which may be wrong."""
    for gateway in found:
        yield Finding(
            Severity.WARNING,
            Check.GATEWAY,
            gateway.link.name,
            f"a program set the MAC address of the gateway {gateway.address} for good, so the kernel "
            "does not ask for it: if the address is wrong, no traffic leaves the subnet",
            f"if nothing needs the entry, run: ip neigh del {gateway.address} dev {gateway.link}",
        )


def links_down(host: HostIntent, snapshot: Snapshot) -> Iterator[Finding]:
    for intent in host.ready:
        link = snapshot.link(intent.link.index)
        if link is not None and not link.up:
            yield Finding(
                Severity.ERROR,
                Check.LINK_DOWN,
                link.name,
                "the link is down",
                f"run: ip link set {link.name} up && ec2net refresh",
            )


def missing_defaults(
    host: HostIntent, snapshot: Snapshot, others: Collection[Mac] = ()
) -> Iterator[Finding]:
    """Tables without a way out. ``others``: ENIs that are only observed, so another's to route."""
    for intent in host.ready:
        if intent.mac in others or not (intent.rules or intent.primary or intent.vrf):
            continue
        table = intent.table if intent.rules or intent.vrf else MAIN_TABLE
        for version in sorted({gateway.version for gateway in intent.gateways}):
            if any(_is_default(found.item, table, version) for found in snapshot.routes):
                continue
            name = "main" if table == MAIN_TABLE else str(table)
            ours = table != MAIN_TABLE
            yield Finding(
                # The administrator may have omitted IPv6 on the primary on purpose.
                Severity.WARNING if version == 6 and not ours else Severity.ERROR,
                Check.DEFAULT_ROUTE,
                intent.link.name,
                f"table {name} has no IPv{version} default route",
                "run: ec2net refresh"
                if ours
                else f"renew the lease with the network manager of {intent.link}: "
                f"'networkctl renew {intent.link}' or 'nmcli device reapply "
                f"{intent.link}'",
            )


def _is_default(route: Route, table: int, version: int) -> bool:
    """Multipath ones read as of another kind and count in main; an unreachable one leads nowhere."""
    return (
        route.table == table
        and route.destination.prefixlen == 0
        and route.destination.version == version
        and route.kind is not RouteKind.UNREACHABLE
    )


def foreign_objects(
    host: HostIntent,
    snapshot: Snapshot,
    numbers: NumberPlan,
    others: Collection[Mac] = (),
    *,
    but: Container[Rule | Route] = (),
) -> Iterator[Finding]:
    """Foreign rules and routes, in the numbers of ENIs.

    A snapshot has no rules with selectors that are not modelled (marks, links). The user routes the
    tables of ``others`` and of ``manage = "no-rules"``. ``but``: reported with the tool that made
    them.
    """
    by_table = {intent.table: intent for intent in host.ready}
    theirs = {
        intent.table
        for intent in host.ready
        if intent.mac in others or not (intent.rules or intent.primary)
    }
    for made in snapshot.rules:
        rule = made.item
        if made.protocol == numbers.protocol or rule.table in theirs or rule in but:
            continue
        if _concerns(rule, host, numbers):
            yield _foreign(made, "", _harm(rule, host))
    for found in snapshot.routes:
        route = found.item
        if found.protocol in (numbers.protocol, KERNEL) or route.table in theirs:
            continue
        if route in but:
            continue
        if route.table in numbers.tables:
            owner = by_table.get(route.table)
            harm = "" if owner is None or not owner.rules else _route_harm(route, owner)
            yield _foreign(found, owner.link.name if owner else "", harm)


def _concerns(rule: Rule, host: HostIntent, numbers: NumberPlan) -> bool:
    """Whether a rule is among those of ENIs, or leads others' traffic into an ENI's table.

    A rule in a priority of ENIs for a source that no ENI has does nothing to them.
    """
    owners = [i for i in host.ready if any(_overlap(rule, own) for own in i.rules)]
    if rule.priority in numbers.priorities:
        return bool(owners) or rule.table in numbers.tables
    return rule.table in numbers.tables and [i.table for i in owners] != [rule.table]


def _overlap(rule: Rule, own: Rule) -> bool:
    return rule.source.version == own.source.version and rule.source.overlaps(own.source)


def _harm(rule: Rule, host: HostIntent) -> str:
    """The harm of a foreign rule for an ENI: it precedes the ENI's rule, and leads elsewhere.

    A rule for some destinations only, such as a VPN's, is no harm.
    """
    if rule.destination is not None:
        return ""
    for intent in host.ready:
        for own in intent.rules:
            if (
                _overlap(rule, own)
                and rule.priority <= own.priority
                and own.table == intent.table != rule.table
                and rule.suppress_prefixlength is None
            ):
                return f"it precedes the rule of {intent.link} and leads elsewhere"
    return ""


def _route_harm(route: Route, owner: EniIntent) -> str:
    return "" if route.link == owner.link else f"it diverts traffic of {owner.link}"


def _foreign(made: Found[Rule] | Found[Route], subject: str, harm: str) -> Finding:
    item = made.item
    command = deletion(item)
    return Finding(
        Severity.ERROR if harm else Severity.WARNING,
        Check.FOREIGN_OBJECT,
        subject,
        f"{item.describe()}: {maker_of(made.protocol)} made it, but it uses a number of ec2net{'; ' if harm else ''}{harm}",
        "configure the tool that created it to use other numbers, or change [numbers] in the "
        "configuration" + (f"; if nothing needs it, run: {command}" if command else ""),
    )
