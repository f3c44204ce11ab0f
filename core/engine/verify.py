# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel itself whether traffic would leave through the right ENI.

Not the text of the rules is checked but their effect: for each owned source, RTM_GETROUTE must
answer with the ENI's own link. Sources for which the kernel has equal rules get equal answers, so
one of each class is looked up for all destinations.
"""

import errno
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ec2net.core.decide.intent import EniIntent
from ec2net.core.engine.causes import Cause, cause
from ec2net.core.engine.surroundings import Surroundings
from ec2net.core.kernel.session import Kernel, RouteAnswer
from ec2net.core.model.errors import KernelError
from ec2net.core.model.finding import Finding
from ec2net.core.model.objects import MAIN_TABLE, AnyAddress, Route
from ec2net.core.model.plan import Action, Plan
from ec2net.core.model.problem_code import Code
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
    refusal: KernelError | None
    """None if there is an answer."""
    wanted: frozenset[int]
    """Indices of the links that may be the answer; empty: every link but those of other ENIs."""
    route: Route | None = None
    """The route that the packets take, if they leave through another link than a wanted one."""
    how: str = ""
    """``bound`` to the ENI's link, or ``forwarded``; empty: sent by the host."""

    @property
    def unrouted(self) -> bool:
        """Whether no route leads there: the kernel then looks for the destination of a bound packet
        on the link itself (ip_route_output_key_hash_rcu, net/ipv4/route.c)."""
        return self.how == "bound" and self.answer is not None and not self.answer.table

    def ok(self, intent: EniIntent, enis: frozenset[int]) -> bool:
        if self.answer is None or self.unrouted:
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
        Finding(
            change.mac,
            f"{change.item.describe()} {words[change.action]}"
            + (f" ({change.before.describe()})" if change.before is not None else ""),
        )
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
    In a VRF, the traffic of a program depends on the VRF that the program is bound to.
    """
    if intent.vrf or (not intent.primary and not intent.rules):
        return
    versions = {gateway.version for gateway in intent.gateways}
    for sources in _classes(intent, around):
        version = sources[0].version
        if version not in versions:
            continue
        for way in _to_all(intent, sources, kernel, around, deadline):
            yield way
            if way.destination == ABROAD[version] and not _is_elsewhere(intent, way):
                yield _bound(intent, way, kernel, around)
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
    version = sources[0].version
    everywhere = dict(_destinations(version, around))
    further = (*_diverted(intent, version, around), *_corrected(intent, sources))
    everywhere |= {address: name for address, name in further if address not in everywhere}
    for destination, name in everywhere.items():
        by_main = _by_main(intent, destination, kernel, around)
        same = by_main, _same(intent, sources[0], destination, kernel, around)
        way = known.get(same)
        if way is None:
            deadline.check()
            wanted = _own(intent) | (frozenset() if by_main is None else {by_main})
            way = _way(kernel, sources, destination, name, wanted, around)
            known[same] = way
        yield replace(way, destination=destination, name=name)


def _is_elsewhere(intent: EniIntent, abroad: Way) -> bool:
    """Whether the host's way is a VPN or a bridge, which has the only default route of the host."""
    link = abroad.answer.link if abroad.answer is not None else intent.link.index
    return not intent.rules and link != intent.link.index


def _bound(intent: EniIntent, abroad: Way, kernel: Kernel, around: Surroundings) -> Way:
    """The way of a packet that is bound to the ENI's link.

    If the unbound packet leaves through this link, the bound one takes the same route: the kernel
    goes by the same rules, and the bound packet passes over the routes through other links
    (fib_table_lookup, net/ipv4/fib_trie.c; rt6_device_match and find_match, net/ipv6/route.c).
    """
    link = intent.link.index
    if abroad.answer is not None and abroad.answer.link == link and not around.selects_by_link:
        return replace(abroad, how="bound")
    wanted = frozenset((link,))
    to, name = abroad.destination, abroad.name
    return _way(kernel, abroad.sources, to, name, wanted, around, through=link)


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
    kinds = around.kinds
    for interface in intent.sources:
        source = interface.ip
        others = tuple(map(id, around.of_others.matching(source)))
        own = tuple([kinds[id(rule)] for rule in around.ours.matching(source)])
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


def _diverted(
    intent: EniIntent, version: int, around: Surroundings
) -> Iterator[tuple[AnyAddress, str]]:
    """A host of each destination for which another maker put a route into the ENI's table."""
    for route in around.by_table.get(intent.table, ()):
        network = route.destination
        if route in around.foreign_routes and route.version == version and network.prefixlen:
            yield network[min(1, network.num_addresses - 1)], str(network)


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
        yield _way(kernel, sources, neighbour, str(network), frozenset((link,)), around)


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
            name, wanted = str(destination), _own(intent)
            yield _way(kernel, (source,), destination, name, wanted, around, into=into)


def forwarded_from(source: AnyAddress, kernel: Kernel, around: Surroundings) -> int | None:
    """Index of the link behind which a source is that the host forwards for; None if it is none."""
    forwards = source.version in around.forwards and source not in around.local
    return behind(source, kernel, around) if forwards else None


def behind(source: AnyAddress, kernel: Kernel, around: Surroundings) -> int | None:
    """Index of the link that is no ENI's and that leads to an address; None if there is none."""
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
    around: Surroundings,
    *,
    through: int = 0,
    into: int = 0,
) -> Way:
    how = "bound" if through else "forwarded" if into else ""
    try:
        answer = kernel.lookup(destination, sources[0], through=through, into=into)
    except KernelError as error:
        return Way(sources, destination, name, None, error, wanted, how=how)
    route = None
    if wanted and answer.link not in wanted:
        names = around.names
        route = kernel.route_of(destination, sources[0], names, through=through, into=into)
    return Way(sources, destination, name, answer, None, wanted, route, how)


def cause_of(way: Way, around: Surroundings) -> Cause:
    """The rule, table and route that the answer came from."""
    bound = next(iter(way.wanted)) if way.how == "bound" else 0
    through = around.names.get(bound, "")
    answer = None if way.unrouted else way.answer
    return cause(around, way.sources[0], way.destination, answer, through, way.route)


def _said(way: Way, around: Surroundings) -> str:
    """The kernel's answer, and its cause."""
    if way.refusal is not None:
        text = _refusal(way, way.refusal, around)
    elif way.unrouted:
        text = "no route leads there"
    else:
        link = way.answer.link if way.answer is not None else 0
        text = f"it would leave through {around.names.get(link, f'link {link}')}"
    found = cause_of(way, around)
    if rule := found.foreign:
        owner = f"a rule of {rule.maker}" if rule.maker else "a rule that ec2net did not make"
        return f"{text} by {rule.describe()} ({owner})"
    by = found.describe()
    return f"{text} by {by}" if by else text


def _code(way: Way, around: Surroundings) -> Code:
    if cause_of(way, around).foreign is not None:
        return Code.FOREIGN_RULE
    if way.refusal is None:
        return Code.DISCARDED if way.unrouted else Code.DIVERTED
    return Code.MISSING_SOURCE if _lacks_source(way, way.refusal, around) else Code.DISCARDED


def _lacks_source(way: Way, refusal: KernelError, around: Surroundings) -> bool:
    """The kernel has one error for a blackhole and for a source that the host does not have."""
    absent = not way.how and way.sources[0] not in around.local
    return refusal.errno == errno.EINVAL and absent


def _refusal(way: Way, refusal: KernelError, around: Surroundings) -> str:
    if _lacks_source(way, refusal, around):
        return "the host does not have the address"
    if refusal.errno != errno.EINVAL:
        return f"the kernel says: {refusal.problem.rpartition(': ')[2]}"
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
    found = cause_of(first, around)
    return Finding(
        intent.mac,
        f"traffic from {sources} to {shown} should leave through {links}, but {said}",
        _code(first, around),
        found.remedy(),
        found.culprit,
    )
