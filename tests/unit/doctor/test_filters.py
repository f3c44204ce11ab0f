# SPDX-License-Identifier: Apache-2.0
"""A filter is named if it surely drops packets of an address, and a firewall's usual rules are not."""

from typing import Any

import pytest
from doctor_host import ERROR, HOST, WARNING, told

from ec2net.core.doctor.filters import Ruleset, count, dropped, hiding_imds
from ec2net.core.doctor.finding import Check

OWN, SUBNET = str(HOST.ready[1].base[0].ip), str(HOST.ready[1].base[0].network)
DROP, ACCEPT, REJECT = {"drop": None}, {"accept": None}, {"reject": {"type": "tcp reset"}}


def match(left: str, right: Any, op: str = "==") -> dict[str, Any]:
    """``left`` as nft writes it: "ip saddr", "oifname", "ct state"."""
    first, _, second = left.partition(" ")
    kind: dict[str, Any] = {"meta": {"key": first}}
    if second:
        kind = {"payload": {"protocol": first, "field": second}}
    if first == "ct":
        kind = {"ct": {"key": second}}
    return {"match": {"op": op, "left": kind, "right": right}}


def ruleset(
    *rules: list[dict[str, Any]], hook: str = "output", policy: str = "accept", **more: Any
) -> Ruleset:
    base = {"family": "inet", "table": "fw", "name": hook, "type": "filter", "hook": hook}
    entries: list[dict[str, Any]] = [{"metainfo": {}}, {"chain": {**base, "policy": policy}}]
    for handle, expressions in enumerate(rules, 2):
        place = {"family": "inet", "table": "fw", "chain": hook, "handle": handle}
        entries.append({"rule": {**place, "expr": expressions}})
    entries += more.get("entries", ())
    return Ruleset.parse(entries)


def jump(to: str, *rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A chain to jump to, as entries."""
    place = {"family": "inet", "table": "fw"}
    chain: list[dict[str, Any]] = [{"chain": {**place, "name": to}}]
    return chain + [
        {"rule": {**place, "chain": to, "handle": 90 + n, "expr": expressions}}
        for n, expressions in enumerate(rules)
    ]


@pytest.mark.parametrize(
    "rules",
    [
        [[match("ip saddr", OWN), DROP]],
        [[match("ip saddr", OWN), {"counter": None}, REJECT]],
        [[match("oifname", "ens6"), match("nfproto", "ipv4"), DROP]],
        [[match("ip saddr", {"prefix": {"addr": SUBNET.split("/")[0], "len": 24}}), DROP]],
        [[match("ip saddr", {"set": ["192.0.2.1", OWN]}), DROP]],
        [[match("ip saddr", {"range": [OWN, OWN]}), DROP]],
        [
            [
                match("ip saddr", "192.0.2.1", "!="),
                match("oif", "ens6"),
                match("protocol", "ip"),
                DROP,
            ]
        ],
        [[match("ip saddr", "192.0.2.1"), ACCEPT], [match("ip saddr", OWN), DROP]],
    ],
)
def test_a_rule_that_drops_an_address_is_an_error(rules: list[list[dict[str, Any]]]) -> None:
    (found,) = dropped(ruleset(*rules), HOST)
    assert (found.severity, found.check, found.subject) == (ERROR, Check.FILTER, "ens6")
    assert OWN in found.cause
    assert "table inet fw, chain output" in found.cause
    assert found.remedy.startswith("see the rule: nft --handle list chain inet fw output")


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [[match("ip saddr", "192.0.2.1"), DROP]],
        [[match("ip saddr", OWN), match("tcp dport", 25), DROP]],
        [[match("ip saddr", OWN), match("ct state", ["invalid"], "in"), DROP]],
        [[match("ip saddr", OWN), {"limit": {"rate": 5}}, DROP]],
        [[match("ip saddr", OWN), {"xt": {"type": "match", "name": "owner"}}, DROP]],
        [[match("ip saddr", OWN), ACCEPT], [match("ip saddr", OWN), DROP]],
        [[match("ip daddr", OWN), DROP]],
        [[match("oifname", "eth*"), DROP]],
        [[match("ip saddr", "@unknown"), DROP]],
    ],
)
def test_a_rule_that_may_be_for_other_packets_is_no_finding(
    rules: list[list[dict[str, Any]]],
) -> None:
    assert list(dropped(ruleset(*rules), HOST)) == []


def test_an_arriving_packet_is_matched_by_its_destination() -> None:
    rules = [[match("ip daddr", OWN), DROP]], [[match("ip saddr", OWN), DROP]]
    found = [list(dropped(ruleset(*one, hook="input"), HOST)) for one in rules]
    assert [told(one) for one in found] == [[(ERROR, Check.FILTER, "ens6")], []]
    assert f"packets to {OWN} that arrive on ens6" in found[0][0].cause


def test_a_drop_behind_an_accept_for_some_packets_is_a_warning() -> None:
    """Such as that of connections which are established already."""
    rules = ruleset(
        [match("ct state", ["established", "related"], "in"), ACCEPT],
        [match("ip saddr", OWN), DROP],
    )
    (found,) = dropped(rules, HOST)
    assert found.severity is WARNING
    assert "except those that an earlier rule accepts" in found.cause


def test_a_policy_that_drops_everything_is_an_error_and_a_firewalls_policy_is_not() -> None:
    allowed = [match("tcp dport", 22), ACCEPT]
    loopback = [match("iifname", "lo"), ACCEPT]
    assert list(dropped(ruleset(loopback, allowed, hook="input", policy="drop"), HOST)) == []
    found = list(dropped(ruleset(loopback, hook="input", policy="drop"), HOST))
    assert {one.subject for one in found} == {"ens5", "ens6"}
    assert all("chain input, its policy" in one.cause for one in found)


def test_jumps_and_sets_are_followed() -> None:
    members = [{"set": {"family": "inet", "table": "fw", "name": "bad", "elem": [OWN]}}]
    inner = jump("inner", [match("ip saddr", "@bad"), DROP])
    rules = ruleset([{"jump": {"target": "inner"}}], entries=[*members, *inner])
    (found,) = dropped(rules, HOST)
    assert "chain inner, rule with handle 90 (from chain output)" in found.cause


def test_an_observed_eni_has_no_finding() -> None:
    rules = ruleset([match("oifname", "ens6"), DROP])
    assert list(dropped(rules, HOST, {HOST.ready[1].mac})) == []


def test_chains_of_another_type_drop_nothing() -> None:
    entries = [
        {"chain": {"family": "ip", "table": "n", "name": "c", "type": "nat", "hook": "output"}}
    ]
    assert list(dropped(Ruleset.parse([*entries, {"odd": 1}, {}]), HOST)) == []


def test_a_filter_that_hides_imds_is_named() -> None:
    for rule in (
        [match("ip daddr", "169.254.169.254"), DROP],
        [match("ip daddr", "169.254.169.254"), match("tcp dport", 80), REJECT],
    ):
        (found,) = hiding_imds(ruleset(rule))
        assert "drops packets to IMDS (169.254.169.254)" in found.cause
    by_user = [match("ip daddr", "169.254.169.254"), match("skuid", 1000), DROP]
    assert list(hiding_imds(ruleset(by_user))) == []


def test_the_work_is_known_before_it_is_done() -> None:
    assert count(ruleset([DROP], [DROP]), HOST) == 2 * sum(len(i.sources) for i in HOST.ready)
