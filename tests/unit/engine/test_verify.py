# SPDX-License-Identifier: Apache-2.0
"""How many lookups a verification makes: each walks through all rules of the host in the kernel."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from large_host import Each, large_host

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent
from ec2net.core.engine.surroundings import surroundings
from ec2net.core.engine.verify import check, ways
from ec2net.core.kernel.session import RouteAnswer
from ec2net.core.model.facts import Facts
from ec2net.core.model.objects import Address, AnyAddress
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.runtime.deadline import Deadline

OURS = 236
ENIS, ADDRESSES = 64, 100


class Kernel:
    """Answers like a configured host, and counts."""

    protocol = OURS

    def __init__(self, host: HostIntent) -> None:
        self._by_source = {s.ip: i.link.index for i in host.ready for s in i.sources}
        self.lookups = 0

    def lookup(
        self, destination: AnyAddress, source: AnyAddress | None = None, **_: int
    ) -> RouteAnswer:
        self.lookups += 1
        return RouteAnswer(self._by_source[source] if source else 2, None, None, 254)


def settled(facts: Facts) -> tuple[HostIntent, Snapshot]:
    host = compute(facts, Config())
    rules = tuple(Found(rule, OURS) for intent in host.ready for rule in intent.rules)
    routes = tuple(Found(route, OURS) for intent in host.ready for route in intent.table_routes)
    held = tuple(Found(Address(i.link, s), OURS) for i in host.ready for s in i.sources)
    return host, Snapshot(facts.links, held, routes, rules)


def verified(facts: Facts, *foreign: PolicyRule) -> tuple[int, int, list[str]]:
    """Lookups, answers and findings."""
    host, snapshot = settled(facts)
    kernel: Any = Kernel(host)
    around = surroundings(facts, host, replace(snapshot, policy=foreign), OURS, frozenset())
    answers = [way for i in host.ready for way in ways(i, kernel, around, Deadline(60, "verify"))]
    lookups = kernel.lookups
    found = [f.text for i in host.ready for f in check(i, kernel, around, Deadline(60, "verify"))]
    return lookups, len(answers), found


def test_the_largest_host_needs_a_few_lookups_for_each_eni() -> None:
    """0.2 s of CPU with 12,600 rules in the kernel; one for each address and destination: 20 min."""
    lookups, answers, found = verified(large_host(ENIS, Each(50, 50)))
    print(f"{lookups} lookups, {answers} answers")
    assert found == []
    assert answers > ENIS * ENIS * 2
    assert lookups < ENIS * 7


def test_the_ways_of_an_eni_in_a_vrf_are_not_asked_for() -> None:
    """They depend on the VRF that a program is bound to, which a lookup by addresses does not say."""
    facts = large_host(2, Each(2, 1))
    host, snapshot = settled(facts)
    kernel: Any = Kernel(host)
    around = surroundings(facts, host, snapshot, kernel, frozenset())
    for intent in host.ready:
        bound = replace(intent, vrf="vrf-blue", rules=())
        assert list(ways(bound, kernel, around, Deadline(60, "verify"))) == []
    assert kernel.lookups == 0


def test_a_packet_bound_to_the_link_is_looked_up_only_if_a_foreign_rule_has_such_a_selector() -> (
    None
):
    facts = large_host(ENIS, Each(1))
    everything = ip_network("0.0.0.0/0")
    plain = PolicyRule(everything, 100, "lookup", 77, destination=ip_network("203.0.113.0/24"))
    before, _, _ = verified(facts, plain)
    after, _, _ = verified(facts, replace(plain, others=("oif ens5",)))
    assert after == before + ENIS
