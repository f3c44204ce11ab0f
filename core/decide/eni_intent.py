# SPDX-License-Identifier: Apache-2.0
"""The intent of one ENI with complete facts, from these facts and its settings. Pure."""

from collections.abc import Collection
from dataclasses import replace

from ec2net.core.config.settings import (
    EniSettings,
    Ipv6Policy,
    MainTable,
    Manage,
    MtuPolicy,
    PrimaryRules,
    Routing,
)
from ec2net.core.decide.addresses import Held, NotReady, held_addresses, subnets_of, value_of
from ec2net.core.decide.altnames import altnames
from ec2net.core.decide.fast_failure import no_ipv4_rules
from ec2net.core.decide.intent import EarlyIntent, EniIntent, Standing
from ec2net.core.decide.readiness import ReadyEni
from ec2net.core.decide.routing import (
    covers,
    families,
    gateway,
    local_routes,
    main_routes,
    mark_rules,
    metric,
    ruled,
    rules,
    table_routes,
)
from ec2net.core.decide.settled import doubt
from ec2net.core.model.facts import Absent, EniFacts, Link, Unknown, Value, keys_of
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import IPV6_MTU_MIN, MARKS, PRIMARY, EniNumber, NumberPlan
from ec2net.core.model.objects import AnyAddress, AnyInterface, AnyNetwork, LinkRef, Mark, Rule


def intent_of(
    eni: ReadyEni, settings: EniSettings, numbers: NumberPlan, mark: Mark | None
) -> EniIntent:
    """``mark``: of its answers; None if all are taken. Raises ``NotReady``."""
    ipv6 = _wants_ipv6(eni.facts, settings, eni.link)
    held = held_addresses(eni.facts, ipv6, settings.routed)
    if 6 in families((*held.base, *held.further, *held.routed, *held.prefixes)):
        _room_for_ipv6(settings)
    intent = _on_link(eni, settings, numbers, held, ipv6)
    return _routed(intent, eni, settings, numbers, mark)


def _on_link(
    eni: ReadyEni, settings: EniSettings, numbers: NumberPlan, held: Held, ipv6: bool
) -> EniIntent:
    """The intent without rules and routes that lead traffic."""
    facts, link, number = eni.facts, LinkRef(eni.link.index, eni.link.name), eni.number
    return EniIntent(
        mac=facts.mac,
        eni_id=value_of(facts.interface_id),
        link=link,
        number=number,
        primary=eni.primary,
        manage=settings.manage,
        table=eni.vrf.vrf_table if eni.vrf is not None else numbers.table(number),
        metric=metric(settings, numbers, number),
        base=held.base,
        further=() if settings.manage is Manage.NO_ADDRESSES else held.further,
        prefixes=held.prefixes,
        routed=held.routed,
        configured_sources=settings.sources,
        gateways=(),
        rules=(),
        table_routes=(),
        main_routes=(),
        main_subnets=(),
        local_routes=local_routes(held.prefixes, settings, link),
        link_group=numbers.link_group,
        altnames=altnames(facts, number, settings),
        mtu=settings.mtu,
        ipv6=ipv6,
        early=early_intent(facts.mac, link, eni.primary, settings, numbers),
        unread=_unread(facts) + _without_block(eni, settings),
        coexist_with=settings.coexist_with,
        no_ipv4=no_ipv4_rules(eni, settings, numbers),
        vrf=eni.vrf.name if eni.vrf is not None else "",
    )


def _routed(
    intent: EniIntent, eni: ReadyEni, settings: EniSettings, numbers: NumberPlan, mark: Mark | None
) -> EniIntent:
    """``intent`` with its rules and routes. Raises ``NotReady``."""
    base, link, number = intent.base, intent.link, intent.number
    passed_on = (*intent.routed, *ruled(intent.prefixes, settings))
    # Addresses for containers may be the only ones of a family.
    versions = families((*base, *passed_on))
    subnets = subnets_of(eni.facts, intent.ipv6)
    gateways = tuple(gateway(subnets, version, eni.ipv6_router) for version in versions)
    intent = replace(
        intent,
        gateways=gateways,
        main_routes=()
        if intent.vrf
        else main_routes(eni.primary, settings, gateways, base, link, numbers, number),
    )
    if intent.vrf and not eni.primary and _makes_routes(settings):
        at = numbers.metric(number)
        routes = table_routes(subnets, gateways, intent.table, link, base, at)
        intent = replace(intent, table_routes=routes)
    sources = covers(intent.sources, (*passed_on, *settings.sources))
    own_table = _has_own_table(eni, settings)
    if settings.sources:
        _room_for_sources(settings, own_table, versions)
    if not own_table:
        return replace(intent, correctable=sources if _is_corrected(eni, settings) else ())
    apart = settings.main_table is MainTable.APART
    return replace(
        intent,
        rules=_rules(sources, base, number, settings, numbers, mark),
        table_routes=table_routes(subnets, gateways, intent.table, link, base),
        main_subnets=_main_subnets(eni, subnets, gateways, apart),
        follows_main=_follows_main(eni, settings),
    )


def early_intent(
    mac: Mac, link: LinkRef, primary: bool, settings: EniSettings, numbers: NumberPlan
) -> EarlyIntent:
    """The part of an intent for the base of an ENI; IMDS has no say in it.

    Whether the ENI has IPv6 addresses is not known: an MTU that would remove IPv6 is not set.
    """
    ipv6 = settings.ipv6 is not Ipv6Policy.OFF
    return EarlyIntent(
        mac=mac,
        link=link,
        primary=primary,
        mtu=MtuPolicy.KEEP if settings.removes_ipv6 else settings.mtu,
        ipv6=ipv6,
        main_metric=metric(settings, numbers, PRIMARY),
        parking_table=numbers.parking_table,
        dns=settings.dns_default_route,
    )


def _makes_routes(settings: EniSettings) -> bool:
    return settings.routing is not Routing.OFF and settings.manage is not Manage.NO_RULES


def _has_own_table(eni: ReadyEni, settings: EniSettings) -> bool:
    """In a VRF, the kernel's own rule leads to the VRF's table, before all rules of ec2net."""
    routed = _makes_routes(settings) and eni.vrf is None
    return routed and (not eni.primary or settings.primary_rules is True)


def _follows_main(eni: ReadyEni, settings: EniSettings) -> bool:
    """Not the primary: a router has a whole Internet through it."""
    joined = settings.main_table is MainTable.JOINED
    return joined and settings.routing is Routing.MAIN_FIRST and not eni.primary


def _is_corrected(eni: ReadyEni, settings: EniSettings) -> bool:
    routed = _makes_routes(settings) and eni.vrf is None
    joined = settings.main_table is MainTable.JOINED
    return routed and joined and eni.primary and settings.primary_rules is PrimaryRules.AUTO


def _main_subnets(
    eni: ReadyEni, subnets: tuple[AnyNetwork, ...], gateways: Collection[AnyAddress], apart: bool
) -> tuple[AnyNetwork, ...]:
    """Only IPv4. For an on-link next hop of IPv6 the kernel searches only main, and would refuse a
    hop whose route leads through the primary ENI (ip6_route_check_nh_onlink)."""
    if eni.primary or apart or 4 not in {one.version for one in gateways}:
        return ()
    return tuple(subnet for subnet in subnets if subnet.version == 4)


def _rules(
    sources: tuple[AnyNetwork, ...],
    base: tuple[AnyInterface, ...],
    number: EniNumber,
    settings: EniSettings,
    numbers: NumberPlan,
    mark: Mark | None,
) -> tuple[Rule, ...]:
    by_source = rules(sources, settings.routing, number, numbers)
    if not settings.published_ports:
        return by_source
    if mark is None:
        raise NotReady(Standing.REFUSED, f"published_ports: all {MARKS} marks are in use")
    return by_source + mark_rules(families(base), mark, number, numbers)


def _room_for_sources(settings: EniSettings, own_table: bool, families: tuple[int, ...]) -> None:
    """Raises ``NotReady`` if rules for ``sources`` would lead to a table without a default route."""
    if not own_table:
        raise NotReady(
            Standing.REFUSED,
            'the setting "sources" has no effect on an ENI without rules: remove the setting, or let'
            ' ec2net make rules (set manage = "full" and routing = "main-first"; for the primary'
            " ENI, also primary_rules = true)",
        )
    for source in settings.sources:
        if source.version not in families:
            raise NotReady(
                Standing.REFUSED,
                f'the setting "sources" contains {source}, but the ENI has no IPv{source.version}'
                f" address: assign an IPv{source.version} address in EC2, or remove {source} from the"
                " setting",
            )


def _room_for_ipv6(settings: EniSettings) -> None:
    """Raises ``NotReady``: the kernel removes IPv6 from a link below 1280 bytes (RFC 8200, 5)."""
    if settings.removes_ipv6:
        raise NotReady(
            Standing.REFUSED,
            f"mtu = {settings.mtu} would remove IPv6 from the link, and the ENI has IPv6 addresses:"
            f' set mtu to {IPV6_MTU_MIN} or more, or ipv6 to "off"',
        )


def _without_block(eni: ReadyEni, settings: EniSettings) -> tuple[str, ...]:
    """The key that IPv6 addresses wait for, where IPv4 does not wait with them."""
    key = "subnet-ipv6-cidr-blocks"
    wanted = eni.link.ipv6 and settings.ipv6 is Ipv6Policy.AUTO
    absent = isinstance(eni.facts.subnet_ipv6, Absent)
    return (key,) if wanted and absent and doubt(eni.facts, eni.around, key) else ()


def _wants_ipv6(eni: EniFacts, settings: EniSettings, link: Link) -> bool:
    """Family support comes from IMDS, not from what the link happens to hold (R33, R34).

    But where an administrator has turned IPv6 off, it stays off. An MTU that already
    removed IPv6 counts like one that would remove it.
    """
    if settings.ipv6 is Ipv6Policy.AUTO:
        # Without a subnet block IPv6 is pending; the whole ENI is if it has only IPv6.
        waits = not isinstance(eni.local_ipv4s, Absent)
        there = link.ipv6 or (link.ipv6_off_by_mtu and settings.removes_ipv6)
        return there and (isinstance(eni.subnet_ipv6, Value) or not waits)
    return settings.ipv6 is Ipv6Policy.ON


def _unread(eni: EniFacts) -> tuple[str, ...]:
    place = ("device-number", "network-card")
    unknown = [key for key, one in keys_of(eni).items() if isinstance(one, Unknown)]
    return tuple(key for key in unknown if key not in place)
