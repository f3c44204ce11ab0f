# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel itself whether traffic would leave through the right ENI.

Not the text of the rules is checked but their effect: for each owned source, RTM_GETROUTE must
answer with the ENI's own link. Sources for which the kernel has equal rules get equal answers, so
one of each class is looked up for all destinations.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from ipaddress import ip_address

from ec2net.core.decide.intent import EniIntent
from ec2net.core.engine.causes import Cause, cause
from ec2net.core.engine.surroundings import Surroundings
from ec2net.core.kernel.session import Kernel, RouteAnswer
from ec2net.core.model.dataclass import dataclass
from ec2net.core.model.errors import KernelError
from ec2net.core.model.finding import Finding
from ec2net.core.model.objects import MAIN_TABLE, AnyAddress
from ec2net.core.model.plan import Action, Plan
from ec2net.core.runtime.deadline import Deadline

ABROAD: dict[int, AnyAddress] = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:ffff::1")}
"""A destination outside of every VPC (RFC 5737, RFC 3849). A lookup sends no packet."""
IMDS: dict[int, AnyAddress] = {4: ip_address("169.254.169.254"), 6: ip_address("fd00:ec2::254")}
SERVICES: dict[int, tuple[AnyAddress, ...]] = {
    4: (IMDS[4], ip_address("169.254.169.253"), ip_address("169.254.169.123")),
    6: (IMDS[6], ip_address("fd00:ec2::253"), ip_address("fd00:ec2::123")),
}
"""IMDS, DNS and the time service: every owned source must reach them."""

_SHOWN = 3
"""Destinations that a finding names."""


@dataclass(frozen=True, slots=True)
class Way:
    """The kernel's answer for the sources of one class and one destination."""

    sources: tuple[AnyAddress, ...]
    """All with equal rules; the first one was looked up."""
    destination: AnyAddress
    name: str
    """The destination for people: an address, or the subnet that it stands for."""
    answer: RouteAnswer | None
    error: str
    """The kernel's refusal; empty if there is an answer."""
    wanted: frozenset[int]
    """Indices of the links that may be the answer; empty: every link but those of other ENIs."""
    how: str = ""
    """``bound`` to the ENI's link, or ``forwarded``; empty: sent by the host."""

    def ok(self, intent: EniIntent, enis: frozenset[int]) -> bool:
        if self.answer is None:
            return False
        link = self.answer.link
        if self.wanted:
            return link in self.wanted
        return link == intent.link.index or link not in enis


def differences(plan: Plan) -> tuple[Finding, ...]:
    """A plan that should be empty, as findings: what is missing, different or left over."""
    words = {
        Action.ADD: "is missing",
        Action.REPLACE: "differs",
        Action.REMOVE: "is left over",
    }
    return tuple(
        Finding(change.mac, f"{change.item.describe()} {words[change.action]}")
        for change in plan.changes
    )


def check(
    intent: EniIntent,
    kernel: Kernel,
    around: Surroundings,
    deadline: Deadline,
    *,
    only: Collection[AnyAddress] | None = None,
    forwarded_alone: bool = False,
) -> tuple[Finding, ...]:
    """The ways of one ENI that are wrong, those with one cause as one finding.

    ``only``: of these sources; ``forwarded_alone``: of forwarded traffic.
    """
    wrong: dict[tuple[tuple[AnyAddress, ...], str], list[Way]] = {}
    asked = _forwarded if forwarded_alone else ways
    for way in asked(intent, kernel, around, deadline):
        if only is not None and not any(source in only for source in way.sources):
            continue
        if not way.ok(intent, around.enis):
            wrong.setdefault((way.sources, _said(way, around)), []).append(way)
    return tuple(_finding(intent, said, same, around) for (_, said), same in wrong.items())


def ways(
    intent: EniIntent, kernel: Kernel, around: Surroundings, deadline: Deadline
) -> Iterator[Way]:
    """The answers for all sources of one ENI.

    Without rules of its own the primary goes the host's way, which may be a VPN or a bridge, but
    through no other ENI: there the source check drops it. A secondary without rules (``routing =
    "off"``, ``manage = "no-rules"``) is routed by another tool, whose intention is not known here.
    """
    if not intent.primary and not intent.rules:
        return
    versions = {gateway.version for gateway in intent.gateways}
    for sources in _classes(intent, around):
        version = sources[0].version
        if version not in versions:
            continue
        yield from _to_all(intent, sources, kernel, around, deadline)
        yield _way(
            kernel,
            sources,
            ABROAD[version],
            str(ABROAD[version]),
            frozenset((intent.link.index,)),
            through=intent.link.index,
        )
        yield from _by_devices(intent, sources, kernel, around)
    yield from _forwarded(intent, kernel, around, deadline)


def _corrected(
    intent: EniIntent, sources: tuple[AnyAddress, ...]
) -> Iterator[tuple[AnyAddress, str]]:
    """A host of each destination that the primary is kept to, if its first address is a source."""
    version = sources[0].version
    if intent.first(version) in sources:
        for route in intent.correction_routes:
            if route.version == version:
                network = route.destination
                yield network[min(1, network.num_addresses - 1)], str(network)


def _to_all(
    intent: EniIntent,
    sources: tuple[AnyAddress, ...],
    kernel: Kernel,
    around: Surroundings,
    deadline: Deadline,
) -> Iterator[Way]:
    """One lookup for each class of destinations with equal rules and routes: each costs the kernel a
    walk through all rules, which are 6,300 for each IP version on the largest host."""
    known: dict[object, Way] = {}
    everywhere = _destinations(sources[0].version, around)
    for destination, name in (*everywhere, *_corrected(intent, sources)):
        by_main = _by_main(intent, destination, kernel, around)
        same = by_main, _same(intent, sources[0], destination, kernel, around)
        way = known.get(same)
        if way is None:
            deadline.check()
            wanted = _own(intent) | (frozenset() if by_main is None else {by_main})
            way = _way(kernel, sources, destination, name, wanted)
            known[same] = way
        yield replace(way, destination=destination, name=name)


def _by_main(
    intent: EniIntent, destination: AnyAddress, kernel: Kernel, around: Surroundings
) -> int | None:
    """The link that is no ENI to which main leads an ENI's subnet, such as a VPN's: with main-first
    it takes precedence over the ENI's table, unless main leads there by a default route. None: the
    destination is no such host."""
    version = destination.version
    if destination == ABROAD[version] or destination in SERVICES[version]:
        return None
    if not any(rule.table == MAIN_TABLE for rule in intent.rules):
        return None
    host = _host_link(kernel, destination, around)
    return host if host not in around.enis and around.names.get(host or 0) != "lo" else None


def _same(
    intent: EniIntent,
    source: AnyAddress,
    destination: AnyAddress,
    kernel: Kernel,
    around: Surroundings,
) -> object:
    """A value that is equal for destinations with equal answers.

    ec2net does not read the tables of other makers' rules, so a destination that one of them takes
    is its own class.
    """
    if around.takers(source, destination):
        return destination
    host = _host_link(kernel, destination, around)
    if not intent.rules:
        return (host,)
    own = tuple(
        rule
        for rule in around.ours.matching(source)
        if rule.destination is not None and destination in rule.destination
    )
    device = None if host in around.enis else host
    return (around.route(intent.table, destination), device, own)


def _own(intent: EniIntent) -> frozenset[int]:
    """The links that may be the answer."""
    return frozenset((intent.link.index,)) if intent.rules else frozenset()


def _classes(intent: EniIntent, around: Surroundings) -> list[tuple[AnyAddress, ...]]:
    """The sources, those together for which the kernel has equal rules."""
    classes: dict[tuple[object, ...], list[AnyAddress]] = {}
    for interface in intent.sources:
        source = interface.ip
        others = tuple(id(rule) for rule in around.of_others.matching(source))
        own = tuple(
            (rule.priority, rule.table, rule.suppress_group, rule.mark, rule.destination)
            for rule in around.ours.matching(source)
        )
        there = (intent.link.index, source) in around.held
        classes.setdefault((source.version, others, own, there), []).append(source)
    return [tuple(same) for same in classes.values()]


def _destinations(version: int, around: Surroundings) -> Iterator[tuple[AnyAddress, str]]:
    """Abroad, the services, and a neighbour in the subnet of every ENI, with names for people."""
    for address in (ABROAD[version], *SERVICES[version]):
        yield address, str(address)
    for subnet in around.subnets:
        neighbour = around.neighbour(subnet) if subnet.version == version else None
        if neighbour is not None:
            yield neighbour, str(subnet)


def _by_devices(
    intent: EniIntent, sources: tuple[AnyAddress, ...], kernel: Kernel, around: Surroundings
) -> Iterator[Way]:
    """Networks behind bridges and tunnels: with main-first, main's routes to them count."""
    if not any(rule.table == MAIN_TABLE for rule in intent.rules):
        return
    for link, network in around.devices:
        if network.version != sources[0].version:
            continue
        neighbour = around.neighbour(network)
        if neighbour is None or _host_link(kernel, neighbour, around) != link:
            continue  # for example a bridge that is down
        yield _way(kernel, sources, neighbour, str(network), frozenset((link,)))


def _forwarded(
    intent: EniIntent, kernel: Kernel, around: Surroundings, deadline: Deadline
) -> Iterator[Way]:
    """Sources behind another link of the host, as containers are."""
    if not intent.rules:
        return
    for network in (*intent.prefixes, *intent.routed, *intent.configured_sources):
        deadline.check()
        source, destination = network[min(1, network.num_addresses - 1)], ABROAD[network.version]
        if (into := forwarded_from(source, kernel, around)) is not None:
            yield _way(kernel, (source,), destination, str(destination), _own(intent), into=into)


def forwarded_from(source: AnyAddress, kernel: Kernel, around: Surroundings) -> int | None:
    """Index of the link behind which a source is that the host forwards for; None if it is none."""
    if source.version not in around.forwards or source in around.local:
        return None
    into = _host_link(kernel, source, around)
    if into is None or into in around.enis or around.names.get(into, "lo") == "lo":
        return None
    return into


def _host_link(kernel: Kernel, destination: AnyAddress, around: Surroundings) -> int | None:
    """The link by which the host sends there from no given source; None if the kernel refuses."""
    if destination not in around.host_links:
        try:
            link = kernel.lookup(destination).link
        except KernelError:
            link = None
        around.host_links[destination] = link
    return around.host_links[destination]


def _way(
    kernel: Kernel,
    sources: tuple[AnyAddress, ...],
    destination: AnyAddress,
    name: str,
    wanted: frozenset[int],
    *,
    through: int = 0,
    into: int = 0,
) -> Way:
    how = "bound" if through else "forwarded" if into else ""
    try:
        answer = kernel.lookup(destination, sources[0], through=through, into=into)
    except KernelError as error:
        said = error.problem.rpartition(": ")[2]
        return Way(sources, destination, name, None, said, wanted, how)
    return Way(sources, destination, name, answer, "", wanted, how)


def cause_of(way: Way, around: Surroundings) -> Cause:
    """The rule, table and route that the answer came from."""
    return cause(around, way.sources[0], way.destination, way.answer)


def _said(way: Way, around: Surroundings) -> str:
    """The kernel's answer, and its cause."""
    if way.answer is None:
        text = _refusal(way, around)
    else:
        link = way.answer.link
        text = f"it would leave through {around.names.get(link, f'link {link}')}"
    found = cause_of(way, around)
    if rule := found.foreign:
        owner = f"a rule of {rule.maker}" if rule.maker else "a rule that ec2net did not make"
        return f"{text} by {rule.describe()} ({owner})"
    by = found.describe()
    return f"{text} by {by}" if by else text


def _refusal(way: Way, around: Surroundings) -> str:
    """The kernel has one error for a blackhole and for a source that the host does not have."""
    if "EINVAL" not in way.error:
        return f"the kernel says: {way.error}"
    if not way.how and way.sources[0] not in around.local:
        return "the host does not have the address"
    return "the kernel discards the packets"


def _finding(intent: EniIntent, said: str, same: list[Way], around: Surroundings) -> Finding:
    """One finding for all ways of one class with one answer."""
    first = same[0]
    more = len(first.sources) - 1
    sources = f"{first.sources[0]}{f' (and {more} more)' if more else ''}"
    names = list(dict.fromkeys(f"{way.name}{way.how and f' ({way.how})'}" for way in same))
    others = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN]) + (f" and {others} more" if others > 0 else "")
    wanted = sorted({around.names.get(link, str(link)) for link in first.wanted})
    links = " or ".join(wanted) or intent.link.name
    return Finding(
        intent.mac,
        f"traffic from {sources} to {shown} should leave through {links}, but {said}",
        kind="traffic",
        remedy=cause_of(first, around).remedy(),
    )
