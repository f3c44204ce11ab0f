# SPDX-License-Identifier: Apache-2.0
"""The state files: each kind survives its file, and files of an older version are read."""

import json
import logging
from ipaddress import IPv4Address, ip_interface
from pathlib import Path
from typing import Any

import pytest
from eni_facts import any_eni, eni, mac
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.model.facts import Absent, EniFacts, Value
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Setting
from ec2net.core.state import codec
from ec2net.core.state.boot_enis import AtBoot
from ec2net.core.state.codec import decode, encode
from ec2net.core.state.drift_record import Drift, Record
from ec2net.core.state.holds import Hold
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.last_known import KnownFacts
from ec2net.core.state.memory import Memory
from ec2net.core.state.run_dir import RunDir

WHEN = "2026-11-22T06:59:57Z"
MAC = mac(1)

texts = st.text(max_size=8)
numbers = st.integers(-(2**31), 2**31 - 1)
macs = st.integers(0, 5).map(mac)
addresses = st.ip_addresses().map(ip_interface)
tuples = st.lists(texts, max_size=3).map(tuple)
drifts = st.builds(
    Drift, tuples, tuples, st.just(WHEN), st.just(WHEN), numbers, tuples, texts, st.booleans()
)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    AtBoot: st.builds(
        AtBoot,
        st.floats(allow_nan=False, allow_infinity=False),
        st.dictionaries(macs, st.frozensets(numbers, max_size=3), max_size=3),
    ),
    dict[Mac, Hold]: st.dictionaries(macs, st.builds(Hold, texts, texts, texts, tuples)),
    Journal: st.builds(
        Journal,
        numbers,
        st.dictionaries(st.sampled_from(Setting), numbers),
        st.sets(texts, max_size=3),
        st.sets(addresses, max_size=3),
    ),
    Record: st.builds(
        Record,
        numbers,
        st.frozensets(texts, max_size=3),
        numbers,
        st.sampled_from(["", WHEN]),
        st.lists(drifts, max_size=2).map(tuple),
    ),
    KnownFacts: st.builds(KnownFacts.of, st.integers(0, 5).flatmap(any_eni), numbers),
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
def test_each_kind_of_state_survives_its_file(kind: Any, data: st.DataObject) -> None:
    value = data.draw(KINDS[kind])
    assert json.loads(json.dumps(encode(value))) == encode(value)
    found = decode(kind, encode(value))
    assert encode(found) == encode(value)  # an unknown key has lost its reason
    if kind is not KnownFacts:
        assert found == value


OLDER: dict[str, Any] = {
    "primary.json": {"mac": str(mac(0))},
    f"facts/{MAC}.json": {
        "mac": str(MAC),
        "interface_id": "eni-00000000000000001",
        "device_number": "1",
        "network_card": None,
        "local_ipv4s": ["10.0.1.4", "10.0.1.9"],
        "ifindex": 3,
    },
    f"drift/{MAC}.json": {
        "ifindex": 3,
        "in_place": ["0a", "0b"],
        "intended": 7,
        "given": "",
        "story": [
            {
                "what": ["rule is missing"],
                "items": ["0a"],
                "noticed": WHEN,
                "last": WHEN,
                "times": 1,
                "known": [],
                "repair": "repaired",
                "open": False,
            }
        ],
    },
    "held.json": {
        str(MAC): {"fingerprint": "0f", "since": WHEN, "reason": "IMDS is lost", "changes": ["+"]}
    },
    "at-boot.json": {"until": 13.5, "links": {str(MAC): [3]}},
    f"journal/{MAC}.json": {
        "ifindex": 3,
        "before": {"mtu": 1500},
        "altnames": ["eni-1"],
        "addresses": ["10.0.1.9/32"],
    },
}
"""As 0.1.0 wrote them, before the common codec."""


def test_the_state_of_an_older_version_is_read(run: RunDir) -> None:
    """Without its journal a host would never restore an MTU, or remove an unmarked address."""
    for name, content in OLDER.items():
        run.write(name, content)
    memory = Memory.read(run)
    facts = memory.last_known.of({MAC: [3]})[MAC]
    assert (memory.last_known.primary, facts.network_card) == (mac(0), Absent())
    assert facts.device_number == Value(1)
    assert facts.local_ipv4s == Value((IPv4Address("10.0.1.4"), IPv4Address("10.0.1.9")))
    assert memory.drift_of(MAC, 3).story[0].repair == "repaired"
    assert memory.holds[MAC].reason == "IMDS is lost"
    assert memory.boot == AtBoot(13.5, {MAC: frozenset({3})})
    assert Journals(run).read(MAC, 3) == Journal(
        3, {Setting.MTU: 1500}, {"eni-1"}, {ip_interface("10.0.1.9/32")}
    )


def test_an_older_version_can_read_the_files_of_this_one(run: RunDir) -> None:
    """A downgrade loses nothing: but for the numbers of facts, the formats are the same."""
    for name, kind in ((f"drift/{MAC}.json", Record), (f"journal/{MAC}.json", Journal)):
        assert encode(decode(kind, OLDER[name])) == OLDER[name]
    assert encode(decode(AtBoot, OLDER["at-boot.json"])) == OLDER["at-boot.json"]
    name = f"facts/{MAC}.json"
    assert encode(decode(KnownFacts, OLDER[name])) == {**OLDER[name], "device_number": 1}


def test_a_field_of_a_newer_version_does_not_lose_a_journal(run: RunDir) -> None:
    """After a downgrade, the earlier values of settings are still known."""
    name = f"journal/{MAC}.json"
    run.write(name, {**OLDER[name], "more": 1})
    assert Journals(run).read(MAC, 3).before == {Setting.MTU: 1500}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            '{"version": 2, "ifindex": 3}',
            "its format has version 2, but this ec2net reads version 1 only",
        ),
        ('{"ifindex": 3}', "Record lacks given, in_place, intended, story"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_an_unreadable_file_is_reported_once_and_counts_as_absent(
    run: RunDir, caplog: pytest.LogCaptureFixture, content: str, why: str
) -> None:
    path = run.path / f"drift/{MAC}.json"
    path.parent.mkdir()
    path.write_text(content)
    with caplog.at_level(logging.WARNING, "ec2net.state"):
        for _ in range(2):
            assert Memory.read(run).drift == {}
    (message,) = caplog.messages
    assert message.startswith(f"{path} cannot be read; ec2net treats it as absent: {why}")


def test_an_unchanged_file_is_decoded_once(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon reads the same files pass after pass."""
    name, decoded = "x.json", codec.decoded
    codec.write(run, name, KnownFacts.of(eni(1), 3))
    calls: list[bytes] = []

    def counted(kind: type[Any], content: bytes) -> Any:
        calls.append(content)
        return decoded(kind, content)

    monkeypatch.setattr(codec, "decoded", counted)
    first = codec.read(run, name, KnownFacts)
    assert codec.read(run, name, KnownFacts) is first
    codec.write(run, name, KnownFacts.of(eni(1), 4))
    found = codec.read(run, name, KnownFacts)
    assert found is not None
    assert (found.ifindex, len(calls)) == (4, 2)
    run.remove(name)
    assert codec.read(run, name, KnownFacts) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"local_ipv4s": "10.0.1.4"},
        {"subnet_ipv4": ["10.0.1.0/24"]},
        {"device_number": True},
        {"device_number": 1.5},
        {"mac": 7},
    ],
)
def test_a_value_of_another_type_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each parser has its own text
        decode(EniFacts, {**encode(eni(1)), **damage})
