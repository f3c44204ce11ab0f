# SPDX-License-Identifier: Apache-2.0
"""Facts of the last good pass as they are stored, and a damaged file of them."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from eni_facts import KEYS, PRIMARY, TIMEOUT, any_eni, eni, mac
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ec2net.core.decide.last_known import unread
from ec2net.core.model.facts import EniFacts, ImdsFacts, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.state.codec import decode, encode
from ec2net.core.state.last_known import read, write
from ec2net.core.state.per_eni import keep_only
from ec2net.core.state.run_dir import RunDir


def without_reasons(facts: EniFacts) -> EniFacts:
    changes: dict[str, Any] = {
        key: Unknown("not read yet") for key in KEYS if isinstance(getattr(facts, key), Unknown)
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


def test_remembered_facts_read_back(run: RunDir) -> None:
    remember(run, imds(eni(0), eni(1)), {mac(0): [2], mac(1): [3]})
    assert remembered(run, {mac(0): [2], mac(1): [3]}) == (
        PRIMARY,
        {mac(0): eni(0), mac(1): eni(1)},
    )


def test_another_link_index_is_another_attachment(run: RunDir) -> None:
    """An ENI that is attached again may have another device number: no fact is kept."""
    remember(run, imds(eni(1)), {mac(1): [3]})
    assert remembered(run, {mac(1): [4]})[1] == {}


def test_a_second_link_with_its_mac_is_no_other_attachment(run: RunDir) -> None:
    remember(run, imds(eni(1)), {mac(1): [3]})
    remember(run, imds(unread(mac(1), "refused")), {mac(1): [2, 3]})
    assert remembered(run, {mac(1): [2, 3]})[1] == {mac(1): eni(1)}
    assert remembered(run, {mac(1): [3]})[1] == {mac(1): eni(1)}


def test_facts_of_detached_enis_are_deleted(run: RunDir) -> None:
    remember(run, imds(eni(1), eni(2)), {mac(1): [3], mac(2): [4]})
    keep_only(run, [mac(1)])
    assert run.names("facts") == (f"facts/{mac(1)}.json",)


def test_an_unread_primary_does_not_erase_the_known_one(run: RunDir) -> None:
    remember(run, imds(), {})
    remember(run, ImdsFacts(TIMEOUT, TIMEOUT, ()), {})
    assert remembered(run, {})[0] == PRIMARY


def test_facts_in_the_file_of_another_eni_are_ignored(run: RunDir) -> None:
    run.write(f"facts/{mac(1)}.json", {**encode(eni(2)), "ifindex": 3})
    assert remembered(run, {mac(1): [3]})[1] == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"text"', b"[" * 100_000])
def test_a_file_that_is_no_json_object_counts_as_absent(run: RunDir, content: bytes) -> None:
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
