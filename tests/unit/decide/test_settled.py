# SPDX-License-Identifier: Apache-2.0
"""Keys of a new ENI that IMDS publishes late: nothing that hangs on them is decided before."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from eni_facts import IPV6_ONLY, KEYS, TIMEOUT, eni, host, link, mac
from imds_server import MACS, SECOND, ImdsServer, in_turn, running, status
from imds_server import PRIMARY as FIRST
from imds_server import eni as tree_of

from ec2net.core.config.schema import MATCH
from ec2net.core.config.settings import (
    Config,
    EniSection,
    EniSettings,
    Manage,
    Match,
)
from ec2net.core.decide import settled
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.imds.client import ImdsClient
from ec2net.core.imds.reader import read_facts
from ec2net.core.model.facts import FIELDS, Absent, EniFacts, Facts, ImdsFacts, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.model.plan import Plan
from ec2net.core.report.text import plan
from ec2net.core.runtime.deadline import Deadline

IPV4_NONE: dict[str, Any] = {"local_ipv4s": Absent(), "subnet_ipv4": Absent()}
READY, PENDING, IGNORED = Standing.READY, Standing.PENDING, Standing.IGNORED


def outcome_of(n: int, facts: Facts, config: Config | None = None) -> EniOutcome:
    outcome = compute(facts, config or Config()).of(mac(n))
    assert outcome is not None
    return outcome


def ignoring(**match: Any) -> Config:
    return Config(sections=(EniSection(Match(**match), {"manage": Manage.IGNORE}),))


def test_the_table_lists_every_key_that_is_read() -> None:
    fields = {FIELDS[key] for key in settled.KEYS if key != "mac"}
    assert fields == set(KEYS)
    assert set(settled.CRITERIA) <= set(MATCH)


def test_a_late_network_card_is_not_card_0_while_another_eni_has_one() -> None:
    facts = host(eni(0, network_card=Value(0)), eni(1, network_card=Value(0)))
    late = eni(2, device_number=Value(1))
    facts = replace(
        facts,
        imds=replace(facts.imds, enis=(*facts.imds.enis, late)),
        links=(*facts.links, link(2)),
    )
    assert outcome_of(1, facts).standing is READY
    outcome = outcome_of(2, facts)
    assert (outcome.standing, outcome.table) == (PENDING, None)
    assert outcome.reason == (
        "network-card is not known: absent, but other ENIs of the host have one"
    )


def test_without_a_witness_a_missing_network_card_is_not_card_0() -> None:
    intent = outcome_of(1, host(eni(0), eni(1))).intent
    assert intent is not None
    assert intent.number.card == 0


def test_an_unread_witness_counts_as_well() -> None:
    facts = host(eni(1), links=(link(0), link(1)))
    with_cards = replace(facts, imds=replace(facts.imds, cards=True))
    assert outcome_of(1, facts).standing is READY
    assert outcome_of(1, with_cards).standing is PENDING


def test_two_enis_with_one_device_number_wait_for_their_network_cards() -> None:
    """On a host on which no ENI has the key yet."""
    facts = host(eni(0), eni(1), eni(2, device_number=Value(1)), eni(3))
    assert [outcome_of(n, facts).standing for n in (1, 2, 3)] == [PENDING, PENDING, READY]
    assert outcome_of(1, facts).reason == (
        "network-card is not known: absent, and ens7 has the same device number on card 0"
    )


LATE = [
    pytest.param({"card": 1}, {"network_card": Absent()}, {"network_card": Value(1)}, id="card"),
    pytest.param({"device": 7}, {"device_number": Value(0)}, {"device_number": Value(7)}, id="0"),
    pytest.param({"device": 7}, {"device_number": TIMEOUT}, {"device_number": Value(7)}, id="?"),
    pytest.param(
        {"id": (EniId("eni-0000000a"),)},
        {"interface_id": Unknown("interface-id not listed yet", settling=True)},
        {"interface_id": Value(EniId("eni-0000000a"))},
        id="id",
    ),
    pytest.param(
        {"subnet": IPv4Network("10.0.0.0/16")},
        {"subnet_ipv4": TIMEOUT, "local_ipv4s": Absent()},
        {},
        id="IPv4 subnet, of an ENI that can do with IPv6",
    ),
    pytest.param(
        {"subnet": IPv6Network("2001:db8::/56")},
        {"subnet_ipv6": Absent()},
        {},
        id="IPv6 subnet, of an ENI with IPv6 addresses",
    ),
    pytest.param(
        {"subnet": IPv6Network("2001:db8::/56")},
        {"subnet_ipv6": TIMEOUT, "ipv6s": TIMEOUT},
        {},
        id="IPv6 subnet, of an ENI that can do with IPv4",
    ),
]


@pytest.mark.parametrize(("match", "late", "then"), LATE)
def test_an_eni_is_pending_until_each_key_of_a_matching_section_is_read(
    match: dict[str, Any], late: dict[str, Any], then: dict[str, Any]
) -> None:
    """Nothing of an ENI that turns out to be ignored is ever configured."""
    config = ignoring(**match)
    facts = host(eni(0, network_card=Value(0)), eni(1, **{"network_card": Value(0), **late}))
    outcome = outcome_of(1, facts, config)
    assert (outcome.standing, outcome.apart) == (PENDING, True)
    assert "the configuration" in outcome.reason
    facts = host(eni(0, network_card=Value(0)), eni(1, **{"network_card": Value(0), **then}))
    assert outcome_of(1, facts, config).standing is IGNORED


@pytest.mark.parametrize(
    "match",
    [
        {"id": (EniId("eni-0000000a"),), "mac": (mac(9),)},
        {"card": 1, "name": ("eth*",)},
    ],
    ids=["another MAC", "rename the link"],
)
def test_an_eni_does_not_wait_for_a_section_that_cannot_match(match: dict[str, Any]) -> None:
    facts = host(eni(0), eni(1, interface_id=TIMEOUT))
    assert outcome_of(1, facts, ignoring(**match)).standing is READY


def test_an_eni_does_not_wait_for_a_section_that_changes_nothing() -> None:
    same = EniSection(Match(id=(EniId("eni-0000000a"),)), {"manage": Manage.FULL})
    facts = host(eni(0), eni(1, interface_id=TIMEOUT))
    assert outcome_of(1, facts, Config(sections=(same,))).standing is READY


def test_an_eni_that_only_a_section_manages_waits_as_well() -> None:
    """The standing is not ignored, so that the daemon reads the ENI again soon."""
    section = EniSection(Match(card=1), {"manage": Manage.FULL})
    config = Config(eni=EniSettings(manage=Manage.IGNORE), sections=(section,))
    facts = host(eni(0, network_card=Value(0)), eni(1))
    assert outcome_of(1, facts, config).standing is PENDING
    unlisted = host(eni(0), links=(link(0), link(1)))
    outcome = outcome_of(1, unlisted, config)
    assert outcome.standing is PENDING
    assert outcome.reason.startswith("IMDS does not list its MAC")


def test_a_subnet_is_settled_once_the_eni_cannot_have_it() -> None:
    facts = host(eni(0), eni(1, **IPV6_ONLY))
    config = ignoring(subnet=IPv4Network("10.0.0.0/16"))
    assert outcome_of(1, facts, config).standing is READY


def test_ipv6_addresses_without_a_subnet_block_wait_and_that_is_reported() -> None:
    facts = host(eni(0), eni(1, subnet_ipv6=Absent()))
    intent = outcome_of(1, facts).intent
    assert intent is not None
    assert {source.version for source in intent.sources} == {4}
    assert intent.unread == ("subnet-ipv6-cidr-blocks",)
    assert "does not report subnet-ipv6-cidr-blocks yet" in plan(Plan(), compute(facts, Config()))
    alone = outcome_of(1, host(eni(0), eni(1, subnet_ipv6=Absent(), **IPV4_NONE)))
    assert alone.standing is PENDING
    assert alone.reason == "subnet-ipv6-cidr-blocks is not known: absent"
    none = outcome_of(1, host(eni(0), eni(1, subnet_ipv6=Absent(), ipv6s=Absent()))).intent
    assert none is not None
    assert none.unread == ()


def test_an_id_of_another_form_names_the_eni_but_no_link() -> None:
    intent = outcome_of(1, host(eni(0), eni(1, interface_id=Value(EniId("ens5"))))).intent
    assert intent is not None
    assert (str(intent.eni_id), intent.altnames) == ("ens5", ("device-number-1.0",))


def test_the_primary_does_not_wait_for_its_number() -> None:
    facts = host(eni(0, device_number=TIMEOUT, network_card=TIMEOUT))
    assert outcome_of(0, facts, ignoring(card=1)).standing is READY


# Reading


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


def read_second(server: ImdsServer, known: dict[Mac, EniFacts] | None = None) -> ImdsFacts:
    server.requests.clear()
    with ImdsClient(server.candidates) as client:
        primary = Mac(FIRST)
        return read_facts(
            client, [Mac(SECOND)], known or {}, primary, Deadline(20, "the test"), None
        )


CARD_OF_FIRST = f"{MACS}{FIRST}/network-card"


@pytest.mark.parametrize(
    ("answer", "cards"),
    [(status(200, "0"), True), (status(404), False), (status(503), True), (None, False)],
)
def test_a_pass_for_one_eni_uses_the_keys_of_the_primary_as_a_witness(
    server: ImdsServer, answer: Any, cards: bool
) -> None:
    if answer is not None:
        server.faults[CARD_OF_FIRST] = in_turn(*[answer] * 9)
    facts = read_second(server)
    assert facts.enis[0].network_card == Absent()
    assert facts.cards is cards
    assert CARD_OF_FIRST in server.paths()


def test_no_witness_is_read_for_known_facts(server: ImdsServer) -> None:
    server.tree |= tree_of(SECOND, 1, network_card="1")
    read_second(server)
    assert CARD_OF_FIRST not in server.paths()
    del server.tree[f"{MACS}{SECOND}/network-card"]
    with ImdsClient(server.candidates) as client:
        first = read_facts(client, [Mac(FIRST)], {}, Mac(FIRST), Deadline(20, "the test"))
    read_second(server, {eni.mac: eni for eni in first.enis})
    assert CARD_OF_FIRST not in server.paths()
