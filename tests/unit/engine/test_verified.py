# SPDX-License-Identifier: Apache-2.0
"""Which ENIs a verification need not look up again."""

from dataclasses import replace
from ipaddress import IPv4Network

from eni_facts import eni, host

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.engine.verified import Verified
from ec2net.core.model.facts import Facts, Value
from ec2net.core.model.snapshot import Snapshot

FACTS = host(eni(0), eni(1))
HOST = compute(FACTS, Config())
INTENT = HOST.ready[1]
SNAPSHOT = Snapshot(FACTS.links, state=7)


def verified(facts: Facts = FACTS, snapshot: Snapshot = SNAPSHOT) -> Verified:
    """With one ENI whose ways were right in the state 7, at a later verification."""
    found = Verified()
    found.begin(FACTS, HOST, SNAPSHOT)
    found.note(INTENT, right=True)
    found.begin(facts, HOST, snapshot)
    return found


def test_right_ways_stay_right_while_nothing_changes() -> None:
    assert INTENT in verified()
    assert HOST.ready[0] not in verified()


def test_another_state_of_the_kernel_ends_it() -> None:
    assert INTENT not in verified(snapshot=replace(SNAPSHOT, state=8))


def test_without_a_known_state_every_eni_is_looked_up() -> None:
    assert INTENT not in verified(snapshot=replace(SNAPSHOT, state=None))


def test_another_subnet_ends_it() -> None:
    assert INTENT not in verified(
        host(eni(0), eni(1), replace(eni(2), subnet_ipv4=Value(IPv4Network("10.9.0.0/24"))))
    )


def test_another_intent_is_looked_up() -> None:
    assert replace(INTENT, table=INTENT.table + 1) not in verified()


def test_a_wrong_way_is_looked_up_again() -> None:
    found = verified()
    found.note(INTENT, right=False)
    assert INTENT not in found


def test_an_event_makes_every_eni_looked_up() -> None:
    found = verified()
    found.forget()
    assert INTENT not in found
