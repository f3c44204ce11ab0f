# SPDX-License-Identifier: Apache-2.0
"""The effect of each setting of an ENI on the intent, and no other effect."""

from dataclasses import fields, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from eni_facts import IPV4_ONLY, IPV6_ONLY, eni, host, link, mac, prefixes4, prefixes6

from ec2net.core.config.schema import PER_ENI
from ec2net.core.config.settings import (
    Altname,
    Config,
    DnsDefaultRoute,
    EniSection,
    EniSettings,
    Ipv6Policy,
    MainDefault,
    MainTable,
    Manage,
    Match,
    MtuPolicy,
    PrefixMode,
    Rival,
    Role,
    Routing,
)
from ec2net.core.decide.compute import compute
from ec2net.core.decide.eni_intent import early_intent
from ec2net.core.decide.intent import EniIntent, EniOutcome, Standing
from ec2net.core.model.facts import Facts, Unknown
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import MAIN_TABLE, AnyNetwork, LinkRef, Mark, Rule, RuleAction

PREFIXES: dict[str, Any] = {
    "ipv4_prefixes": prefixes4("10.0.1.16/28"),
    "ipv6_prefixes": prefixes6("2001:db8:0:1:1::/80"),
}
FACTS = host(eni(0), eni(1, **PREFIXES))


def intent(n: int = 1, **settings: Any) -> EniIntent:
    outcome = compute(FACTS, Config(eni=EniSettings(**settings))).of(mac(n))
    assert outcome is not None
    assert outcome.intent is not None, outcome.reason
    return outcome.intent


def differing(one: EniIntent, other: EniIntent) -> set[str]:
    return {f.name for f in fields(EniIntent) if getattr(one, f.name) != getattr(other, f.name)}


DEFAULT = intent()


def test_addresses_off_leaves_secondary_addresses_unmanaged() -> None:
    """R30, K-a: addresses of pods on the host's link took their traffic (ENU#100)."""
    mine = intent(manage=Manage.NO_ADDRESSES, ipv4_prefix_mode=PrefixMode.LOCAL)
    assert mine.base == DEFAULT.base
    assert mine.further == ()
    assert mine.local_routes == ()
    assert differing(mine, DEFAULT) == {"manage", "further", "rules"}
    bases = {str(interface.ip) for interface in DEFAULT.base}
    assert {str(rule.source.network_address) for rule in mine.rules} == bases
    assert {rule.source.num_addresses for rule in mine.rules} == {1}


def test_rules_off_gives_no_rule_and_no_table() -> None:
    mine = intent(manage=Manage.NO_RULES)
    assert (mine.rules, mine.table_routes) == ((), ())
    assert differing(mine, DEFAULT) == {
        "manage",
        "rules",
        "table_routes",
        "main_subnets",
        "follows_main",
    }


def test_observe_gives_the_whole_intent() -> None:
    assert differing(intent(manage=Manage.OBSERVE), DEFAULT) == {"manage"}


def test_ignore_gives_no_intent() -> None:
    outcome = compute(FACTS, Config(eni=EniSettings(manage=Manage.IGNORE))).of(mac(1))
    assert outcome is not None
    assert outcome.standing is Standing.IGNORED
    assert outcome.reason == 'the configuration sets manage = "ignore"'


def test_strict_omits_rules_for_main() -> None:
    mine = intent(routing=Routing.STRICT)
    assert differing(mine, DEFAULT) == {"rules", "follows_main"}
    assert {rule.table for rule in mine.rules} == {mine.table}
    assert set(mine.rules) == {rule for rule in DEFAULT.rules if rule.table != MAIN_TABLE}


def test_routing_off_gives_no_rule_and_no_table() -> None:
    mine = intent(routing=Routing.OFF)
    assert (mine.rules, mine.table_routes) == ((), ())
    assert mine.main_routes == DEFAULT.main_routes


def test_the_primary_has_no_rules_by_default() -> None:
    """K-c, ENU#97: containers on bridges reach the primary's addresses."""
    primary = intent(0)
    assert (primary.rules, primary.table_routes, primary.main_routes) == ((), (), ())
    assert [str(source) for source in primary.correctable] == [
        "10.0.0.4/32",
        "10.0.0.9/32",
        "2001:db8::4/128",
        "2001:db8::9/128",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"primary_rules": True},
        {"primary_rules": False},
        {"main_table": MainTable.APART},
        {"routing": Routing.OFF},
        {"manage": Manage.NO_RULES},
    ],
)
def test_the_primary_is_corrected_only_where_ec2net_manages_rules(
    settings: dict[str, Any],
) -> None:
    assert intent(0, **settings).correctable == ()
    assert intent(1).correctable == ()


def test_primary_rules_give_the_primary_the_same_treatment() -> None:
    """R6."""
    primary = intent(0, primary_rules=True)
    assert {rule.priority for rule in primary.rules} == {9999, 10000}
    assert {route.table for route in primary.table_routes} == {10000}
    assert primary.main_routes == ()
    assert intent(1, primary_rules=True) == DEFAULT


def test_published_ports_route_marked_answers_by_the_own_table() -> None:
    """R5: a container's answer has its own source when its route is chosen."""
    mark = Mark(2 << 20, 0xFFF << 20)
    added = [rule for rule in intent(published_ports=True).rules if rule not in DEFAULT.rules]
    assert added == [Rule(ip_network(s), 10001, 10001, mark=mark) for s in ("0.0.0.0/0", "::/0")]
    assert intent(0, published_ports=True).rules == ()
    assert intent(published_ports=True, manage=Manage.NO_RULES).rules == ()


@pytest.mark.parametrize(("key", "version"), [("ipv4_prefix_mode", 4), ("ipv6_prefix_mode", 6)])
def test_each_prefix_mode_has_its_effect(key: str, version: int) -> None:
    """R10."""
    (prefix,) = (p for p in DEFAULT.prefixes if p.version == version)
    rules, local, none = (intent(1, **dict[str, Any]({key: mode})) for mode in PrefixMode)
    assert rules == DEFAULT
    assert prefix in {rule.source for rule in rules.rules}
    assert rules.local_routes == ()
    assert [route.destination for route in local.local_routes] == [prefix]
    assert local.rules == rules.rules
    assert prefix not in {rule.source for rule in none.rules}
    assert none.local_routes == ()
    # the address still belongs to the ENI, no other ENI can have it
    assert none.prefixes == DEFAULT.prefixes


@pytest.mark.parametrize(
    ("setting", "metrics"),
    [
        pytest.param(MainDefault.YES, [513, 513], id="yes"),
        pytest.param(MainDefault.NO, [], id="no (R13)"),
        pytest.param(700, [700, 700], id="a metric"),
    ],
)
def test_the_default_route_in_main(setting: MainDefault | int, metrics: list[int]) -> None:
    mine = intent(main_default=setting)
    assert [route.metric for route in mine.main_routes] == metrics
    assert mine.table_routes == DEFAULT.table_routes
    assert mine.metric == (metrics or [513])[0]


def test_main_shows_the_ipv4_subnet_unless_the_configuration_separates_it() -> None:
    assert [str(subnet) for subnet in DEFAULT.main_subnets] == ["10.0.1.0/24"]
    apart = intent(main_table=MainTable.APART)
    assert apart.main_subnets == ()
    assert differing(apart, DEFAULT) == {"main_subnets", "follows_main"}
    assert intent(0).main_subnets == ()
    assert intent(routing=Routing.OFF).main_subnets == ()


def test_a_configured_metric_also_applies_to_the_primary() -> None:
    """The program that adds the primary's default route takes the metric from the intent."""
    assert intent(0, main_default=700).metric == 700
    assert intent(0).metric == 512


def test_ipv6_off_gives_no_ipv6() -> None:
    """R34."""
    mine = intent(ipv6=Ipv6Policy.OFF)
    parts = (*mine.sources, *mine.prefixes, *mine.gateways, *(rule.source for rule in mine.rules))
    routes = (*mine.table_routes, *mine.main_routes)
    assert not mine.ipv6
    assert {part.version for part in parts} == {4}
    assert {route.destination.version for route in routes} == {4}


def test_ipv6_auto_follows_the_subnet() -> None:
    facts = host(eni(0), eni(1, **IPV4_ONLY))
    found = {
        policy: compute(facts, Config(eni=EniSettings(ipv6=policy))).ready[1].ipv6
        for policy in Ipv6Policy
    }
    assert found == {Ipv6Policy.AUTO: False, Ipv6Policy.ON: True, Ipv6Policy.OFF: False}
    assert DEFAULT.ipv6


@pytest.mark.parametrize(
    ("mtu", "family", "settings", "refused"),
    [
        (1279, {}, {}, True),
        (576, IPV6_ONLY, {}, True),
        (1280, {}, {}, False),
        (576, IPV4_ONLY, {}, False),
        (576, {}, {"ipv6": Ipv6Policy.OFF}, False),
    ],
)
def test_an_mtu_that_removes_ipv6_refuses_an_eni_with_ipv6_addresses(
    mtu: int, family: dict[str, Any], settings: dict[str, Any], refused: bool
) -> None:
    config = Config(eni=EniSettings(mtu=mtu, **settings))
    outcome = compute(host(eni(0), eni(1, **family)), config).of(mac(1))
    assert outcome is not None
    assert (outcome.standing is Standing.REFUSED) is refused, outcome.reason
    assert (f"mtu = {mtu} would remove IPv6" in outcome.reason) is refused


@pytest.mark.parametrize(
    ("mtu", "by_mtu", "refused"),
    [
        (600, True, True),
        (600, False, False),  # an administrator has turned IPv6 off
        (MtuPolicy.KEEP, True, False),
        (1280, True, False),  # the pass that sets it plans for IPv6 once more
    ],
)
def test_an_mtu_that_already_removed_ipv6_is_refused_too(
    mtu: int | MtuPolicy, by_mtu: bool, refused: bool
) -> None:
    """Such a host silently had no IPv6."""
    small = link(1, mtu=600, ipv6=False, ipv6_off_by_mtu=by_mtu)
    facts = host(eni(0), eni(1), links=(link(0), small))
    outcome = compute(facts, Config(eni=EniSettings(mtu=mtu))).of(mac(1))
    assert outcome is not None
    assert (outcome.standing is Standing.REFUSED) is refused, outcome.reason
    assert outcome.intent is None or outcome.intent.first(6) is None


@pytest.mark.parametrize(
    ("mtu", "ipv6", "early"),
    [
        (1279, Ipv6Policy.AUTO, MtuPolicy.KEEP),
        (1280, Ipv6Policy.AUTO, 1280),
        (600, Ipv6Policy.OFF, 600),
    ],
)
def test_the_early_intent_sets_no_mtu_that_removes_ipv6(
    mtu: int, ipv6: Ipv6Policy, early: MtuPolicy | int
) -> None:
    """A network manager sets the MTU before ec2net knows whether the ENI has IPv6 addresses."""
    intent = early_intent(
        mac(1), LinkRef(3, "ens6"), False, EniSettings(mtu=mtu, ipv6=ipv6), NumberPlan()
    )
    assert intent.mtu == early


@pytest.mark.parametrize("mtu", ["keep", 1500])
def test_the_backend_receives_the_mtu(mtu: str | int) -> None:
    """R11."""
    mine = intent(mtu=mtu)
    assert mine.mtu == mtu
    assert differing(mine, DEFAULT) == {"mtu", "early"}


@pytest.mark.parametrize(
    ("forms", "names"),
    [
        ((), ()),
        ((Altname.DEVICE_NUMBER,), ("device-number-1.0",)),
        (
            (Altname.DEVICE_NUMBER, Altname.ID),
            ("device-number-1.0", "eni-00000000000000001"),
        ),
    ],
)
def test_alternative_names_follow_the_configuration(
    forms: tuple[Altname, ...], names: tuple[str, ...]
) -> None:
    mine = intent(altnames=forms)
    assert mine.altnames == names
    assert differing(mine, DEFAULT) <= {"altnames"}


def test_the_bases_of_all_numbers_follow_the_configuration() -> None:
    numbers = NumberPlan(
        table_base=20000, priority_base=3000, metric_base=100, protocol=200, link_group=7
    )
    mine = compute(FACTS, Config(numbers=numbers)).ready[1]
    assert (mine.table, mine.metric, mine.link_group) == (20001, 101, 7)
    assert {rule.priority for rule in mine.rules} == {2999, 3001}
    assert {rule.suppress_group for rule in mine.rules} == {None, 7}


@pytest.mark.parametrize(
    ("match", "matching"),
    [
        (Match(mac=(mac(1),)), {1}),
        (Match(device=2), {2}),
        (Match(card=0), {0, 1, 2}),
        (Match(role=Role.PRIMARY), {0}),
        (Match(role=Role.SECONDARY), {1, 2}),
        (Match(name=("ens7",)), {2}),
        (Match(subnet=prefixes4("10.0.0.0/23").value[0]), {0, 1}),
    ],
)
def test_a_section_changes_only_the_enis_that_it_matches(match: Match, matching: set[int]) -> None:
    facts = host(eni(0), eni(1), eni(2))
    section = EniSection(match, {"mtu": 1400})
    ready = compute(facts, Config(sections=(section,))).ready
    assert {int(i.mac.text[-2:], 16) for i in ready if i.mtu == 1400} == matching


def test_accepted_tools_do_not_change_the_intent() -> None:
    accepted = intent(coexist_with=(Rival.NM_CLOUD_SETUP,))
    assert differing(accepted, DEFAULT) == {"coexist_with"}


def test_the_dns_setting_only_concerns_the_backend_that_writes_files() -> None:
    asked = intent(dns_default_route=DnsDefaultRoute.YES)
    assert differing(asked, DEFAULT) == {"early"}
    assert replace(asked.early, dns=DnsDefaultRoute.AUTO) == DEFAULT.early


ONLY_IPV6 = host(eni(0, **IPV6_ONLY), eni(1, **IPV6_ONLY))
FAST = Config(eni=EniSettings(ipv4_fast_failure=True))


def test_ipv4_fails_at_once_where_no_eni_has_ipv4() -> None:
    """R33: as the last of all rules, after every route that is not an ENI's."""
    first, second = compute(ONLY_IPV6, FAST).ready
    assert [(r.priority, r.table, r.action) for r in first.no_ipv4] == [
        (32762, MAIN_TABLE, RuleAction.LOOKUP),
        (32763, MAIN_TABLE, RuleAction.LOOKUP),
        (32764, MAIN_TABLE, RuleAction.LOOKUP),
        (32765, 0, RuleAction.UNREACHABLE),
    ]
    assert second.no_ipv4 == ()
    (without, _) = compute(ONLY_IPV6, Config()).ready
    assert differing(first, without) == {"no_ipv4"}


@pytest.mark.parametrize(
    "facts",
    [
        host(eni(0), eni(1, **IPV6_ONLY)),
        host(eni(0, **IPV6_ONLY), eni(1)),
        host(eni(0, **IPV6_ONLY), eni(1, device_number=Unknown("timed out"))),
        host(eni(0, **IPV6_ONLY), eni(1, **{**IPV6_ONLY, "local_ipv4s": Unknown("timed out")})),
        host(eni(0, **{**IPV6_ONLY, "local_ipv4s": Unknown("timed out")})),
        host(eni(0, **{**IPV6_ONLY, "subnet_ipv4": Unknown("timed out")})),
    ],
    ids=[
        "the primary has it",
        "a secondary has it",
        "one that is pending has it",
        "a secondary's addresses not told",
        "addresses not told",
        "subnet not told",
    ],
)
def test_ipv4_is_not_made_to_fail_where_it_exists_or_is_unknown(facts: Facts) -> None:
    assert {intent.no_ipv4 for intent in compute(facts, FAST).ready} <= {()}


def test_ipv4_is_not_made_to_fail_where_an_ignored_eni_has_ipv4() -> None:
    ignored = EniSection(Match(mac=(mac(1),)), {"manage": Manage.IGNORE})
    config = replace(FAST, sections=(ignored,))
    (first,) = compute(host(eni(0, **IPV6_ONLY), eni(1)), config).ready
    assert first.no_ipv4 == ()
    (first,) = compute(ONLY_IPV6, config).ready
    assert first.no_ipv4 != ()


def test_an_eni_without_a_local_link_provides_no_ipv4() -> None:
    """Its IPv4 is in another namespace, or a driver of user space has it."""
    facts = host(eni(0, **IPV6_ONLY), eni(1))
    facts = replace(facts, links=facts.links[:1])
    (first,) = compute(facts, FAST).ready
    assert first.no_ipv4 != ()


def outcome(n: int = 1, **settings: Any) -> EniOutcome:
    """With the settings for ENI ``n`` alone."""
    section = EniSection(Match(mac=(mac(n),)), settings)
    found = compute(FACTS, Config(sections=(section,))).of(mac(n))
    assert found is not None
    return found


def networks(*texts: str) -> tuple[AnyNetwork, ...]:
    return tuple(map(ip_network, texts))


def test_a_routed_address_keeps_its_rules_and_is_not_added_to_the_host() -> None:
    mine = intent(routed=networks("10.0.1.8/29", "2001:db8:0:1::9"))
    assert differing(mine, DEFAULT) == {"further", "routed"}
    assert mine.further == ()
    assert mine.routed == networks("10.0.1.9", "2001:db8:0:1::9")


def test_the_rules_of_routed_addresses_stay_when_a_cni_has_all_others() -> None:
    mine = intent(routed=networks("10.0.1.9"), manage=Manage.NO_ADDRESSES)
    assert ip_network("10.0.1.9") in {rule.source for rule in mine.rules}
    assert ip_network("2001:db8:0:1::9") not in {rule.source for rule in mine.rules}


def test_an_eni_with_only_routed_ipv6_addresses_has_an_ipv6_gateway() -> None:
    mine = intent(routed=networks("2001:db8:0:1::/64"))
    assert {address.version for address in mine.base + mine.further} == {4}
    assert mine.gateways == DEFAULT.gateways


def test_routed_may_not_contain_the_first_ipv4_address() -> None:
    refused = outcome(routed=networks("10.0.1.0/29"))
    assert refused.standing is Standing.REFUSED
    assert "10.0.1.4" in refused.reason
    assert "leave it out of routed" in refused.reason


def test_configured_sources_get_the_rules_of_an_address() -> None:
    mine = intent(sources=networks("172.18.0.0/16", "fd00:18::/64"))
    assert differing(mine, DEFAULT) == {"rules", "configured_sources"}
    added = {rule.source for rule in mine.rules} - {rule.source for rule in DEFAULT.rules}
    assert added == set(networks("172.18.0.0/16", "fd00:18::/64"))
    assert len(mine.rules) == len(DEFAULT.rules) + 4


@pytest.mark.parametrize(
    ("n", "settings", "words"),
    [
        (1, {"manage": Manage.NO_RULES}, "without rules"),
        (1, {"routing": Routing.OFF}, "without rules"),
        (0, {}, "primary_rules = true"),
        (1, {"ipv6": Ipv6Policy.OFF}, "no IPv6 address"),
        (1, {"sources": networks("10.0.0.0/16")}, "ens5"),
    ],
    ids=["no-rules", "routing off", "primary", "a family it has not", "another ENI's address"],
)
def test_sources_without_effect_are_refused_with_the_reason(
    n: int, settings: dict[str, Any], words: str
) -> None:
    refused = outcome(n, **{"sources": networks("172.18.0.0/16", "fd00::/64"), **settings})
    assert refused.standing is Standing.REFUSED
    assert words in refused.reason
    other = compute(FACTS, Config()).of(mac(1 - n))
    assert other is not None
    assert other.standing is Standing.READY


def test_the_first_of_two_enis_keeps_a_shared_configured_source() -> None:
    sections = tuple(
        EniSection(Match(mac=(mac(n),)), {"sources": networks("172.18.0.0/16")}) for n in (1, 2)
    )
    found = compute(host(eni(0), eni(1), eni(2)), Config(sections=sections))
    assert [one.standing for one in found.enis] == [Standing.READY] * 2 + [Standing.REFUSED]


def test_each_setting_of_an_eni_has_a_test_here() -> None:
    source = Path(__file__).read_text()
    tested = {setting.field.removeprefix("eni.") for setting in PER_ENI} - {"backend"}
    assert {
        name for name in tested if f"{name}=" not in source and f'"{name}"' not in source
    } == set()


def test_sources_of_an_ignored_eni_are_refused_with_the_reason() -> None:
    refused = outcome(sources=networks("172.18.0.0/16"), manage=Manage.IGNORE)
    assert refused.standing is Standing.REFUSED
    assert refused.reason.startswith('the configuration sets manage = "ignore", so the setting')
    assert outcome(manage=Manage.IGNORE).standing is Standing.IGNORED
