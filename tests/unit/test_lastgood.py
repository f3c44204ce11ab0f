# SPDX-License-Identifier: Apache-2.0
"""The last known good facts: what stands in for what, and what is never taken back."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from eni_facts import KEYS, PRIMARY, TIMEOUT, any_eni, eni, ipv4, ipv6, mac
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ec2net.core.decide.last_known import unread, with_last_known_good
from ec2net.core.model.facts import Absent, EniFacts, ImdsFacts, Reading, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.state.codec import decode, encode
from ec2net.core.state.last_known import read, write
from ec2net.core.state.per_eni import keep_only
from ec2net.core.state.run_dir import RunDir

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
def test_what_stands_in(
    key: str, now: Reading[Any], past: Reading[Any], result: Reading[Any]
) -> None:
    if key == "interface_id":
        result = now if isinstance(now, Value) else result  # a new id is another ENI
    one, other = (eni(1, **{key: reading}) for reading in (now, past))
    assert getattr(merged(one, other), key) == result


@pytest.mark.parametrize("key", KEYS)
def test_an_absence_is_news_except_of_what_no_eni_can_lose(key: str) -> None:
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


def test_nothing_stands_in_at_the_first_pass() -> None:
    now = eni(1, ipv6s=TIMEOUT)
    assert merged(now) == now
    assert merged(now, eni(2)) == now


def test_a_mac_with_another_eni_id_is_another_eni() -> None:
    now = eni(1, interface_id=Value(EniId("eni-0000beef")), ipv6s=TIMEOUT)
    assert merged(now, eni(1)) == now


def test_an_eni_that_imds_stopped_listing_stays_as_it_was() -> None:
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
def test_the_primary(now: Reading[Any], past: Any, result: Reading[Any]) -> None:
    assert with_last_known_good(ImdsFacts(now, TIMEOUT, ()), {}, past).primary == result


def without_reasons(facts: EniFacts) -> EniFacts:
    changes: dict[str, Any] = {
        key: Unknown("never read") for key in KEYS if isinstance(getattr(facts, key), Unknown)
    }
    return replace(facts, **changes)


@given(st.integers(0, 5).flatmap(any_eni))
def test_facts_survive_json(facts: EniFacts) -> None:
    stored = json.loads(json.dumps(encode(facts)))
    assert decode(EniFacts, stored) == without_reasons(facts)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def imds(*enis: EniFacts) -> ImdsFacts:
    return ImdsFacts(Value(PRIMARY), Value(tuple(e.mac for e in enis)), enis)


def remember(run: RunDir, facts: ImdsFacts, links: dict[Mac, list[int]]) -> None:
    before = read(run)
    write(run, before.after(facts, links), before)


def remembered(run: RunDir, links: dict[Mac, list[int]]) -> tuple[Mac | None, dict[Mac, EniFacts]]:
    known = read(run)
    return known.primary, known.of(links)


def test_what_is_remembered_comes_back(run: RunDir) -> None:
    remember(run, imds(eni(0), eni(1)), {mac(0): [2], mac(1): [3]})
    assert remembered(run, {mac(0): [2], mac(1): [3]}) == (
        PRIMARY,
        {mac(0): eni(0), mac(1): eni(1)},
    )


def test_another_link_index_is_another_attachment(run: RunDir) -> None:
    """An ENI that comes back may have another device number: nothing carries over."""
    remember(run, imds(eni(1)), {mac(1): [3]})
    assert remembered(run, {mac(1): [4]})[1] == {}


def test_a_second_link_with_its_mac_is_no_other_attachment(run: RunDir) -> None:
    remember(run, imds(eni(1)), {mac(1): [3]})
    remember(run, imds(unread(mac(1), "refused")), {mac(1): [2, 3]})
    assert remembered(run, {mac(1): [2, 3]})[1] == {mac(1): eni(1)}
    assert remembered(run, {mac(1): [3]})[1] == {mac(1): eni(1)}


def test_facts_of_gone_enis_are_forgotten(run: RunDir) -> None:
    remember(run, imds(eni(1), eni(2)), {mac(1): [3], mac(2): [4]})
    keep_only(run, [mac(1)])
    assert run.names("facts") == (f"facts/{mac(1)}.json",)


def test_an_unread_primary_does_not_erase_the_known_one(run: RunDir) -> None:
    remember(run, imds(), {})
    remember(run, ImdsFacts(TIMEOUT, TIMEOUT, ()), {})
    assert remembered(run, {})[0] == PRIMARY


def test_facts_in_another_eni_s_file_are_not_believed(run: RunDir) -> None:
    run.write(f"facts/{mac(1)}.json", {**encode(eni(2)), "ifindex": 3})
    assert remembered(run, {mac(1): [3]})[1] == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"text"', b"[" * 100_000])
def test_a_file_that_is_no_json_object_counts_as_none(run: RunDir, content: bytes) -> None:
    remember(run, imds(eni(1)), {mac(1): [3]})
    for name in ("primary.json", f"facts/{mac(1)}.json"):
        (run.path / name).write_bytes(content)
    assert remembered(run, {mac(1): [3]}) == (None, {})


TYPES: dict[str, type] = {
    "interface_id": EniId,
    "device_number": int,
    "network_card": int,
    "local_ipv4s": IPv4Address,
    "ipv6s": IPv6Address,
    "ipv4_prefixes": IPv4Network,
    "ipv6_prefixes": IPv6Network,
    "subnet_ipv4": IPv4Network,
    "subnet_ipv6": IPv6Network,
}
SINGLE = {"interface_id", "device_number", "network_card", "subnet_ipv4"}

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("10.0.1.4"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*KEYS, "mac", "ifindex"]), junk, min_size=1, max_size=3))
def test_a_corrupt_file_gives_no_facts_or_facts_of_the_right_types(
    run: RunDir, damage: dict[str, Any]
) -> None:
    run.write(f"facts/{mac(1)}.json", {**encode(eni(1)), "ifindex": 3, **damage})
    for facts in remembered(run, {mac(1): [3]})[1].values():
        assert facts.mac == mac(1)
        for key, kind in TYPES.items():
            reading = getattr(facts, key)
            if isinstance(reading, Value) and key in SINGLE:
                assert isinstance(reading.value, kind), key
            elif isinstance(reading, Value):
                assert isinstance(reading.value, tuple), key
                assert all(isinstance(one, kind) for one in reading.value), key


def test_unread_facts_have_a_reason_for_every_key() -> None:
    facts = unread(mac(1), "gone")
    assert {getattr(facts, key) for key in KEYS} == {Unknown("gone")}


def test_a_subnets_ipv6_block_goes_only_with_the_addresses_from_it() -> None:
    past = eni(1)
    assert isinstance(past.subnet_ipv6, Value)
    lying = merged(eni(1, subnet_ipv6=ABSENT), past)
    assert lying.subnet_ipv6 == Value(past.subnet_ipv6.value, stale=True)
    gone = merged(eni(1, subnet_ipv6=ABSENT, ipv6s=ABSENT), past)
    assert gone.subnet_ipv6 == ABSENT
