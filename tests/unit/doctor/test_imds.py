# SPDX-License-Identifier: Apache-2.0
"""Findings about the routes to IMDS, and that doctor tries each of them within its time."""

import time
from collections.abc import Iterable
from ipaddress import IPv4Address

import pytest
from eni_facts import IPV4_ONLY, eni
from eni_facts import host as facts
from patience import HANGS

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.doctor.finding import Check, Severity
from ec2net.core.doctor.imds import short_hops, unreachable
from ec2net.core.imds import race
from ec2net.core.imds.endpoint import IPV4_ENDPOINT, IPV6_ENDPOINT, Candidate, Endpoint
from ec2net.core.imds.ways import Outcome, Way, reaches_further, try_all
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.imds import ImdsDouble
from ec2net.core.simulation.vpc.imds_faults import Hang, Reset, Status

HOST = compute(facts(eni(0), eni(1, **IPV4_ONLY)), Config())
WAYS = [
    Candidate(endpoint, device)
    for device in ("", "ens5", "ens6")
    for endpoint in (IPV4_ENDPOINT, IPV6_ENDPOINT)
]


def ways(answering: Iterable[str], disabled: Iterable[str] = ()) -> list[Way]:
    """Named ``4``, ``6``, ``4 ens5`` and so on; all others are silent."""
    answering, disabled, found = set(answering), set(disabled), []
    for candidate in WAYS:
        name = f"{candidate.endpoint.address.version} {candidate.device}".strip()
        outcome = Outcome.SILENT
        if name in answering | disabled:
            outcome = Outcome.ANSWERS if name in answering else Outcome.DISABLED
        found.append(Way(candidate, outcome, "timed out"))
    return found


ALL = {"4", "6", "4 ens5", "6 ens5", "4 ens6"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], []),
        (ways(ALL), []),  # ens6 has no IPv6
        (ways({"4", "4 ens5", "4 ens6"}), []),  # the IPv6 endpoint is off
        (ways(()), [(Severity.ERROR, Check.IMDS, "")]),
        (ways((), disabled=ALL), [(Severity.ERROR, Check.IMDS_DISABLED, "")]),
        (ways({"4", "4 ens5", "4 ens6"}, disabled={"6", "6 ens5"}), []),
        (ways({"4 ens6"}), [(Severity.ERROR, Check.IMDS, "")]),
        (ways(ALL - {"4 ens6"}), [(Severity.WARNING, Check.IMDS, "ens6")]),
        (ways(ALL - {"6 ens5"}), []),  # no IPv6 default route through it
        (ways(ALL - {"4 ens5", "6 ens5"}), [(Severity.WARNING, Check.IMDS, "ens5")]),
        (
            ways({"4"}),
            [(Severity.WARNING, Check.IMDS, "ens5"), (Severity.WARNING, Check.IMDS, "ens6")],
        ),
    ],
)
def test_each_outcome_of_the_endpoints_has_a_meaning(found: list[Way], expected: object) -> None:
    assert [(f.severity, f.check, f.subject) for f in unreachable(found, HOST)] == expected


def test_each_reason_is_reported_once() -> None:
    (found,) = unreachable(ways(()), HOST)
    assert found.cause.endswith("(169.254.169.254: timed out)")


@pytest.mark.parametrize(
    ("further", "forwards", "noted"),
    [(False, True, True), (True, True, False), (None, True, False), (False, False, False)],
)
def test_a_hop_limit_of_1_matters_on_a_host_that_forwards(
    further: bool | None, forwards: bool, noted: bool
) -> None:
    found = list(short_hops(further, forwards))
    assert [(f.severity, f.check) for f in found] == (
        [(Severity.NOTE, Check.HOP_LIMIT)] if noted else []
    )


CLOSED = Candidate(Endpoint(IPv4Address("127.0.0.1"), 1))


def test_each_endpoint_is_tried_and_one_answer_ends_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(race, "PROBE_SECONDS", HANGS)
    with ImdsDouble() as good, ImdsDouble() as off, ImdsDouble() as broken:
        candidates = [
            Candidate(Endpoint.parse(double.serve_loopback())) for double in (good, off, broken)
        ]
        off.inject(Status(403))
        broken.inject(Reset())
        found = try_all([*candidates, CLOSED], Deadline(60), user_agent="test")
        outcomes = [way.outcome for way in found]
        assert outcomes == [Outcome.ANSWERS, Outcome.DISABLED, Outcome.SILENT, Outcome.SILENT]
        assert found[3].reason == "Connection refused"
        assert good.count("latest/api/token", method="PUT") == 1


def test_an_endpoint_that_hangs_ends_at_the_deadline_and_others_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(race, "PROBE_SECONDS", 3.0)  # a busy machine is slow to answer
    with ImdsDouble() as good, ImdsDouble() as hangs:
        candidates = [
            Candidate(Endpoint.parse(double.serve_loopback())) for double in (hangs, good)
        ]
        hangs.inject(Hang())
        began = time.monotonic()
        found = try_all(candidates, Deadline(60), user_agent="test")
        assert time.monotonic() - began < HANGS
        assert [way.outcome for way in found] == [Outcome.SILENT, Outcome.ANSWERS]


def test_without_an_answer_the_hop_limit_is_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ImdsDouble() as double:
        candidate = Candidate(Endpoint.parse(double.serve_loopback()))
        with monkeypatch.context() as patched:
            patched.setattr("ec2net.core.imds.ways.HOP_SECONDS", HANGS)
            assert reaches_further(candidate, Deadline(60), user_agent="test")
        double.inject(Hang())
        began = time.monotonic()
        assert not reaches_further(candidate, Deadline(60), user_agent="test")
        assert time.monotonic() - began < HANGS
    assert not reaches_further(CLOSED, Deadline(60), user_agent="test")


def test_an_answer_without_a_token_is_no_silence() -> None:
    refused = [Way(candidate, Outcome.SILENT, "HTTP 401") for candidate in WAYS]
    (found,) = unreachable(refused, HOST)
    assert found.check is Check.IMDS
    assert "IMDS gives no token" in found.cause
    assert "HTTP 401" in found.cause
