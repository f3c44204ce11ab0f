# SPDX-License-Identifier: Apache-2.0
"""The plan as data: what it holds, its order, and that following it leads where it should."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.config.settings import Config
from ec2net.core.decide.compare import make_plan, satisfies
from ec2net.core.decide.fast_failure import fast_failure
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import (
    Address,
    KernelObject,
    LinkRef,
    LinkSetting,
    Rank,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Setting,
)
from ec2net.core.model.plan import Action, InPlace, Item, Plan, inverse

MAC, OTHER = Mac("06:ec:02:00:00:01"), Mac("06:ec:02:00:00:02")
LINK = LinkRef(3, "ens6")
NET = ip_network("10.0.1.0/24")

UP = LinkSetting(LINK, Setting.UP, 1)
MTU = LinkSetting(LINK, Setting.MTU, 9001)
ADDRESS = Address(LINK, ip_interface("10.0.1.4/24"))
ROUTE = Route(NET, 10001, 0, LINK, source=ip_address("10.0.1.4"))
DEFAULT = Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address("10.0.1.1"))
RULE = Rule(ip_network("10.0.1.4/32"), 10001, 10001)
WANTED: tuple[KernelObject, ...] = (RULE, DEFAULT, ROUTE, ADDRESS, UP)


def test_equal_states_need_no_changes() -> None:
    """R15."""
    plan = make_plan({MAC: WANTED}, InPlace(ours=WANTED))
    assert plan == Plan()
    assert not plan


def test_additions_precede_removals_in_rank_order() -> None:
    """Make before break."""
    old: list[Item] = [
        Address(LINK, ip_interface("10.0.1.99/32")),
        Route(ip_network("10.0.9.0/24"), 10001, 0, LINK),
        Rule(ip_network("10.0.1.99/32"), 10001, 10001),
    ]
    plan = make_plan({MAC: WANTED}, InPlace(ours=tuple(old)))
    up = sorted(WANTED, key=lambda item: item.rank)
    down = sorted(old, key=lambda item: item.rank, reverse=True)
    assert [(change.action, change.item) for change in plan.changes] == [
        *((Action.ADD, item) for item in up),
        *((Action.REMOVE, item) for item in down),
    ]
    assert Rank.LINK < Rank.ADDRESS < Rank.ROUTE  # the kernel insists: up, then source, then route


def test_the_ipv4_failure_route_is_added_last_and_removed_first() -> None:
    """No ENI's services are cut off in between, nor by a kill."""
    rules = fast_failure(Config().numbers)
    made = make_plan({MAC: (*rules, *WANTED)}, InPlace())
    assert made.changes[-1].item == rules[-1]
    assert make_plan({MAC: ()}, InPlace(ours=rules)).changes[0].item == rules[-1]


def test_an_owned_item_that_differs_is_replaced_and_the_plan_shows_its_old_value() -> None:
    before = replace(DEFAULT, gateway=ip_address("10.0.1.254"))
    (change,) = make_plan({MAC: [DEFAULT]}, InPlace(ours=(before,))).changes
    assert (change.action, change.item, change.before) == (Action.REPLACE, DEFAULT, before)
    assert change.mac == MAC


def test_an_adjustable_item_is_replaced_but_never_removed() -> None:
    before = replace(MTU, value=1500)
    assert make_plan({MAC: [MTU]}, InPlace(adjustable=(before,))).changes[0].before == before
    assert not make_plan({}, InPlace(adjustable=(before,)))


def test_a_renamed_link_changes_nothing() -> None:
    renamed = replace(ADDRESS, link=LinkRef(3, "eth1"))
    assert not make_plan({MAC: [ADDRESS]}, InPlace(ours=(renamed,)))


@pytest.mark.parametrize(
    ("wanted", "foreign", "enough"),
    [
        pytest.param(ADDRESS, replace(ADDRESS, interface=ip_interface("10.0.1.4/20")), True,
                     id="the same address with another length"),
        pytest.param(ROUTE, replace(ROUTE, source=None), True, id="a route that leads there"),
        pytest.param(DEFAULT, replace(DEFAULT, gateway=ip_address("10.0.1.9")), False,
                     id="another gateway"),
        pytest.param(ROUTE, replace(ROUTE, link=LinkRef(9, "docker0")), False, id="another link"),
        pytest.param(ROUTE, replace(ROUTE, kind=RouteKind.UNREACHABLE), False, id="another kind"),
        pytest.param(RULE, RULE, True, id="the same rule"),
        pytest.param(LinkSetting(LINK, Setting.GROUP, 236), LinkSetting(LINK, Setting.GROUP, 7),
                     False, id="a link group that a user assigned"),
    ],
)  # fmt: skip
def test_a_foreign_item_satisfies_or_conflicts_and_stays(
    wanted: KernelObject, foreign: KernelObject, enough: bool
) -> None:
    """R4."""
    plan = make_plan({MAC: [wanted]}, InPlace(foreign=(foreign,)))
    assert satisfies(foreign, wanted) is enough
    assert plan.changes == ()
    assert len(plan.conflicts) == (0 if enough else 1)
    for conflict in plan.conflicts:
        assert conflict.mac == MAC
        assert foreign.describe() in conflict.describe()


def test_an_item_shared_by_two_enis_serves_both() -> None:
    """NetworkManager's file was planned again for the second ENI while NetworkManager restarted,
    and deleted when NetworkManager could not be notified."""
    assert not make_plan({MAC: WANTED, OTHER: WANTED}, InPlace(ours=WANTED))
    plan = make_plan({MAC: WANTED, OTHER: WANTED}, InPlace())
    assert sorted(change.item.describe() for change in plan.changes) == sorted(
        item.describe() for item in WANTED
    )


def test_a_protected_item_stays_without_an_owner() -> None:
    found = InPlace(ours=WANTED)
    assert not make_plan({}, found, keep=frozenset(WANTED))
    plan = make_plan({}, found, keep=frozenset(WANTED) - {RULE}, owners={RULE: MAC})
    assert [(change.item, change.mac) for change in plan.changes] == [(RULE, MAC)]


def test_the_first_of_two_enis_gets_what_both_want() -> None:
    other = replace(DEFAULT, link=LinkRef(4, "ens7"))
    plan = make_plan({MAC: [DEFAULT], OTHER: [other]}, InPlace())
    assert [(change.item, change.mac) for change in plan.changes] == [(DEFAULT, MAC)]


links = st.sampled_from([LINK, LinkRef(4, "ens7")])
networks = st.sampled_from([NET, ip_network("10.0.1.4/32"), ip_network("0.0.0.0/0")])
items = st.one_of(
    st.builds(
        LinkSetting,
        links,
        st.sampled_from([Setting.MTU, Setting.GROUP]),
        st.integers(0, 3),
    ),
    st.builds(
        Address, links, st.sampled_from([ip_interface(t) for t in ("10.0.1.4/24", "10.0.1.4/32")])
    ),
    st.builds(Route, networks, st.sampled_from([254, 10001]), st.integers(0, 1), links),
    st.builds(Rule, networks, st.integers(9999, 10001), st.sampled_from([254, 10001])),
)
several = st.lists(items, max_size=6)


@st.composite
def found(draw: st.DrawFn) -> InPlace:
    """The items in place: one item of each identity."""
    parts: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for item in {item.identity: item for item in draw(st.lists(items, max_size=12))}.values():
        kinds = 3 if isinstance(item, LinkSetting) else 2
        parts[draw(st.integers(0, kinds - 1))].append(item)
    return InPlace(*map(tuple, parts))


def follow(plan: Plan, before: InPlace) -> InPlace:
    """The state after the plan; an assertion fails on a step that a kernel would refuse."""
    ours = {item.identity: item for item in before.ours}
    adjustable = {item.identity: item for item in before.adjustable}
    foreign = {item.identity for item in before.foreign}
    for change in plan.changes:
        key = change.item.identity
        assert key not in foreign
        if change.action is Action.ADD:
            assert key not in ours
            assert key not in adjustable
            ours[key] = change.item
        elif change.action is Action.REPLACE:
            assert change.before == ours.get(key, adjustable.pop(key, None))
            ours[key] = change.item
        else:
            assert ours.pop(key) == change.item
    return InPlace(tuple(ours.values()), before.foreign, tuple(adjustable.values()))


@given(several, several, found(), st.randoms(use_true_random=False))
def test_a_plan_leads_to_the_intent_and_leaves_foreign_items_unchanged(
    mine: list[Item], others: list[Item], before: InPlace, chance: object
) -> None:
    keep = frozenset(before.ours[::2])
    wanted = {MAC: mine, OTHER: others}
    plan = make_plan(wanted, before, keep=keep)
    after = follow(plan, before)
    first: dict[tuple[object, ...], Item] = {}
    for item in (*mine, *others):
        first.setdefault(item.identity, item)
    held = {item.identity: item for item in (*after.foreign, *after.adjustable, *after.ours)}
    conflicts = {conflict.item for conflict in plan.conflicts}
    for identity, item in first.items():
        assert item in conflicts or satisfies(held[identity], item)
    kept = {item.identity for item in keep}
    assert {item.identity for item in after.ours} <= {*first, *kept}
    assert {identity for identity in kept if identity not in first} <= set(held)
    # a second pass finds nothing to do
    again = make_plan(wanted, after, keep=keep)
    assert again.changes == ()
    assert again.conflicts == plan.conflicts


@given(several, found())
def test_a_plan_orders_additions_then_updates_then_removals(
    mine: list[Item], before: InPlace
) -> None:
    changes = make_plan({MAC: mine}, before).changes
    removals = [change.action is Action.REMOVE for change in changes]
    ranks = [
        -change.item.rank if gone else +change.item.rank
        for change, gone in zip(changes, removals, strict=True)
    ]
    order = list(zip(removals, ranks, strict=True))
    assert order == sorted(order)


@given(several, several, found(), st.integers(0, 40))
def test_the_inverse_of_a_plan_restores_the_state(
    mine: list[Item], others: list[Item], before: InPlace, length: int
) -> None:
    """After any number of applied steps. An adjustable item is ec2net's meanwhile, and adjustable
    again afterwards."""
    plan = make_plan({MAC: mine, OTHER: others}, before)
    done = replace(plan, changes=plan.changes[:length])
    back = replace(plan, changes=inverse(done.changes))
    after = follow(back, follow(done, before))
    assert {*after.ours, *after.adjustable} == {*before.ours, *before.adjustable}
    assert inverse(back.changes) == done.changes
    # Each step finds the state that its inverse was computed for.
    assert [c.item.identity for c in reversed(back.changes)] == [
        c.item.identity for c in done.changes
    ]


def test_two_enis_that_want_different_values_conflict() -> None:
    """One metric in main for two ENIs: the second would silently get nothing."""
    other_link = LinkRef(9, "ens9")
    mine = Route(ip_network("0.0.0.0/0"), 254, 700, LINK, ip_address("10.0.1.1"))
    theirs = Route(ip_network("0.0.0.0/0"), 254, 700, other_link, ip_address("10.0.1.1"))
    plan = make_plan({MAC: [mine], Mac("06:00:00:00:00:09"): [theirs]}, InPlace())
    assert [change.item for change in plan.changes] == [mine]
    (found,) = plan.conflicts
    assert found.describe() == (
        "route default via 10.0.1.1 dev ens9 table main metric 700: another ENI wants in its place: route "
        "default via 10.0.1.1 dev ens6 table main metric 700"
    )


def test_the_rest_of_an_interrupted_replacement_is_removed() -> None:
    """IPv4 keeps 10.0.1.5/24 and 10.0.1.5/32; one hid the other, which stayed for good."""
    wanted, old = (Address(LINK, ip_interface(f"10.0.1.5/{length}")) for length in (24, 32))
    for ours in ((wanted, old), (old, wanted)):
        (change,) = make_plan({MAC: [wanted]}, InPlace(ours)).changes
        assert (change.action, change.item) == (Action.REMOVE, old)


def test_one_of_several_conflicting_owned_items_is_replaced_and_others_are_removed() -> None:
    routes = [
        Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address(f"10.0.1.{n}")) for n in (1, 2, 3)
    ]
    replace, remove = make_plan({MAC: routes[:1]}, InPlace(tuple(routes[1:]))).changes
    assert (replace.action, replace.item, replace.before) == (Action.REPLACE, *routes[:2])
    assert (remove.action, remove.item) == (Action.REMOVE, routes[2])


def test_an_item_observed_twice_counts_once() -> None:
    address = Address(LINK, ip_interface("10.0.1.5/24"))
    assert not make_plan({MAC: [address]}, InPlace((address, address)))


def test_rules_that_enis_share_are_added_once_and_for_no_single_eni() -> None:
    shared = Rule(NET, 22800, 0, action=RuleAction.GOTO, target=22900)
    leaf = Rule(RULE.source, 22900, 10001, action=RuleAction.GOTO, target=26926)
    plan = make_plan({MAC: (leaf, shared), OTHER: (shared,)}, InPlace())
    assert {change.item: change.mac for change in plan.changes} == {shared: None, leaf: MAC}
    assert len(plan.changes) == 2


def test_rules_that_lead_past_those_of_enis_are_added_first_and_removed_last() -> None:
    everything, main_first = ip_network("0.0.0.0/0"), Rule(RULE.source, 9999, 254, 0, 236)
    leaves = [
        Rule(NET, 22900, 10001, action=RuleAction.GOTO, target=26926),
        Rule(RULE.source, 22900, 10001, action=RuleAction.GOTO, target=26926),
    ]
    block = [
        Rule(everything, 26926, 254, 0, 236),
        Rule(everything, 26927, 10001),
        Rule(everything, 26928, 10001, action=RuleAction.GOTO, target=29999),
    ]
    shared = [
        Rule(NET, 22800, 0, action=RuleAction.GOTO, target=22900),
        Rule(NET, 22900, 0, action=RuleAction.GOTO, target=23000),
        Rule(everything, 22901, 0, action=RuleAction.GOTO, target=29999),
        Rule(everything, 22801, 0, action=RuleAction.GOTO, target=29999),
        Rule(everything, 29999, 0, action=RuleAction.NOP),
    ]
    items = [*leaves, *block, *shared, RULE, main_first]
    plan = make_plan({}, InPlace(ours=(RULE, main_first, *shared, *block, *leaves)))
    removed = [change.item for change in plan.changes]
    assert {*removed[:2]} == {*leaves}
    assert removed[2:] == items[2:]
    added = make_plan({MAC: (RULE, main_first, *block, *leaves, *shared)}, InPlace()).changes
    assert [change.item for change in added[:5]] == [*reversed(shared)]


def test_the_rule_of_a_source_is_removed_before_a_shared_one_of_the_same_cidr() -> None:
    """The kernel takes table 0 in a request to remove a rule for any table."""
    leaf = Rule(NET, 25000, 10001, action=RuleAction.GOTO, target=26926)
    row = Rule(NET, 25000, 0, action=RuleAction.GOTO, target=25500)
    for ours in ((leaf, row), (row, leaf)):
        plan = make_plan({}, InPlace(ours=ours))
        assert [change.item for change in plan.changes] == [leaf, row]
