# SPDX-License-Identifier: Apache-2.0
"""How traffic of one ENI is routed: its gateways, rules and routes, from parsed values. Pure.

The semantics and the reasons are in docs/routing.md. Priorities, tables and metrics are computed in
``core/model/numbers.py``.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from ec2net.core.config.settings import EniSettings, MainDefault, Manage, PrefixMode, Routing
from ec2net.core.model.numbers import EniNumber, NumberPlan
from ec2net.core.model.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    AnyAddress,
    AnyInterface,
    AnyNetwork,
    LinkRef,
    Mark,
    Route,
    RouteKind,
    Rule,
)

IPV6_GATEWAY = IPv6Address("fe80:ec2::1")
"""The VPC router's link-local address in every subnet (amazon-vpc-cni-k8s uses it as well)."""

_BITS = {4: 32, 6: 128}
_NETWORKS: dict[int, type[IPv4Network] | type[IPv6Network]] = {4: IPv4Network, 6: IPv6Network}
EVERYTHING: dict[int, AnyNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
IPV6_METRIC = 1024
"""The kernel's replacement for metric 0 (IP6_RT_PRIO_USER); given, so that it reads back equal."""

LINK_LOCAL_IPV4 = IPv4Network("169.254.0.0/16")
_LINK_LOCAL_IPV6 = IPv6Network("fe80::/64")


def families(held: Iterable[AnyInterface | AnyNetwork]) -> tuple[int, ...]:
    return tuple(sorted({one.version for one in held}))


def gateway(subnets: tuple[AnyNetwork, ...], version: int, ipv6_router: IPv6Address) -> AnyAddress:
    """IPv4: the subnet's base + 1 (AWS, "Subnet CIDR blocks"); IPv6: the router of the subnet."""
    if version == 6:
        return ipv6_router
    return next(subnet[1] for subnet in subnets if subnet.version == 4)


def ruled(prefixes: tuple[AnyNetwork, ...], settings: EniSettings) -> tuple[AnyNetwork, ...]:
    """The delegated prefixes with rules; none if a container plugin uses them."""
    if settings.manage is Manage.NO_ADDRESSES:
        return ()
    return tuple(p for p in prefixes if _prefix_mode(p, settings) is not PrefixMode.NONE)


def _prefix_mode(prefix: AnyNetwork, settings: EniSettings) -> PrefixMode:
    return settings.ipv4_prefix_mode if prefix.version == 4 else settings.ipv6_prefix_mode


def covers(
    addresses: Iterable[AnyInterface], networks: Iterable[AnyNetwork]
) -> tuple[AnyNetwork, ...]:
    """The fewest CIDRs that hold exactly these sources: rule lookup is linear in the kernel."""
    held: list[tuple[int, int, int]] = [
        (one.version, int(one.ip), one.max_prefixlen) for one in addresses
    ]
    held += [(one.version, int(one.network_address), one.prefixlen) for one in networks]
    return (*_collapsed(4, held), *_collapsed(6, held))


def _collapsed(version: int, held: Iterable[tuple[int, int, int]]) -> Iterator[AnyNetwork]:
    """As ``ipaddress.collapse_addresses``, by numbers: its result keeps twice the memory."""
    bits = _BITS[version]
    left = [(number, length) for of, number, length in held if of == version]
    halves: dict[tuple[int, int], tuple[int, int]] = {}
    while left:
        number, length = one = left.pop()
        rest = bits - length + 1
        both = (number >> rest << rest, length - 1)
        other = halves.setdefault(both, one)
        if other != one and length:
            del halves[both]
            left.append(both)
    last = -1
    for number, length in sorted(halves.values()):
        end = number + (1 << bits - length) - 1
        if end > last:  # else a part of the one before
            yield _NETWORKS[version]((number, length))
            last = end


def rules(
    sources: tuple[AnyNetwork, ...], routing: Routing, number: EniNumber, numbers: NumberPlan
) -> tuple[Rule, ...]:
    """Per source: in main-first, main's specific routes to links that are no ENIs; then the table.

    The group keeps main's routes to *other ENIs* out: a reply through those is dropped by the
    VPC's source check (docs/routing.md, "Why a link group").
    """
    made = []
    for source in sources:
        if routing is Routing.MAIN_FIRST:
            made.append(
                Rule(
                    source=source,
                    priority=numbers.main_first_priority,
                    table=MAIN_TABLE,
                    suppress_prefixlength=0,
                    suppress_group=numbers.link_group,
                )
            )
        made.append(Rule(source, numbers.priority(number), numbers.table(number)))
    return tuple(made)


def mark_rules(
    versions: Iterable[int], mark: Mark, number: EniNumber, numbers: NumberPlan
) -> tuple[Rule, ...]:
    """For what is marked as an answer to a connection that came in by the ENI, whatever its source:
    a container's answer gets the host's address only after its way was chosen."""
    priority, table = numbers.priority(number), numbers.table(number)
    return tuple(Rule(EVERYTHING[version], priority, table, mark=mark) for version in versions)


def table_routes(
    subnets: tuple[AnyNetwork, ...],
    gateways: tuple[AnyAddress, ...],
    table: int,
    link: LinkRef,
    base: tuple[AnyInterface, ...],
    metric: int = 0,
) -> tuple[Route, ...]:
    """The first IPv4 address is the source of what does not name one: R14.

    ``metric``: of all routes, in a VRF's table, which other ENIs and programs use as well; the kernel
    puts the link-local subnet there itself.
    """
    first_ipv4 = next((interface.ip for interface in base if interface.version == 4), None)
    routes = []
    for router in gateways:
        version = router.version
        source, at = (first_ipv4, metric) if version == 4 else (None, metric or IPV6_METRIC)
        on_link = [subnet for subnet in subnets if subnet.version == version]
        if version == 6 and not metric:
            on_link.append(_LINK_LOCAL_IPV6)
        routes += [Route(network, table, at, link, source=source) for network in on_link]
        routes.append(Route(EVERYTHING[version], table, at, link, router, source))
    return tuple(routes)


def metric(settings: EniSettings, numbers: NumberPlan, number: EniNumber) -> int:
    if isinstance(settings.main_default, MainDefault):
        return numbers.metric(number)
    return settings.main_default


def main_routes(
    is_primary: bool,
    settings: EniSettings,
    gateways: tuple[AnyAddress, ...],
    base: tuple[AnyInterface, ...],
    link: LinkRef,
    numbers: NumberPlan,
    number: EniNumber,
) -> tuple[Route, ...]:
    """A secondary's default route in main, behind the primary's by its metric.

    Its subnet gets no route in main: with one, the primary's replies to hosts there would
    leave through this ENI and be dropped by the source check (ENU#174).
    """
    if is_primary or settings.main_default is MainDefault.NO:
        return ()
    own_metric = metric(settings, numbers, number)
    return tuple(
        Route(EVERYTHING[router.version], MAIN_TABLE, own_metric, link, router, interface.ip)
        for router in gateways
        for interface in base
        if interface.version == router.version
    )


def local_routes(
    prefixes: tuple[AnyNetwork, ...], settings: EniSettings, link: LinkRef
) -> tuple[Route, ...]:
    if settings.manage is Manage.NO_ADDRESSES:
        return ()
    return tuple(
        Route(
            prefix,
            LOCAL_TABLE,
            0 if prefix.version == 4 else IPV6_METRIC,
            link,
            kind=RouteKind.LOCAL,
        )
        for prefix in prefixes
        if _prefix_mode(prefix, settings) is PrefixMode.LOCAL
    )
