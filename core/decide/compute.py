# SPDX-License-Identifier: Apache-2.0
"""Facts and configuration in, intent out: no I/O, no clock, never an exception for bad facts.

Every ENI gets its outcome for itself: what is wrong with one ENI's facts is a named reason on
that ENI and costs the others nothing. Checks that need two ENIs (one number, one source
address) come last and refuse only the ENIs concerned.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from ec2net.core.config.settings import (
    ANY_LATER,
    AUTO_BACKEND,
    Altname,
    Config,
    EniIdentity,
    EniSettings,
    Ipv6Policy,
    Manage,
    Routing,
)
from ec2net.core.decide.addresses import NotReady, held_addresses, subnets_of, value_of, why
from ec2net.core.decide.conflicts import by_number, refuse_shared_numbers, refuse_shared_sources
from ec2net.core.decide.intent import EarlyIntent, EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.decide.routing import (
    covers,
    families,
    fast_failure,
    gateway,
    local_routes,
    main_routes,
    mark_rules,
    metric,
    ruled,
    rules,
    table_routes,
)
from ec2net.core.decide.settled import CRITERIA, Around, doubt, doubts
from ec2net.core.model.facts import Absent, EniFacts, Facts, Link, Unknown, Value, keys_of
from ec2net.core.model.identity import Attached, Mac, OddName
from ec2net.core.model.numbers import MARKS, PRIMARY, EniNumber, NumberPlan
from ec2net.core.model.objects import LinkRef, Mark, Route, Rule


def compute(facts: Facts, config: Config) -> HostIntent:
    """The intent of every ENI that IMDS lists and every ENI link that there is."""
    numbers = config.numbers
    links = eni_links(facts.links, config.drivers)
    known = {eni.mac: eni for eni in facts.imds.enis}
    places = (_known_number(eni, _around(mac, facts)) for mac, eni in known.items())
    marks = numbers.marks(place for place in places if place is not None)
    outcomes = []
    for mac in sorted({*known, *links}):
        eni, own = known.get(mac), links.get(mac, ())
        outcomes.append(_outcome(mac, eni, own, facts, config, numbers, marks))
    outcomes += [
        _without_link(mac)
        for mac in sorted(value_of(facts.imds.listed) or ())
        if mac not in known and mac not in links
    ]
    outcomes = _cards_awaited(outcomes, known)
    outcomes = refuse_shared_numbers(outcomes)
    outcomes = refuse_shared_sources(outcomes)
    outcomes = _where_ipv4_is(outcomes, known)
    primary = value_of(facts.imds.primary)
    return HostIntent(
        enis=tuple(sorted(outcomes, key=by_number)),
        primary_link=next((eni.link for eni in outcomes if eni.mac == primary), None),
        later_apart=config.for_eni(ANY_LATER).manage.hands_off,
    )


def _cards_awaited(outcomes: list[EniOutcome], known: Mapping[Mac, EniFacts]) -> list[EniOutcome]:
    """Two ENIs with one device number are on different network cards, which IMDS does not tell yet."""
    sharing: dict[int, list[EniOutcome]] = {}
    for outcome in outcomes:
        if outcome.intent is not None:
            sharing.setdefault(outcome.intent.number.n, []).append(outcome)
    reasons = {
        outcome.mac: "network-card is not known: absent, but its place on card 0 is "
        + ", ".join(other.name for other in shared if other is not outcome)
        + "'s as well"
        for shared in sharing.values()
        if len(shared) > 1
        for outcome in shared
        if isinstance(known[outcome.mac].network_card, Absent)
    }
    return [
        replace(outcome, standing=Standing.PENDING, reason=reasons[outcome.mac], intent=None)
        if outcome.mac in reasons
        else outcome
        for outcome in outcomes
    ]


def _where_ipv4_is(outcomes: list[EniOutcome], known: Mapping[Mac, EniFacts]) -> list[EniOutcome]:
    """Where any ENI has IPv4, the host's does not fail at once (``ipv4_fast_failure``).

    Nor where one may have it, ready or not: somebody else may use one that is ignored.
    """
    maybe = {mac for mac, eni in known.items() if not isinstance(eni.local_ipv4s, Absent)}
    if not any(outcome.links and outcome.mac in maybe for outcome in outcomes):
        return outcomes
    return [
        replace(outcome, intent=replace(intent, no_ipv4=()))
        if (intent := outcome.intent) is not None and intent.no_ipv4
        else outcome
        for outcome in outcomes
    ]


def _without_link(mac: Mac) -> EniOutcome:
    reason = "IMDS lists it, but there is no link with its MAC (an EFA-only ENI has none)"
    return EniOutcome(mac, Standing.ABSENT, reason, None)


def eni_links(links: Iterable[Link], drivers: Iterable[str]) -> dict[Mac, tuple[Link, ...]]:
    """The links that can be ENIs, by MAC: told by their driver, never by their name.

    A VLAN or bridge on top of an ENI shares its MAC but has a driver of its own.
    """
    allowed = set(drivers)
    found: dict[Mac, tuple[Link, ...]] = {}
    for link in links:
        if link.mac is not None and link.driver in allowed:
            found[link.mac] = (*found.get(link.mac, ()), link)
    return found


def _outcome(
    mac: Mac,
    eni: EniFacts | None,
    links: tuple[Link, ...],
    facts: Facts,
    config: Config,
    numbers: NumberPlan,
    marks: Mapping[EniNumber, Mark],
) -> EniOutcome:
    refs = tuple(LinkRef(link.index, link.name) for link in links)
    outcome = EniOutcome(
        mac,
        Standing.READY,
        "",
        refs[0] if refs else None,
        value_of(eni.interface_id) if eni else None,
        twins=refs[1:],
        table=_table(mac, eni, facts, numbers),
        attached=_attached(mac, facts),
    )
    doubtful = doubts(eni, _around(mac, facts))
    identity = _identity(outcome, eni, links, facts, frozenset(doubtful))
    settings = config.for_eni(identity)
    open_ = config.open_for(identity)
    apart = settings.manage.hands_off or any(link.master for link in links[:1])
    apart = apart or bool(_owner(mac, settings, facts))
    apart = apart or any(other.manage.hands_off for _, other in open_)
    outcome = replace(outcome, backend=settings.backend, apart=apart)
    try:
        for criteria, _ in open_:
            raise NotReady(Standing.PENDING, _undecided(mac, eni, criteria, doubtful))
        intent = _intent(mac, eni, links, facts, settings, numbers, marks)
    except NotReady as not_ready:
        return replace(outcome, standing=not_ready.standing, reason=not_ready.reason)
    return replace(outcome, intent=intent)


def _around(mac: Mac, facts: Facts) -> Around:
    cards = (isinstance(eni.network_card, Value) for eni in facts.imds.enis)
    return Around(_is_primary(mac, facts), facts.imds.cards or any(cards))


def _undecided(
    mac: Mac, eni: EniFacts | None, criteria: Iterable[str], doubtful: Mapping[str, str]
) -> str:
    """An ENI waits for what decides which sections of the configuration are for it."""
    reason = doubtful[min(criteria)] if eni else _not_listed(mac)
    return f"{reason}; sections of the configuration match on {', '.join(sorted(criteria))}"


def _not_listed(mac: Mac) -> str:
    return f"IMDS does not list its MAC {mac} (yet)"


def _owner(mac: Mac, settings: EniSettings, facts: Facts) -> str:
    """Who manages its link instead of us; a backend that is named counts whoever does."""
    return facts.elsewhere.get(mac, "") if settings.backend == AUTO_BACKEND else ""


def _intent(
    mac: Mac,
    eni: EniFacts | None,
    links: tuple[Link, ...],
    facts: Facts,
    settings: EniSettings,
    numbers: NumberPlan,
    marks: Mapping[EniNumber, Mark],
) -> EniIntent:
    is_primary = _is_primary(mac, facts)
    if settings.manage is Manage.IGNORE:
        raise NotReady(Standing.IGNORED, 'the configuration says manage = "ignore"')
    if owner := _owner(mac, settings, facts):
        raise NotReady(Standing.IGNORED, f"udev says that {owner} manages it (ID_NET_MANAGED_BY)")
    if eni is None:
        raise NotReady(Standing.PENDING, _not_listed(mac))
    if not links:
        raise NotReady(Standing.ABSENT, "there is no link with its MAC (yet)")
    if is_primary is None:
        raise NotReady(Standing.PENDING, f"the primary ENI is not known: {why(facts.imds.primary)}")
    around = _around(mac, facts)
    number = _number(eni, around)
    if number is None:
        raise NotReady(Standing.PENDING, doubt(eni, around, *CRITERIA["card"]))
    if not _has_addresses(eni):
        raise NotReady(Standing.NO_ADDRESS, "attached without any IP address (EFA-only)")
    if len(links) > 1:
        names = ", ".join(f"{link.name}" for link in links)
        raise NotReady(Standing.REFUSED, f"several links have its MAC {mac}: {names}")
    if isinstance(links[0].name, OddName):
        raise NotReady(
            Standing.REFUSED,
            f"its link is called {links[0].name}, which is no printable text: give it another name",
        )
    if links[0].master:
        raise NotReady(Standing.IGNORED, _port_of(links[0], facts.links))
    link = LinkRef(links[0].index, links[0].name)
    ipv6 = _wants_ipv6(eni, settings, links[0])
    base, further, prefixes = held_addresses(eni, ipv6)
    first_ipv4 = next((i.ip for i in base if i.version == 4), None)
    subnets = subnets_of(eni, ipv6)
    held = ruled(prefixes, settings)  # maybe all that it has of a family
    gateways = tuple(gateway(subnets, version) for version in families((*base, *held)))
    table = numbers.table(number)
    routed = settings.routing is not Routing.OFF and settings.manage is not Manage.NO_RULES
    own_table = routed and (not is_primary or settings.primary_rules)
    ours = () if settings.manage is Manage.NO_ADDRESSES else further
    own_rules: tuple[Rule, ...] = ()
    own_routes: tuple[Route, ...] = ()
    if own_table:
        sources = covers(base + ours, held)
        own_rules = rules(sources, settings.routing, number, numbers)
        if settings.published_ports:
            if number not in marks:
                raise NotReady(Standing.REFUSED, f"published_ports: all {MARKS} marks are taken")
            own_rules += mark_rules(families(base), marks[number], number, numbers)
        own_routes = table_routes(subnets, gateways, table, link, first_ipv4)
    return EniIntent(
        mac=mac,
        eni_id=value_of(eni.interface_id),
        link=link,
        number=number,
        primary=is_primary,
        manage=settings.manage,
        table=table,
        metric=metric(settings, numbers, number),
        base=base,
        further=ours,
        prefixes=prefixes,
        gateways=gateways,
        rules=own_rules,
        table_routes=own_routes,
        main_routes=main_routes(is_primary, settings, gateways, base, link, numbers, number),
        local_routes=local_routes(prefixes, settings, link),
        link_group=numbers.link_group,
        altnames=_altnames(eni, number, settings),
        mtu=settings.mtu,
        ipv6=ipv6,
        early=early_intent(mac, link, is_primary, settings, numbers),
        unread=_unread(eni) + _without_block(eni, settings, links[0], around),
        beside=settings.beside,
        no_ipv4=_no_ipv4(eni, is_primary, settings, numbers),
    )


def _no_ipv4(
    eni: EniFacts, is_primary: bool, settings: EniSettings, numbers: NumberPlan
) -> tuple[Rule, ...]:
    """Only where IMDS says for sure that the subnet has none."""
    sure = isinstance(eni.local_ipv4s, Absent) and isinstance(eni.subnet_ipv4, Absent)
    if not (sure and is_primary and settings.ipv4_fast_failure):
        return ()
    return () if settings.manage is Manage.NO_RULES else fast_failure(numbers)


def _port_of(link: Link, links: tuple[Link, ...]) -> str:
    """Addresses and routes belong on the master, in the hands of whoever made it."""
    name = next(
        (f"{other.name}" for other in links if other.index == link.master), str(link.master)
    )
    return f"it is a port of {name}: who made that configures it"


def _is_primary(mac: Mac, facts: Facts) -> bool | None:
    primary = facts.imds.primary
    return mac == primary.value if isinstance(primary, Value) else None


def _attached(mac: Mac, facts: Facts) -> Attached | None:
    """The primary cannot be detached (AWS, "Elastic network interfaces"), whatever its link does."""
    return Attached.BOOT if _is_primary(mac, facts) else facts.attached.get(mac)


def _number(eni: EniFacts, around: Around) -> EniNumber | None:
    """The ENI's number, or None while it is not settled. Raises ``NotReady`` out of range.

    Device number 0 on card 0 belongs to the primary; elsewhere it means that IMDS has not
    propagated the attachment yet (ENU#90: two ENIs in one table).
    """
    if around.primary:
        return PRIMARY
    if doubt(eni, around, *CRITERIA["card"]):
        return None
    device, card = value_of(eni.device_number) or 0, value_of(eni.network_card) or 0
    try:
        return EniNumber(card=card, device=device)
    except ValueError as error:
        raise NotReady(Standing.REFUSED, f"IMDS gives an impossible place: {error}") from error


def _known_number(eni: EniFacts | None, around: Around) -> EniNumber | None:
    """As ``_number``, and none where that is refused."""
    with suppress(NotReady):
        return _number(eni, around) if eni else None
    return None


def _table(mac: Mac, eni: EniFacts | None, facts: Facts, numbers: NumberPlan) -> int | None:
    number = _known_number(eni, _around(mac, facts))
    return numbers.table(number) if number else None


def _identity(
    outcome: EniOutcome,
    eni: EniFacts | None,
    links: tuple[Link, ...],
    facts: Facts,
    unsettled: frozenset[str],
) -> EniIdentity:
    """What sections of the configuration match on: the same whatever the ENI's standing."""
    around = _around(outcome.mac, facts)
    number = _known_number(eni, around)
    return EniIdentity(
        mac=outcome.mac,
        eni_id=value_of(eni.interface_id) if eni else None,
        card=number.card if number else None,
        device=number.device if number else None,
        subnet_ipv4=value_of(eni.subnet_ipv4) if eni else None,
        subnet_ipv6=(value_of(eni.subnet_ipv6) or ()) if eni else (),
        link_name=links[0].name if links else "",
        is_primary=around.primary,
        attached=outcome.attached,
        unsettled=unsettled,
    )


def early_intent(
    mac: Mac, link: LinkRef, primary: bool, settings: EniSettings, numbers: NumberPlan
) -> EarlyIntent:
    """What is wanted of an ENI's base whatever IMDS says of it."""
    return EarlyIntent(
        mac=mac,
        link=link,
        primary=primary,
        mtu=settings.mtu,
        ipv6=settings.ipv6 is not Ipv6Policy.OFF,
        main_metric=metric(settings, numbers, PRIMARY),
        parking_table=numbers.parking_table,
        dns=settings.dns_default_route,
    )


def _has_addresses(eni: EniFacts) -> bool:
    """False only if IMDS says for sure that there are none."""
    return not (isinstance(eni.local_ipv4s, Absent) and isinstance(eni.ipv6s, Absent))


def _without_block(
    eni: EniFacts, settings: EniSettings, link: Link, around: Around
) -> tuple[str, ...]:
    """The key that IPv6 addresses wait for, where IPv4 does not wait with them."""
    key = "subnet-ipv6-cidr-blocks"
    wanted = link.ipv6 and settings.ipv6 is Ipv6Policy.AUTO
    awaited = wanted and isinstance(eni.subnet_ipv6, Absent) and doubt(eni, around, key)
    return (key,) if awaited else ()


def _wants_ipv6(eni: EniFacts, settings: EniSettings, link: Link) -> bool:
    """Family support comes from IMDS, not from what the link happens to hold (R33, R34).

    But where an administrator has turned IPv6 off, it stays off.
    """
    if settings.ipv6 is Ipv6Policy.AUTO:
        # Without a subnet block IPv6 waits; all of the ENI does if IPv6 is all that it has.
        waits = not isinstance(eni.local_ipv4s, Absent)
        return link.ipv6 and (isinstance(eni.subnet_ipv6, Value) or not waits)
    return settings.ipv6 is Ipv6Policy.ON


def _altnames(eni: EniFacts, number: EniNumber, settings: EniSettings) -> tuple[str, ...]:
    eni_id = value_of(eni.interface_id)
    names = {
        Altname.ID: str(eni_id) if eni_id and eni_id.usual else None,
        Altname.DEVICE_NUMBER: f"device-number-{number.device}.{number.card}",
    }
    return tuple(name for form in settings.altnames if (name := names[form]) is not None)


def _unread(eni: EniFacts) -> tuple[str, ...]:
    place = ("device-number", "network-card")
    unknown = [key for key, one in keys_of(eni).items() if isinstance(one, Unknown)]
    return tuple(key for key in unknown if key not in place)
