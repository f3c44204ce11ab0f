# SPDX-License-Identifier: Apache-2.0
"""The last known good facts: which values replace unread ones, and which never do."""

from dataclasses import replace
from typing import Any

import pytest
from eni_facts import KEYS, PRIMARY, TIMEOUT, eni, ipv4, ipv6, mac

from ec2net.core.decide.last_known import unread, with_last_known_good
from ec2net.core.model.facts import Absent, EniFacts, ImdsFacts, Reading, Unknown, Value
from ec2net.core.model.identity import EniId

OLD, NEW = ipv4("10.0.1.4"), ipv4("10.0.1.4", "10.0.1.5")
STALE = replace(OLD, stale=True)
ABSENT = Absent()


def merged(now: EniFacts, *past: EniFacts) -> EniFacts:
    facts = with_last_known_good(
        ImdsFacts(Value(PRIMARY), TIMEOUT, (now,)), {e.mac: e for e in past}, None
    )
    return next(e for e in facts.enis if e.mac == now.mac)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("now", "past", "result"),
    [
        pytest.param(NEW, OLD, NEW, id="value over value"),
        pytest.param(NEW, ABSENT, NEW, id="value over absent"),
        pytest.param(NEW, TIMEOUT, NEW, id="value over unknown"),
        pytest.param(TIMEOUT, OLD, STALE, id="unknown: the old value, marked"),
        pytest.param(TIMEOUT, ABSENT, ABSENT, id="unknown: absent as before"),
        pytest.param(TIMEOUT, Unknown("before"), TIMEOUT, id="never known"),
        pytest.param(ABSENT, ABSENT, ABSENT, id="absent over absent"),
        pytest.param(ABSENT, TIMEOUT, ABSENT, id="absent over unknown"),
    ],
)
def test_the_last_known_value_replaces_an_unread_one(
    key: str, now: Reading[Any], past: Reading[Any], result: Reading[Any]
) -> None:
    if key == "interface_id":
        result = now if isinstance(now, Value) else result  # a new id is another ENI
    one, other = (eni(1, **{key: reading}) for reading in (now, past))
    assert getattr(merged(one, other), key) == result


@pytest.mark.parametrize("key", KEYS)
def test_an_absent_key_is_believed_except_where_an_eni_always_has_it(key: str) -> None:
    """The primary address stays for an ENI's life, so an IMDS that denies it is wrong."""
    one, other = (eni(1, **{key: reading}) for reading in (ABSENT, OLD))
    keeps = key in ("local_ipv4s", "subnet_ipv4", "subnet_ipv6")
    assert getattr(merged(one, other), key) == (STALE if keeps else ABSENT)


@pytest.mark.parametrize(
    ("now", "past", "result"),
    [
        pytest.param("::9 ::4", "::4 ::9", "::4 ::9", id="flipped"),
        pytest.param("::1 ::9 ::4", "::4 ::9", "::4 ::9 ::1", id="flipped, and one more"),
        pytest.param("::1 ::9", "::4 ::9", "::9 ::1", id="the first one went"),
        pytest.param("::1", "::4", "::1", id="all others"),
    ],
)
def test_another_order_of_ipv6_addresses_changes_nothing(now: str, past: str, result: str) -> None:
    """IMDS documents none for them, and the first one is the source of a default route."""

    def addresses(text: str) -> Value[Any]:
        return ipv6(*(f"2001:db8:0:1{one}" for one in text.split()))

    one, other = (eni(1, ipv6s=addresses(text)) for text in (now, past))
    assert merged(one, other).ipv6s == addresses(result)
    ipv4s = eni(1, local_ipv4s=ipv4("10.0.1.9", "10.0.1.4"))
    assert merged(ipv4s, eni(1)).local_ipv4s == ipv4s.local_ipv4s  # AWS: the first is the primary


def test_nothing_replaces_unread_facts_in_the_first_pass() -> None:
    now = eni(1, ipv6s=TIMEOUT)
    assert merged(now) == now
    assert merged(now, eni(2)) == now


def test_a_mac_with_another_eni_id_is_another_eni() -> None:
    now = eni(1, interface_id=Value(EniId("eni-0000beef")), ipv6s=TIMEOUT)
    assert merged(now, eni(1)) == now


def test_an_eni_that_imds_no_longer_lists_keeps_its_facts() -> None:
    """Detach ends with the link, not with IMDS."""
    facts = with_last_known_good(
        ImdsFacts(Value(PRIMARY), Value(()), ()), {mac(1): eni(1)}, PRIMARY
    )
    (kept,) = facts.enis
    assert kept.local_ipv4s == replace(ipv4("10.0.1.4", "10.0.1.9"), stale=True)
    assert kept.ipv4_prefixes == Absent()


@pytest.mark.parametrize(
    ("now", "past", "result"),
    [
        (Value(mac(1)), PRIMARY, Value(mac(1))),
        (TIMEOUT, PRIMARY, Value(PRIMARY, stale=True)),
        (TIMEOUT, None, TIMEOUT),
    ],
)
def test_the_primary_is_remembered(now: Reading[Any], past: Any, result: Reading[Any]) -> None:
    assert with_last_known_good(ImdsFacts(now, TIMEOUT, ()), {}, past).primary == result


def test_unread_facts_have_a_reason_for_every_key() -> None:
    facts = unread(mac(1), "gone")
    assert {getattr(facts, key) for key in KEYS} == {Unknown("gone")}


def test_the_ipv6_block_of_a_subnet_is_dropped_only_with_its_addresses() -> None:
    past = eni(1)
    assert isinstance(past.subnet_ipv6, Value)
    lying = merged(eni(1, subnet_ipv6=ABSENT), past)
    assert lying.subnet_ipv6 == Value(past.subnet_ipv6.value, stale=True)
    gone = merged(eni(1, subnet_ipv6=ABSENT, ipv6s=ABSENT), past)
    assert gone.subnet_ipv6 == ABSENT
