# SPDX-License-Identifier: Apache-2.0
"""The standing of an ENI, and the reason in its message, case by case."""

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, ip_interface
from typing import Any

import pytest
from eni_facts import (
    EFA_ONLY,
    IPV4_ONLY,
    IPV6_ONLY,
    PRIMARY,
    TIMEOUT,
    eni,
    host,
    ipv4,
    ipv6,
    link,
    mac,
    prefixes4,
    prefixes6,
)

from ec2net.core.config.settings import Config, EniSettings, Ipv6Policy, Manage, PrefixMode
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.model.facts import Absent, EniFacts, Facts, Reading, Unknown, Value

READY, PENDING, REFUSED = Standing.READY, Standing.PENDING, Standing.REFUSED
ABSENT = Standing.ABSENT


def outcome_of(n: int, facts: Facts, **settings: Any) -> EniOutcome:
    outcome = compute(facts, Config(eni=EniSettings(**settings))).of(mac(n))
    assert outcome is not None
    return outcome


def intent_of(n: int, facts: Facts, **settings: Any) -> EniIntent:
    outcome = outcome_of(n, facts, **settings)
    assert outcome.intent is not None, outcome.reason
    return outcome.intent


def secondary(**readings: Reading[Any]) -> EniFacts:
    return eni(1, **readings)


@pytest.mark.parametrize(
    ("readings", "standing", "reason"),
    [
        pytest.param({}, READY, "", id="everything is known"),
        pytest.param(IPV4_ONLY, READY, "", id="IPv4 only"),
        pytest.param(IPV6_ONLY, READY, "", id="IPv6 only"),
        pytest.param(
            {"device_number": Value(0)},
            PENDING,
            "device-number is still 0: IMDS has not propagated the attachment yet",
            id="device number 0 of a secondary (ENU#90)",
        ),
        pytest.param(
            {"device_number": Value(0), "network_card": Value(1)},
            READY,
            "",
            id="device number 0 on another card is its own",
        ),
        pytest.param(
            {"device_number": TIMEOUT},
            PENDING,
            "device-number is not known: timed out",
            id="device number unknown (R2)",
        ),
        pytest.param(
            {"device_number": Absent()},
            PENDING,
            "device-number is not known: absent",
            id="device number absent",
        ),
        pytest.param(
            {"network_card": TIMEOUT},
            PENDING,
            "network-card is not known: timed out",
            id="card unknown is not card 0 (R2)",
        ),
        pytest.param(
            {"device_number": Value(100)},
            REFUSED,
            "IMDS reports device number 100 (possible: 0 to 99): ec2net does not configure the ENI; "
            "attach it with a possible number",
            id="device number too high",
        ),
        pytest.param(
            {"network_card": Value(128)},
            REFUSED,
            "IMDS reports network card 128 (possible: 0 to 127): ec2net does not configure the ENI; "
            "attach it with a possible number",
            id="card too high",
        ),
        pytest.param(
            EFA_ONLY,
            Standing.NO_ADDRESS,
            "attached without any IP address (EFA-only)",
            id="EFA-only (R38)",
        ),
        pytest.param(
            {"local_ipv4s": TIMEOUT, "ipv6s": Absent()},
            PENDING,
            "no address is known: local-ipv4s timed out, ipv6s absent",
            id="addresses unknown is not EFA-only",
        ),
        pytest.param(
            {"local_ipv4s": Value(()), "ipv6s": Value(())},
            PENDING,
            "no address is known: local-ipv4s known, ipv6s known",
            id="empty lists",
        ),
        pytest.param(
            {"subnet_ipv4": TIMEOUT},
            PENDING,
            "subnet-ipv4-cidr-block is not known: timed out",
            id="subnet unknown",
        ),
        pytest.param(
            {
                "subnet_ipv4": TIMEOUT,
                "local_ipv4s": TIMEOUT,
                "ipv4_prefixes": prefixes4("10.0.1.16/28"),
            },
            PENDING,
            "subnet-ipv4-cidr-block is not known: timed out",
            id="a prefix whose subnet is unknown is not outside of it",
        ),
        pytest.param(
            {"local_ipv4s": ipv4("10.0.1.4", "10.0.9.9")},
            REFUSED,
            "IMDS reports 10.0.9.9, which is outside the ENI's subnet (10.0.1.0/24, "
            "2001:db8:0:1::/64)",
            id="address outside the subnet",
        ),
        pytest.param(
            {"ipv4_prefixes": prefixes4("0.0.0.0/0")},
            REFUSED,
            "IMDS reports 0.0.0.0/0, which is outside the ENI's subnet (10.0.1.0/24, "
            "2001:db8:0:1::/64)",
            id="a prefix that would take over all routing",
        ),
        pytest.param(
            {"ipv6_prefixes": prefixes6("2001:db8:0:2:1::/80")},
            REFUSED,
            "IMDS reports 2001:db8:0:2:1::/80, which is outside the ENI's subnet (10.0.1.0/24, "
            "2001:db8:0:1::/64)",
            id="an IPv6 prefix outside the subnet",
        ),
        pytest.param(
            {"local_ipv4s": ipv4("10.0.1.7"), "subnet_ipv4": Value(IPv4Network("10.0.1.7/32"))},
            REFUSED,
            "IMDS reports the subnet 10.0.1.7/32, which is too small: it has no address for a router",
            id="a subnet of one address (was an IndexError that cost the whole pass)",
        ),
        pytest.param(
            {"local_ipv4s": ipv4("10.0.1.4", "10.0.1.1")},
            REFUSED,
            "IMDS lists 10.0.1.1 as its address, but that is the router of 10.0.1.0/24",
            id="the router's address",
        ),
        pytest.param(
            {"subnet_ipv6": TIMEOUT}, READY, "", id="IPv6 subnet unknown: IPv4 does not wait for it"
        ),
    ],
)
def test_the_facts_give_the_standing_of_a_secondary(
    readings: dict[str, Reading[Any]], standing: Standing, reason: str
) -> None:
    outcome = outcome_of(1, host(eni(0), secondary(**readings)))
    assert (outcome.standing, outcome.reason) == (standing, reason)
    assert (outcome.intent is None) == (standing is not READY)


@pytest.mark.parametrize(
    ("changes", "standing", "reason"),
    [
        pytest.param(
            {"primary": TIMEOUT},
            PENDING,
            "the primary ENI is not known: timed out",
            id="mac unknown (R2): once made every ENI a primary or none",
        ),
        pytest.param(
            {"primary": Absent()}, PENDING, "the primary ENI is not known: absent", id="mac absent"
        ),
        pytest.param({"links": (link(0),)}, ABSENT, "no link has its MAC (yet)", id="no link"),
        pytest.param(
            {"links": (link(0), link(1, driver="mlx5_core"))},
            ABSENT,
            "no link has its MAC (yet)",
            id="a link of a driver that ENIs do not have",
        ),
        pytest.param(
            {"links": (link(0), link(1), link(1, index=9, name="vlan7", driver="802.1Q VLAN"))},
            READY,
            "",
            id="a VLAN on the ENI has its MAC (ENU#17)",
        ),
        pytest.param(
            {"links": (link(0), link(1), link(1, index=9, name="eth9"))},
            REFUSED,
            "several links have its MAC 06:ec:02:00:00:01: ens6, eth9",
            id="two ENI links with one MAC",
        ),
    ],
)
def test_the_other_enis_change_the_standing_of_a_secondary(
    changes: dict[str, Any], standing: Standing, reason: str
) -> None:
    outcome = outcome_of(1, host(eni(0), secondary(), **changes))
    assert (outcome.standing, outcome.reason) == (standing, reason)


def test_a_link_that_imds_does_not_list_is_pending() -> None:
    outcome = outcome_of(1, host(eni(0), links=(link(0), link(1))))
    assert outcome.standing is PENDING
    assert outcome.reason == "IMDS does not list its MAC 06:ec:02:00:00:01 (yet)"
    assert str(outcome.link) == "ens6"


def test_a_renamed_link_has_an_outcome_with_the_new_name() -> None:
    facts = host(eni(0), secondary())
    before = compute(facts, Config()).enis
    renamed = replace(facts, links=(link(0), replace(link(1), name="lan-0")))
    kept, new = compute(renamed, Config(), before=before).enis
    assert kept is before[0]
    assert new.intent is not None
    assert new.name == new.intent.link.name == new.intent.early.link.name == "lan-0"


def test_a_listed_mac_without_a_link_is_reported_and_has_no_effect() -> None:
    """R38: EFA-only ENIs have no netdev."""
    outcome = outcome_of(7, host(eni(0), listed=Value((PRIMARY, mac(7)))))
    assert (outcome.standing, outcome.link) == (ABSENT, None)
    assert outcome.reason == ("IMDS lists it, but no link has its MAC (an EFA-only ENI has none)")


def test_an_ignored_eni_is_ignored_before_imds_knows_it() -> None:
    """R29: effective before the first action."""
    outcome = outcome_of(1, host(eni(0), links=(link(0), link(1))), manage=Manage.IGNORE)
    assert (outcome.standing, outcome.reason) == (
        Standing.IGNORED,
        'the configuration sets manage = "ignore"',
    )


@pytest.mark.parametrize(
    ("backend", "standing"), [("auto", Standing.IGNORED), ("netlink", Standing.READY)]
)
def test_a_link_that_udev_marks_as_unmanaged_stays_unmanaged(
    backend: str, standing: Standing
) -> None:
    """Except for a backend that the configuration names, which counts with any network manager."""
    known = host(eni(0), eni(1))
    facts = Facts(known.imds, known.links, elsewhere={mac(1): "org.cni"})
    outcome = outcome_of(1, facts, backend=backend)
    assert outcome.standing is standing
    told = "udev reports that org.cni manages it (ID_NET_MANAGED_BY)"
    assert outcome.reason == (told if standing is Standing.IGNORED else "")
    assert outcome_of(0, facts).standing is Standing.READY


def test_an_ignored_eni_is_ignored_whatever_numbers_imds_reports() -> None:
    """ec2net does not manage it: that cannot be an error in each pass."""
    outcome = outcome_of(1, host(eni(0), secondary(device_number=Value(100))), manage=Manage.IGNORE)
    assert (outcome.standing, outcome.apart) == (Standing.IGNORED, True)


@pytest.mark.parametrize(
    ("facts", "settings", "apart"),
    [
        pytest.param({}, {}, False, id="ready"),
        pytest.param({}, {"manage": Manage.NO_RULES}, False, id="ready, not with everything"),
        pytest.param({}, {"manage": Manage.OBSERVE}, True, id="observed"),
        pytest.param({}, {"manage": Manage.IGNORE}, True, id="ignored"),
        pytest.param({"elsewhere": {mac(1): "org.cni"}}, {}, True, id="its owner's"),
        pytest.param(
            {"elsewhere": {mac(1): "org.cni"}},
            {"backend": "netlink"},
            False,
            id="ours all the same",
        ),
        pytest.param({"links": (link(0), link(1, master=9))}, {}, True, id="a port"),
    ],
)
@pytest.mark.parametrize("told", [True, False], ids=["told", "not told yet"])
def test_a_refusal_for_another_tool_does_not_depend_on_imds(
    facts: dict[str, Any], settings: dict[str, Any], apart: bool, told: bool
) -> None:
    known = host(eni(0), eni(1)) if told else host(eni(0), links=(link(0), link(1)))
    assert outcome_of(1, replace(known, **facts), **settings).apart is apart


def test_the_primary_is_card_0_device_0_whatever_imds_reports() -> None:
    intent = intent_of(0, host(eni(0, device_number=TIMEOUT, network_card=Value(3))))
    assert (intent.primary, intent.number.n, intent.table, intent.metric) == (True, 0, 10000, 512)


def test_forced_ipv6_waits_for_the_subnet() -> None:
    """An unread subnet is no contradiction: pending, not refused."""
    outcome = outcome_of(1, host(eni(0), secondary(subnet_ipv6=TIMEOUT)), ipv6=Ipv6Policy.ON)
    assert (outcome.standing, outcome.reason) == (
        PENDING,
        "subnet-ipv6-cidr-blocks is not known: timed out",
    )


def test_the_intent_names_keys_that_were_never_read() -> None:
    intent = intent_of(1, host(eni(0), secondary(ipv6s=TIMEOUT, ipv4_prefixes=Unknown("garbage"))))
    assert intent.unread == ("ipv6s", "ipv4-prefix")
    assert [i.version for i in intent.sources] == [4, 4]


def test_two_enis_with_one_number_are_refused_and_others_are_not() -> None:
    card = {"network_card": Value(0)}
    facts = host(eni(0), eni(1, **card), eni(2, device_number=Value(1), **card), eni(3, **card))
    host_intent = compute(facts, Config())
    assert standings(host_intent) == [READY, REFUSED, REFUSED, READY]
    assert reason(host_intent, 1) == "IMDS gives it the same place as ens7: card 0 device 1"
    assert reason(host_intent, 2) == "IMDS gives it the same place as ens6: card 0 device 1"


def test_the_lower_number_of_two_enis_keeps_a_shared_address() -> None:
    facts = host(
        eni(0),
        eni(1, ipv4_prefixes=prefixes4("10.0.1.16/28")),
        eni(2, local_ipv4s=ipv4("10.0.1.20"), subnet_ipv4=Value(IPv4Network("10.0.1.0/24"))),
        eni(3),
    )
    host_intent = compute(facts, Config())
    assert standings(host_intent) == [READY, READY, REFUSED, READY]
    assert reason(host_intent, 2) == "ens6 has 10.0.1.20/32 as well, at least in part"


def test_the_mac_does_not_decide_the_order_of_numbers() -> None:
    subnet = Value(IPv4Network("10.0.1.0/24"))
    facts = host(
        eni(0),
        eni(1, device_number=Value(9), local_ipv4s=ipv4("10.0.1.7")),
        eni(2, device_number=Value(3), local_ipv4s=ipv4("10.0.1.7"), subnet_ipv4=subnet),
    )
    assert standings(compute(facts, Config())) == [READY, REFUSED, READY]


def standings(host_intent: HostIntent) -> list[Standing]:
    return [outcome.standing for outcome in sorted(host_intent.enis, key=lambda o: o.mac)]


def reason(host_intent: HostIntent, n: int) -> str:
    outcome = host_intent.of(mac(n))
    assert outcome is not None
    return outcome.reason


def test_intents_are_ordered_by_primary_then_number_then_the_rest() -> None:
    facts = host(
        eni(1, network_card=Value(1)),
        eni(0),
        eni(2, device_number=Value(0)),
        eni(3, network_card=Value(0)),
    )
    order = [outcome.mac for outcome in compute(facts, Config()).enis]
    assert order == [PRIMARY, mac(3), mac(1), mac(2)]


def test_the_first_address_is_the_base_and_others_are_single() -> None:
    """R14: the primary address has the subnet's length and stays first."""
    intent = intent_of(1, host(eni(0), secondary()))
    assert intent.base == (ip_interface("10.0.1.4/24"), ip_interface("2001:db8:0:1::4/128"))
    assert intent.further == (ip_interface("10.0.1.9/32"), ip_interface("2001:db8:0:1::9/128"))
    assert intent.first(4) == IPv4Interface("10.0.1.4").ip
    assert [str(gateway) for gateway in intent.gateways] == ["10.0.1.1", "fe80:ec2::1"]


def test_the_whole_intent_of_a_secondary_with_prefixes() -> None:
    intent = intent_of(
        1,
        host(
            eni(0),
            secondary(
                local_ipv4s=ipv4("10.0.1.4", "10.0.1.5", "10.0.1.6", "10.0.1.7"),
                ipv4_prefixes=prefixes4("10.0.1.16/28", "10.0.1.32/28"),
                ipv6s=ipv6("2001:db8:0:1::4"),
                ipv6_prefixes=prefixes6("2001:db8:0:1:1::/80"),
            ),
        ),
    )
    assert [rule.describe() for rule in intent.rules] == [
        "rule 9999: from 10.0.1.4/30 lookup main suppress_prefixlength 0 suppress_ifgroup 236",
        "rule 10001: from 10.0.1.4/30 lookup 10001",
        "rule 9999: from 10.0.1.16/28 lookup main suppress_prefixlength 0 suppress_ifgroup 236",
        "rule 10001: from 10.0.1.16/28 lookup 10001",
        "rule 9999: from 10.0.1.32/28 lookup main suppress_prefixlength 0 suppress_ifgroup 236",
        "rule 10001: from 10.0.1.32/28 lookup 10001",
        (
            "rule 9999: from 2001:db8:0:1::4/128 lookup main suppress_prefixlength 0"
            " suppress_ifgroup 236"
        ),
        "rule 10001: from 2001:db8:0:1::4/128 lookup 10001",
        (
            "rule 9999: from 2001:db8:0:1:1::/80 lookup main suppress_prefixlength 0"
            " suppress_ifgroup 236"
        ),
        "rule 10001: from 2001:db8:0:1:1::/80 lookup 10001",
    ]
    assert [route.describe() for route in intent.table_routes] == [
        "route 10.0.1.0/24 dev ens6 table 10001 src 10.0.1.4",
        "route default via 10.0.1.1 dev ens6 table 10001 src 10.0.1.4",
        "route 2001:db8:0:1::/64 dev ens6 table 10001 metric 1024",
        "route fe80::/64 dev ens6 table 10001 metric 1024",
        "route -6 default via fe80:ec2::1 dev ens6 table 10001 metric 1024",
    ]
    assert [route.describe() for route in intent.main_routes] == [
        "route default via 10.0.1.1 dev ens6 table main src 10.0.1.4 metric 513",
        "route -6 default via fe80:ec2::1 dev ens6 table main src 2001:db8:0:1::4 metric 513",
    ]
    assert intent.local_routes == ()
    assert intent.altnames == ("eni-00000000000000001", "device-number-1.0")
    assert intent.unread == ()


def test_a_prefix_has_a_default_route_where_the_eni_has_no_address_of_the_family() -> None:
    """Its rule led to a table without a default route, and the source check dropped its traffic."""
    prefix = prefixes6("2001:db8:0:1:1::/80")
    facts = host(eni(0), secondary(ipv6s=Absent(), ipv6_prefixes=prefix))
    intent = intent_of(1, facts)
    assert [
        route.describe() for route in intent.table_routes if route.destination.version == 6
    ] == [
        "route 2001:db8:0:1::/64 dev ens6 table 10001 metric 1024",
        "route fe80::/64 dev ens6 table 10001 metric 1024",
        "route -6 default via fe80:ec2::1 dev ens6 table 10001 metric 1024",
    ]
    # the ENI has no address of the family
    assert [route.destination.version for route in intent.main_routes] == [4]
    without = intent_of(1, facts, ipv6_prefix_mode=PrefixMode.NONE)
    assert [gateway.version for gateway in without.gateways] == [4]


def test_a_prefix_without_an_address_leaves_the_router_unchanged() -> None:
    facts = host(eni(0), secondary(local_ipv4s=Absent(), ipv4_prefixes=prefixes4("10.0.1.0/28")))
    outcome = outcome_of(1, facts)
    assert outcome.standing is Standing.REFUSED
    assert outcome.reason == (
        "IMDS reports 10.0.1.0/28, which contains 10.0.1.1, the address of the router of 10.0.1.0/24"
    )


def test_adjacent_sources_become_one_rule() -> None:
    prefixes = prefixes4("10.0.1.16/28", "10.0.1.32/28", "10.0.1.48/28")
    intent = intent_of(1, host(eni(0), secondary(ipv4_prefixes=prefixes, **IPV4_ONLY)))
    sources = [str(rule.source) for rule in intent.rules if rule.table == intent.table]
    assert sources == ["10.0.1.4/32", "10.0.1.9/32", "10.0.1.16/28", "10.0.1.32/27"]


def test_an_ipv6_only_eni_has_nothing_of_ipv4() -> None:
    """R33, ENU#40: IPv4 was probed and waited for where there is none."""
    intent = intent_of(1, host(eni(0), secondary(**IPV6_ONLY)))
    parts = (*intent.sources, *intent.gateways, *(rule.source for rule in intent.rules))
    assert {part.version for part in parts} == {6}
    assert {route.destination.version for route in intent.table_routes} == {6}


def test_every_subnet_block_of_ipv6_is_on_link() -> None:
    """R35, V-c: an IPv6 block added later had no route."""
    blocks = prefixes6("2001:db8:0:1::/64", "2001:db8:0:91::/64")
    intent = intent_of(1, host(eni(0), secondary(subnet_ipv6=blocks)))
    on_link = {str(route.destination) for route in intent.table_routes if route.gateway is None}
    assert {"2001:db8:0:1::/64", "2001:db8:0:91::/64"} <= on_link


@pytest.mark.parametrize("prefix", ["10.0.1.0/24", "10.0.1.0/28"])
def test_a_prefix_that_contains_the_router_is_refused(prefix: str) -> None:
    """With ipv4_prefix_mode = "local" the host would consider itself its router."""
    found = host(eni(0), eni(1, ipv4_prefixes=prefixes4(prefix)))
    outcome = compute(found, Config()).enis[-1]
    assert outcome.standing is Standing.REFUSED
    assert "which contains 10.0.1.1, the address of the router of 10.0.1.0/24" in outcome.reason
