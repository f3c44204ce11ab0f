# SPDX-License-Identifier: Apache-2.0
"""Properties of the intent for all facts of IMDS and the kernel."""

import random
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from eni_facts import KEYS, TIMEOUT, any_facts, configs, eni, host, ipv4, ipv6, link, plausible
from hypothesis import given, settings
from hypothesis import strategies as st

from ec2net.core.config.settings import Config, EniSettings, Manage, PrefixMode, Profile, Routing
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent, EniOutcome, Standing
from ec2net.core.decide.last_known import with_last_known_good
from ec2net.core.decide.routing import covers
from ec2net.core.model.facts import EniFacts, Facts, ImdsFacts, Reading, Value
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.numbers import CARDS, DEVICES, EniNumber, NumberPlan
from ec2net.core.model.objects import LAST_PRIORITIES, LOCAL_TABLE, MAIN_TABLE, AnyNetwork

LINK_LOCAL = IPv6Network("fe80::/64")
CLASH = ("the same place as ", " as well, at least in part", "has the same device number on card 0")


def with_readings(eni: EniFacts, readings: dict[str, Any]) -> EniFacts:
    return replace(eni, **readings)


def clashed(outcome: EniOutcome) -> bool:
    return outcome.intent is None and any(words in outcome.reason for words in CLASH)


def alone(facts: Facts, mac: Mac) -> Facts:
    """The same host with one ENI only, and whether the host has network cards."""
    cards = any(isinstance(e.network_card, Value) for e in facts.imds.enis)
    return Facts(
        replace(facts.imds, enis=tuple(e for e in facts.imds.enis if e.mac == mac), cards=cards),
        tuple(found for found in facts.links if found.mac == mac),
    )


def of_its_own(outcome: EniOutcome) -> EniOutcome:
    """The intent without its host-wide part: any ENI with IPv4 ends ``ipv4_fast_failure``."""
    intent = outcome.intent
    return outcome if intent is None else replace(outcome, intent=replace(intent, no_ipv4=()))


def addresses(networks: tuple[AnyNetwork, ...]) -> list[tuple[int, int, int]]:
    """The same set of addresses as merged ranges (version, first, last): without ipaddress."""
    ranges = sorted((n.version, int(n.network_address), int(n.broadcast_address)) for n in networks)
    merged: list[tuple[int, int, int]] = []
    for version, first, last in ranges:
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    return merged


def inside(network: AnyNetwork, subnets: list[AnyNetwork]) -> bool:
    return any(
        network.version == subnet.version
        and int(subnet.network_address) <= int(network.network_address)
        and int(network.broadcast_address) <= int(subnet.broadcast_address)
        for subnet in subnets
    )


def subnets_of(facts: Facts, mac: Mac) -> list[AnyNetwork]:
    (own,) = (e for e in facts.imds.enis if e.mac == mac)
    found: list[AnyNetwork] = []
    if isinstance(own.subnet_ipv4, Value):
        found.append(own.subnet_ipv4.value)
    if isinstance(own.subnet_ipv6, Value):
        found += own.subnet_ipv6.value
    return found


def check_intent(intent: EniIntent, subnets: list[AnyNetwork], config: Config) -> None:
    numbers = config.numbers
    assert intent.table == numbers.table(intent.number)
    assert intent.base
    assert [i.version for i in intent.base] == sorted({i.version for i in intent.base})
    sources = [i.ip for i in intent.sources]
    assert len(sources) == len(set(sources))
    for interface in intent.sources:
        assert inside(type(interface.network)(interface.ip), subnets), interface
    for prefix in intent.prefixes:
        assert inside(prefix, subnets), prefix
    for further in intent.further:
        assert further.network.prefixlen == further.max_prefixlen
    for rule in intent.rules:
        assert rule.mark is not None or inside(rule.source, subnets), rule
        assert (rule.mark is not None) == (rule.source.prefixlen == 0)
        assert rule.table in (intent.table, MAIN_TABLE)
    for route in intent.table_routes:
        assert route.table == intent.table
        if route.gateway is None:
            assert inside(route.destination, [*subnets, LINK_LOCAL]), route
        else:
            assert route.destination.prefixlen == 0
    for route in intent.main_routes:
        assert (route.table, route.destination.prefixlen) == (MAIN_TABLE, 0)
        assert route.gateway in intent.gateways
        assert route.source in sources
    for route in intent.local_routes:
        assert (route.table, route.destination in intent.prefixes) == (LOCAL_TABLE, True)
    for route in (*intent.table_routes, *intent.main_routes, *intent.local_routes):
        assert route.link == intent.link
    if not intent.ipv6:
        everything = (*intent.sources, *intent.prefixes, *intent.gateways)
        assert {thing.version for thing in everything} <= {4}
        assert {rule.source.version for rule in intent.rules} <= {4}


@settings(max_examples=120)
@given(any_facts(), configs)
def test_any_facts_give_each_eni_a_valid_intent_or_a_named_reason(
    facts: Facts, config: Config
) -> None:
    outcomes = compute(facts, config)
    macs = [outcome.mac for outcome in outcomes.enis]
    assert len(macs) == len(set(macs))
    eni_links = {found.mac for found in facts.links if found.driver == "ena"}
    assert {e.mac for e in facts.imds.enis} | eni_links <= set(macs)
    for outcome in outcomes.enis:
        if outcome.intent is None:
            assert outcome.standing is not Standing.READY
            assert outcome.reason
        else:
            assert (outcome.standing, outcome.reason) == (Standing.READY, "")
            check_intent(outcome.intent, subnets_of(facts, outcome.mac), config)


@settings(max_examples=120)
@given(any_facts(), configs)
def test_an_eni_gets_the_same_intent_alone_or_a_conflict_refuses_it(
    facts: Facts, config: Config
) -> None:
    for outcome in compute(facts, config).enis:
        if not clashed(outcome):
            lonely = compute(alone(facts, outcome.mac), config).of(outcome.mac)
            assert lonely is not None
            assert of_its_own(lonely) == of_its_own(outcome)


@settings(max_examples=80)
@given(any_facts(), configs, st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(
    facts: Facts, config: Config, shuffled: random.Random
) -> None:
    enis, links = list(facts.imds.enis), list(facts.links)
    shuffled.shuffle(enis)
    shuffled.shuffle(links)
    other = compute(Facts(replace(facts.imds, enis=tuple(enis)), tuple(links)), config)
    assert other.ready == compute(facts, config).ready


@settings(max_examples=80)
@given(any_facts(), configs, st.sampled_from(["eth{}", "ens{}4", "enp{}s0", "eni{:011x}", "wan{}"]))
def test_no_decision_depends_on_the_name_of_a_link(facts: Facts, config: Config, form: str) -> None:
    """R39: names of tools break where names differ (ens5, eth0, enp39s0, eni* veths)."""
    renamed = tuple(replace(found, name=form.format(found.index)) for found in facts.links)
    before, after = compute(facts, config), compute(replace(facts, links=renamed), config)
    # links compare by index: equal intents differ in names only
    assert before.ready == after.ready
    assert [(e.mac, e.standing) for e in before.enis] == [(e.mac, e.standing) for e in after.enis]
    assert all(intent.link.name == form.format(intent.link.index) for intent in after.ready)


@settings(max_examples=120)
@given(any_facts(), configs)
def test_no_two_enis_share_a_number_or_a_source(facts: Facts, config: Config) -> None:
    ready = compute(facts, config).ready
    for one in (
        [intent.number for intent in ready],
        [intent.table for intent in ready],
        [rule.identity for intent in ready for rule in intent.rules],
    ):
        assert len(one) == len(set(one))
    held = [covers(intent.sources, intent.prefixes) for intent in ready]
    sizes = [sum(last - first + 1 for _, first, last in addresses(networks)) for networks in held]
    together = addresses(tuple(network for networks in held for network in networks))
    assert sum(last - first + 1 for _, first, last in together) == sum(sizes)


@settings(max_examples=120)
@given(st.integers(1, 5).flatmap(plausible), configs)
def test_the_rules_cover_exactly_the_sources(own: EniFacts, config: Config) -> None:
    for intent in compute(host(own), config).ready:
        rules = [r for r in intent.rules if r.table == intent.table and r.mark is None]
        if not rules:
            continue
        wanted: list[AnyNetwork] = []
        pods = intent.manage is Manage.NO_ADDRESSES
        for name in ("local_ipv4s", "ipv6s", "ipv4_prefixes", "ipv6_prefixes"):
            reading = getattr(own, name)
            if pods and "prefix" in name:
                continue
            mode = {"ipv4_prefixes": "ipv4_prefix_mode", "ipv6_prefixes": "ipv6_prefix_mode"}
            if name in mode and getattr(config.eni, mode[name]) == "none":
                continue
            if isinstance(reading, Value) and (intent.ipv6 or "4" in name):
                wanted += [
                    (IPv4Network if thing.version == 4 else IPv6Network)(thing)
                    for thing in reading.value[: 1 if pods else None]
                ]
        assert addresses(tuple(rule.source for rule in rules)) == addresses(tuple(wanted))


@settings(max_examples=80)
@given(any_facts(), configs)
def test_each_main_first_rule_precedes_the_rule_of_the_eni(facts: Facts, config: Config) -> None:
    for intent in compute(facts, config).ready:
        own = [r for r in intent.rules if r.table == intent.table and r.mark is None]
        before = [rule for rule in intent.rules if rule.table == MAIN_TABLE]
        assert {rule.suppress_prefixlength for rule in own} <= {None}
        if config.eni.routing is not Routing.MAIN_FIRST:
            assert not before
            continue
        assert [rule.source for rule in before] == [rule.source for rule in own]
        for rule in before:
            assert rule.priority < min(own_rule.priority for own_rule in own)
            # a default route, and a route to another ENI, do not count
            assert (rule.suppress_prefixlength, rule.suppress_group) == (0, intent.link_group)


@settings(max_examples=120)
@given(st.data(), configs)
def test_unread_facts_leave_the_intent_unchanged(data: st.DataObject, config: Config) -> None:
    """R1: an error on any key of any ENI, on the listing or on ``mac``, changes nothing."""
    facts = data.draw(any_facts())
    primary = facts.imds.primary
    failing = st.sets(st.sampled_from(KEYS))
    now = tuple(
        with_readings(e, dict.fromkeys(data.draw(failing), TIMEOUT))
        for e in facts.imds.enis
        if data.draw(st.booleans())  # otherwise it could not be listed
    )
    lost = isinstance(primary, Value) and data.draw(st.booleans())
    merged = with_last_known_good(
        ImdsFacts(TIMEOUT if lost else primary, TIMEOUT, now),
        {e.mac: e for e in facts.imds.enis},
        primary.value if isinstance(primary, Value) else None,
    )
    before, after = compute(facts, config), compute(replace(facts, imds=merged), config)
    for outcome in before.enis:
        if outcome.mac in {e.mac for e in facts.imds.enis}:
            then = after.of(outcome.mac)
            assert then is not None
            assert (then.standing, then.intent) == (outcome.standing, outcome.intent)


@settings(max_examples=80)
@given(st.data(), configs)
def test_news_next_to_unread_facts_only_adds(data: st.DataObject, config: Config) -> None:
    """A partly failed reading: known keys that failed stay, keys that were read may grow."""
    past = data.draw(plausible(1))
    more = {"local_ipv4s": ipv4("10.0.1.200"), "ipv6s": ipv6("2001:db8:0:1::200")}
    changes: dict[str, Reading[Any]] = {}
    for key in KEYS:
        reading = getattr(past, key)
        if key in more and isinstance(reading, Value) and data.draw(st.booleans()):
            changes[key] = Value((*reading.value, *more[key].value))
        elif data.draw(st.booleans()):
            changes[key] = TIMEOUT
    now = with_last_known_good(
        ImdsFacts(TIMEOUT, TIMEOUT, (with_readings(past, changes),)), {past.mac: past}, eni(0).mac
    )
    before = compute(host(past), config).of(past.mac)
    after = compute(Facts(now, (link(1),)), config).of(past.mac)
    assert before is not None
    assert after is not None
    assert after.standing is before.standing
    if before.intent is None:
        return
    assert after.intent is not None
    assert set(before.intent.sources) <= set(after.intent.sources)
    assert set(before.intent.prefixes) <= set(after.intent.prefixes)
    assert set(before.intent.table_routes) == set(after.intent.table_routes)
    assert set(before.intent.main_routes) == set(after.intent.main_routes)
    for rule in before.intent.rules:
        assert inside(rule.source, [r.source for r in after.intent.rules if r.table == rule.table])


def test_no_two_enis_share_a_number_up_to_128_cards_of_100_devices() -> None:
    """R37, M-a: ENIs of different cards once shared a table (ENU#104)."""
    plan = NumberPlan()
    places = [EniNumber(card, device) for card in range(CARDS) for device in range(DEVICES)]
    for number in (plan.table, plan.priority, plan.metric):
        assert len({number(place) for place in places}) == len(places) == 12800
    assert plan.main_first_priority < min(map(plan.priority, places))
    assert max(map(plan.priority, places)) < LAST_PRIORITIES.start
    assert not {253, 254, 255} & set(map(plan.table, places))


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_number_outside_the_range_costs_that_eni_alone(card: int, device: int) -> None:
    odd = eni(1, network_card=Value(card), device_number=Value(device))
    others = [eni(0), eni(2, network_card=Value(CARDS - 1)), eni(3)]
    outcomes = {outcome.mac: outcome for outcome in compute(host(odd, *others), Config()).enis}
    for other in compute(host(*others), Config()).enis:
        if not clashed(outcomes[other.mac]):
            assert outcomes[other.mac] == other
    inside = card < CARDS and device < DEVICES
    assert (outcomes[odd.mac].standing is Standing.REFUSED) is not inside or (
        inside and clashed(outcomes[odd.mac])
    )


@settings(max_examples=25)
@given(
    st.sets(
        st.tuples(st.integers(0, CARDS - 1), st.integers(1, DEVICES - 1)), min_size=1, max_size=60
    )
)
def test_each_device_of_each_card_gets_its_own_numbers(
    places: set[tuple[int, int]],
) -> None:
    enis = [
        eni(
            n,
            network_card=Value(card),
            device_number=Value(device),
        )
        for n, (card, device) in enumerate(sorted(places), start=1)
    ]
    ready = compute(host(*enis), Config()).ready
    assert [(i.number.card, i.number.device) for i in ready] == sorted(places)
    assert len({i.table for i in ready}) == len({i.metric for i in ready}) == len(places)


@settings(max_examples=120)
@given(
    st.lists(st.integers(1, 5), unique=True, max_size=4).flatmap(
        lambda numbers: st.tuples(*(plausible(n) for n in (0, *numbers)))
    ),
    st.lists(st.sampled_from([*Attached, None]), min_size=6, max_size=6),
    st.sampled_from(PrefixMode),
    st.booleans(),
)
def test_with_the_kubernetes_profile_no_pod_address_is_on_the_host(
    enis: tuple[EniFacts, ...],
    attached: list[Attached | None],
    mode: PrefixMode,
    primary_rules: bool,
) -> None:
    """Neither on a link, nor in the local table, nor in a rule; and nothing is done for later ENIs."""
    there = host(*enis)
    when = {own.mac: told for own, told in zip(enis, attached, strict=False) if told is not None}
    facts = Facts(there.imds, there.links, when)
    general = EniSettings(
        manage=Manage.OBSERVE,  # a key that a section omits keeps its own value
        ipv4_prefix_mode=mode,
        ipv6_prefix_mode=mode,
        primary_rules=primary_rules,
    )
    config = Config(eni=general, profile=Profile.KUBERNETES)
    for outcome in compute(facts, config).enis:
        if when.get(outcome.mac) is Attached.LATER and outcome.mac != enis[0].mac:
            assert outcome.standing is Standing.IGNORED
        intent = outcome.intent
        if intent is None or intent.manage is Manage.OBSERVE:
            assert outcome.mac not in when or outcome.standing is not Standing.READY
            continue
        own = {interface.ip for interface in intent.base}
        assert intent.sources == intent.base
        assert intent.local_routes == ()
        assert {rule.source.network_address for rule in intent.rules} <= own
        assert {rule.source.num_addresses for rule in intent.rules} <= {1}
