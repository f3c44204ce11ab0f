# SPDX-License-Identifier: Apache-2.0
"""Which items ec2net owns, and their ENIs."""

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from eni_facts import IPV6_ONLY, KEYS, TIMEOUT, eni, host, ipv4, link, mac
from hypothesis import given, settings
from hypothesis import strategies as st

from ec2net.core.config.settings import Config, EniSection, EniSettings, Manage, Match
from ec2net.core.decide.compute import compute
from ec2net.core.decide.fast_failure import fast_failure
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.decide.ownership import held, marked, owners, plan_for, unmarked
from ec2net.core.live.owned_file import HEADER, OwnedFile
from ec2net.core.model.facts import Absent, Facts
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import (
    MAIN_TABLE,
    Address,
    LinkRef,
    LinkSetting,
    Route,
    RouteKind,
    Rule,
    Setting,
)
from ec2net.core.model.plan import Action, InPlace, Item
from ec2net.core.model.snapshot import Found, Snapshot

HOST = compute(host(eni(0), eni(1), eni(2)), Config())
FIRST, SECOND = LinkRef(3, "ens6"), LinkRef(4, "ens7")


def main_first(source: str) -> Rule:
    return Rule(ip_network(source), 9999, MAIN_TABLE, 0, 236)


def own(source: str, number: int) -> Rule:
    return Rule(ip_network(source), 10000 + number, 10000 + number)


def route(table: int, to: LinkRef) -> Route:
    return Route(ip_network("10.0.1.0/24"), table, 0, to)


def test_a_table_or_a_source_identifies_the_owner_of_a_rule() -> None:
    ours = (own("10.0.1.4/32", 1), main_first("10.0.1.4/32"), own("10.0.2.4/32", 2))
    assert owners(ours, HOST) == {ours[0]: mac(1), ours[1]: mac(1), ours[2]: mac(2)}


def test_a_link_identifies_the_owner_of_an_address_or_setting_or_route() -> None:
    ours: tuple[Item, ...] = (
        Address(FIRST, ip_interface("10.0.1.9/32")),
        LinkSetting(SECOND, Setting.GROUP, 236),
        route(MAIN_TABLE, FIRST),
        route(10002, SECOND),
    )
    assert owners(ours, HOST) == {
        ours[0]: mac(1),
        ours[1]: mac(2),
        ours[2]: mac(1),
        ours[3]: mac(2),
    }


def test_a_table_identifies_the_owner_of_a_route_through_a_link_that_is_no_eni() -> None:
    """A correction for the primary: a pass for another ENI alone does not remove it."""
    correction = route(10000, LinkRef(9, "br0"))
    assert owners((correction,), HOST) == {correction: mac(0)}
    macs = {mac(0), mac(1), mac(2)}
    found, wanted = InPlace(ours=(correction,)), {mac(1): ()}
    assert plan_for(HOST, macs, wanted, found, frozenset()).changes == ()


def test_a_route_in_its_table_identifies_the_owner_of_a_rule_without_an_intent() -> None:
    """A pending ENI has no number, yet nothing of it may be removed."""
    pending = compute(host(eni(0), eni(1, device_number=Absent())), Config())
    ours: tuple[Item, ...] = (route(10001, FIRST), own("10.0.1.4/32", 1), main_first("10.0.1.4/32"))
    assert set(owners(ours, pending).values()) == {mac(1)}
    assert held(owners(ours, pending), [mac(1)]) == frozenset(ours)


def guard(table: int) -> Route:
    """As ``core/live/guard.py`` adds it; the guard stays when its link is removed."""
    nowhere = LinkRef(0, "none")
    return Route(ip_network("0.0.0.0/0"), table, 2**32 - 1, nowhere, kind=RouteKind.UNREACHABLE)


def test_a_guard_belongs_to_the_eni_of_its_table() -> None:
    assert owners((guard(10001), guard(10009)), HOST) == {guard(10001): mac(1)}
    # Where the table's number is not known, its routes name the ENI; the guard does not hide
    # them.
    ours: tuple[Item, ...] = (guard(10009), route(10009, SECOND), own("10.0.9.4/32", 9))
    assert owners(ours, HOST) == dict.fromkeys(ours, mac(2))


def test_a_file_names_its_owner_and_counts_only_while_that_eni_is_attached() -> None:
    known = OwnedFile(Path("/run/a"), f"{HEADER} ens6 {mac(1)}\n")
    gone = OwnedFile(Path("/run/b"), f"{HEADER} ens9 {mac(9)}\n")
    nobodys = OwnedFile(Path("/run/c"), "# by hand\n")
    assert owners((known, gone, nobodys), HOST) == {known: mac(1)}


def test_an_unrelated_item_has_no_owner() -> None:
    gone = LinkRef(99, "ens9")
    ours = (
        own("10.0.9.4/32", 9),
        main_first("10.0.9.4/32"),
        Address(gone, ip_interface("10.0.9.4/32")),
        route(10009, gone),
    )
    assert owners(ours, HOST) == {}


def test_a_rule_of_main_first_without_its_table_rule_has_no_owner() -> None:
    """Half of a pair that a kill left: it is put right as if it were new."""
    assert owners((main_first("10.0.1.4/32"),), HOST) == {}


def test_the_table_rule_that_identifies_main_first_may_be_foreign() -> None:
    """An equal foreign rule counts as in place, and then ec2net adds none."""
    ours = (main_first("10.0.1.4/32"),)
    assert owners(ours, HOST, [own("10.0.1.4/32", 1)]) == {ours[0]: mac(1)}
    assert owners(ours, HOST, [own("10.0.1.4/32", 9)]) == {}


def test_a_hold_covers_only_items_of_its_enis() -> None:
    ours = (own("10.0.1.4/32", 1), own("10.0.2.4/32", 2))
    assert held(owners(ours, HOST), {mac(2)}) == {ours[1]}
    assert held(owners(ours, HOST), ()) == frozenset()


def test_an_item_with_ec2nets_mark_is_owned() -> None:
    """R4."""
    ours, theirs = own("10.0.1.4/32", 1), own("10.0.1.5/32", 1)
    address = Address(FIRST, ip_interface("10.0.1.4/24"))
    snapshot = Snapshot((link(1),), (Found(address, 0),), (), (Found(ours, 236), Found(theirs, 3)))
    assert marked(snapshot, 236) == (ours,)
    assert unmarked(snapshot, 236) == (address, theirs)


def settled_host(n: int = 3) -> tuple[Facts, InPlace, dict[Item, Mac]]:
    """A host whose ENIs are configured: its facts, the items in place, and the owner of each
    item."""
    facts = host(*(eni(number) for number in range(n)))
    made: dict[Item, Mac] = {}
    for intent in compute(facts, Config()).ready:
        addresses = [Address(intent.link, interface) for interface in intent.sources]
        groups = [LinkSetting(intent.link, Setting.GROUP, intent.link_group)]
        items: tuple[Item, ...] = (*intent.rules, *addresses, *intent.table_routes, *groups)
        for item in (*items, *intent.main_routes):
            made[item] = intent.mac
    return facts, InPlace(tuple(made)), made


def lost(facts: Facts, found: InPlace, made: dict[Item, Mac]) -> set[Mac]:
    """The ENIs without an intent of which something would be removed."""
    intents = compute(facts, Config())
    wanted = {
        intent.mac: tuple(item for item, mac in made.items() if mac == intent.mac)
        for intent in intents.ready
    }
    plan = plan_for(intents, {e.mac for e in intents.enis}, wanted, found, frozenset())
    waiting = {e.mac for e in intents.enis if e.standing in (Standing.PENDING, Standing.REFUSED)}
    gone = [change.item for change in plan.changes if change.action is Action.REMOVE]
    return {made[item] for item in gone if made[item] in waiting}


@pytest.mark.parametrize("index", [2, 100])
def test_a_second_link_with_the_mac_of_an_eni_removes_nothing_from_it(index: int) -> None:
    """Independent of their order: both are its links, and a refused ENI loses nothing."""
    facts, found, made = settled_host(2)
    twin = replace(link(1), index=index, name="twin")
    links = sorted((*facts.links, twin), key=lambda link: link.index)
    assert lost(replace(facts, links=tuple(links)), found, made) == set()


@pytest.mark.parametrize("key", ["ipv6s", "ipv4_prefixes", "subnet_ipv6"])
def test_an_eni_with_unread_facts_loses_nothing(key: str) -> None:
    """It is configured with the known facts; any further items may belong to unread ones."""
    facts, found, made = settled_host(2)
    unread = (eni(0), eni(1, **{key: TIMEOUT}))
    intents = compute(replace(facts, imds=replace(facts.imds, enis=unread)), Config())
    waits = [outcome.mac for outcome in intents.enis if outcome.intent is None]
    surplus = Address(FIRST, ip_interface("10.0.1.77/32"))
    wanted: dict[Mac, tuple[Item, ...]] = {one.mac: (*one.rules,) for one in intents.ready}
    there = InPlace((*found.ours, surplus))
    plan = plan_for(intents, {mac(0), mac(1)}, wanted, there, frozenset())
    gone = {change.item for change in plan.changes if change.action is Action.REMOVE}
    assert surplus not in gone
    assert not gone & {item for item, owner in made.items() if owner == mac(1)}
    assert gone, waits  # of the other ENI, since no intent has its addresses here


COUNT = 3
MADE = len(settled_host(COUNT)[2])


@settings(max_examples=200)
@given(
    twins=st.sets(st.integers(0, COUNT - 1)),
    listed=st.sets(st.integers(0, COUNT - 1)),
    unread=st.dictionaries(st.integers(0, COUNT - 1), st.sets(st.sampled_from(KEYS))),
    primary=st.booleans(),
    missing=st.sets(st.integers(0, MADE - 1)),
)
def test_a_pending_eni_loses_nothing(
    twins: set[int], listed: set[int], unread: dict[int, set[str]], primary: bool, missing: set[int]
) -> None:
    """Links doubled, facts lost, tables flushed by the kernel: 'gone' is only what surely is."""
    facts, found, made = settled_host(COUNT)
    older = tuple(replace(link(n), index=900 + n, name=f"twin{n}") for n in twins)
    enis = tuple(eni(n, **dict.fromkeys(unread.get(n, ()), TIMEOUT)) for n in listed)
    imds = replace(facts.imds, enis=enis, primary=facts.imds.primary if primary else TIMEOUT)
    left = tuple(item for number, item in enumerate(found.ours) if number not in missing)
    assert lost(Facts(imds, (*older, *facts.links)), InPlace(left), made) == set()


def without_the_last(facts: Facts, **readings: Any) -> HostIntent:
    """The host after ENI 2 was detached, with ENI 1 reading like this."""
    enis = tuple(replace(e, **readings) if e.mac == mac(1) else e for e in facts.imds.enis[:2])
    return compute(Facts(replace(facts.imds, enis=enis), facts.links[:2]), Config())


@pytest.mark.parametrize(
    "readings",
    [
        pytest.param({}, id="ready"),
        pytest.param({"local_ipv4s": ipv4("192.0.2.1")}, id="refused, its number is known"),
    ],
)
def test_leftovers_of_a_detached_eni_are_removed_once_all_numbers_are_known(
    readings: dict[str, Any],
) -> None:
    """Even if the routes that name a table's ENI are lost: its link was set down."""
    facts, found, made = settled_host()
    flushed = tuple(i for i in found.ours if not (isinstance(i, Route) and i.table == 10001))
    intents = without_the_last(facts, **readings)
    wanted = {m: tuple(i for i, o in made.items() if o == m) for m in (mac(0), mac(1))}
    if readings:
        del wanted[mac(1)]
    plan = plan_for(intents, {mac(0), mac(1)}, wanted, InPlace(flushed), frozenset())
    removed = {change.item for change in plan.changes if change.action is Action.REMOVE}
    assert removed == {item for item, owner in made.items() if owner == mac(2)}


def test_rules_without_a_route_stay_while_a_number_is_unknown() -> None:
    facts, found, _ = settled_host()
    rules = tuple(item for item in found.ours if isinstance(item, Rule))
    intents = without_the_last(facts, device_number=TIMEOUT)
    plan = plan_for(intents, {mac(0), mac(1)}, {}, InPlace(rules), frozenset())
    assert plan.changes == ()
    plan = plan_for(intents, {mac(0), mac(1)}, {}, InPlace(rules), frozenset({mac(1)}))
    assert {change.item for change in plan.changes} == set(rules)


NO_IPV4 = fast_failure(Config().numbers)


def removed_without_the_primary(second: dict[str, Any], mine: set[Mac]) -> set[Item]:
    """Removed by a plan for the other ENI alone: the items of ``ipv4_fast_failure``."""
    facts = host(eni(0, **IPV6_ONLY), eni(1, **second))
    intents = compute(facts, Config(eni=EniSettings(ipv4_fast_failure=True)))
    plan = plan_for(intents, mine, {mac(1): ()}, InPlace(NO_IPV4), frozenset())
    return {change.item for change in plan.changes}


@pytest.mark.parametrize("mine", [{mac(1)}, {mac(0), mac(1)}], ids=["backend", "pass"])
def test_a_plan_without_the_primary_keeps_ipv4_failing(mine: set[Mac]) -> None:
    """From a backend without that item, in a pass for another ENI."""
    assert removed_without_the_primary(IPV6_ONLY, mine) == set()


def test_a_pass_for_an_eni_with_ipv4_ends_the_failing() -> None:
    assert removed_without_the_primary({}, {mac(0), mac(1)}) == set(NO_IPV4)


def test_names_with_a_lost_journal_are_removed_and_other_names_are_not() -> None:
    """The link's group, which ec2net sets, shows that they are owned; before that they are
    foreign."""
    facts, _, _ = settled_host(2)
    intents = compute(facts, Config())
    (intent,) = (one for one in intents.ready if one.mac == mac(1))
    names = tuple(LinkSetting(intent.link, Setting.ALTNAME, name) for name in intent.altnames)
    assert len(names) == 2
    theirs = LinkSetting(intent.link, Setting.ALTNAME, "mine")
    for group, expected in ((236, set(names)), (7, set())):
        foreign = (*names, theirs, LinkSetting(intent.link, Setting.GROUP, group))
        found = InPlace(foreign=foreign)
        plan = plan_for(intents, {mac(1)}, {}, found, frozenset({mac(1)}))
        assert {change.item for change in plan.changes} == expected
        assert plan_for(intents, {mac(1)}, {}, found, frozenset()).changes == ()


@pytest.mark.parametrize(
    ("attached", "rest", "goes"),
    [
        pytest.param(Attached.LATER, False, True, id="came back: nothing is on its new link"),
        pytest.param(Attached.LATER, True, False, id="ignored since it was configured"),
        pytest.param(Attached.BOOT, False, False, id="never went"),
        pytest.param(None, False, False, id="the owner is unknown"),
    ],
)
def test_rules_of_an_earlier_attachment_of_an_ignored_eni_are_removed(
    attached: Attached | None, rest: bool, goes: bool
) -> None:
    """They would take the traffic of pods whose addresses the ENI has now."""
    facts, found, made = settled_host(2)
    ignore = EniSection(Match(mac=(mac(1),)), {"manage": Manage.IGNORE})
    told = {} if attached is None else {mac(1): attached}
    intents = compute(replace(facts, attached=told), Config(sections=(ignore,)))
    left = tuple(
        item for item in found.ours if made[item] == mac(1) and (rest or isinstance(item, Rule))
    )
    assert any(isinstance(item, Rule) for item in left)
    left += (guard(10001),)
    plan = plan_for(intents, {mac(0), mac(1)}, {}, InPlace(left), frozenset())
    assert {change.item for change in plan.changes} == (set(left) if goes else set())


def test_an_ignored_link_that_is_no_eni_does_not_protect_leftovers() -> None:
    """A container's veth where that driver counts: its number stays unknown, and no ENI waits for
    it."""
    facts = host(eni(0), eni(1), eni(2))
    there = Facts(replace(facts.imds, enis=facts.imds.enis[:1]), (facts.links[0], link(7)))
    ignore = EniSection(Match(mac=(mac(7),)), {"manage": Manage.IGNORE})
    intents = compute(there, Config(sections=(ignore,)))
    assert [e.standing for e in intents.enis if e.mac == mac(7)] == [Standing.IGNORED]
    left = (own("10.0.2.4/32", 2), main_first("10.0.2.4/32"))
    plan = plan_for(intents, {mac(0), mac(7)}, {}, InPlace(left), frozenset())
    assert {change.item for change in plan.changes} == set(left)
