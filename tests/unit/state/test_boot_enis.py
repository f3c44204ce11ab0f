# SPDX-License-Identifier: Apache-2.0
"""Which ENIs were attached at boot: decided once per attachment, whatever is attached or detached
later."""

from pathlib import Path
from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.core.config.settings import Config, EniSection, Manage, Match, Profile
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.model.facts import Facts, Unknown, Value
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.state import boot_enis
from ec2net.core.state.boot_enis import SETTLING, Links, after, read, record, write
from ec2net.core.state.run_dir import RunDir

BOOT, LATER = Attached.BOOT, Attached.LATER
LONG = 1000.0
"""Seconds after boot: no record takes in anything any more."""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def links(*numbers: int, **values: Any) -> Links:
    return {mac(n): (link(n, **values),) for n in numbers}


def when_attached(run: RunDir, there: Links, now: float) -> dict[Mac, Attached]:
    return boot_enis.when_attached(read(run), there, now)


def first_pass(run: RunDir, there: Links, now: float = LONG) -> dict[Mac, Attached]:
    """A pass decides, and remembers what it decided."""
    attached = when_attached(run, there, now)
    found = (same[0] for same in there.values())
    facts = Facts(host(*(eni(n) for n in range(6))).imds, tuple(found), attached)
    write(run, after(read(run), compute(facts, Config()).links_since_boot))
    return attached


def test_the_first_pass_decides_where_early_did_not_run(run: RunDir) -> None:
    assert first_pass(run, links(0, 1)) == {mac(0): BOOT, mac(1): BOOT}
    assert first_pass(run, links(0, 1, 2)) == {mac(0): BOOT, mac(1): BOOT, mac(2): LATER}
    assert first_pass(run, links(1, 2)) == {mac(1): BOOT, mac(2): LATER}


def test_observing_decides_nothing(run: RunDir) -> None:
    assert when_attached(run, links(0, 1), LONG)[mac(1)] is BOOT
    assert run.names("") == ()
    first_pass(run, links(0))
    assert when_attached(run, links(0, 1), LONG)[mac(1)] is LATER


def test_an_eni_that_is_attached_again_is_a_later_one(run: RunDir) -> None:
    first_pass(run, links(0, 1))
    first_pass(run, links(0))
    assert first_pass(run, links(1, index=77)) == {mac(1): LATER}
    assert first_pass(run, links(1, index=77)) == {mac(1): LATER}


def test_a_link_that_returns_from_another_namespace_is_not_a_new_attachment(run: RunDir) -> None:
    """The kernel keeps its index."""
    first_pass(run, links(0, 1))
    first_pass(run, links(0))
    assert first_pass(run, links(0, 1))[mac(1)] is BOOT


def test_early_decides_before_the_first_pass(run: RunDir) -> None:
    record(run, links(0, 1), 3.0)
    assert first_pass(run, links(0, 1, 2)) == {mac(0): BOOT, mac(1): BOOT, mac(2): LATER}


def test_an_eni_that_a_driver_probes_a_little_later_belongs_to_the_boot(run: RunDir) -> None:
    record(run, links(0), 3.0)
    assert first_pass(run, links(0, 1), 3.0 + SETTLING - 0.1)[mac(1)] is BOOT
    found = first_pass(run, links(0, 1, 2), 3.0 + SETTLING)
    assert found == {mac(0): BOOT, mac(1): BOOT, mac(2): LATER}


def test_a_second_run_of_early_changes_nothing(run: RunDir) -> None:
    record(run, links(0), 3.0)
    record(run, links(0, 1), LONG)
    assert when_attached(run, links(0, 1), LONG)[mac(1)] is LATER


def test_without_an_eni_no_record_is_begun(run: RunDir) -> None:
    """The boot's ENIs may be pending: all of them would count as later."""
    record(run, {}, 3.0)
    first_pass(run, {})
    assert first_pass(run, links(0)) == {mac(0): BOOT}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"until": "x", "links": {}}',
        b'{"until": 0, "links": {"zz": [1]}}',
        b'{"until": 0, "links": [1]}',
        b'{"until": 0, "links": {"06:ec:02:00:00:01": [Infinity]}}',
        b'{"until": 0, "links": {"06:ec:02:00:00:01": 3}}',
    ],
)
def test_an_invalid_record_counts_as_absent(run: RunDir, content: bytes) -> None:
    (run.path / "at-boot.json").write_bytes(content)
    assert first_pass(run, links(0, 1))[mac(1)] is BOOT
    assert first_pass(run, links(0, 2))[mac(2)] is LATER


LATER_IGNORED = Config(sections=(EniSection(Match(attached=LATER), {"manage": Manage.IGNORE}),))


def of(computed: HostIntent, n: int) -> EniOutcome:
    outcome = computed.of(mac(n))
    assert outcome is not None
    return outcome


def test_a_policy_is_in_force_before_imds_lists_the_eni() -> None:
    """R29: nothing is done first and undone then."""
    known = host(eni(0), links=(link(0), link(1)))
    facts = Facts(known.imds, known.links, {mac(0): BOOT, mac(1): LATER})
    outcome = of(compute(facts, LATER_IGNORED), 1)
    assert (outcome.standing, outcome.attached) == (Standing.IGNORED, LATER)


@pytest.mark.parametrize(
    ("primary", "standing"),
    [(Value(mac(0)), Standing.READY), (Unknown("timed out"), Standing.IGNORED)],
)
def test_the_primary_belongs_to_the_boot_whatever_happened_to_its_link(
    primary: Any, standing: Standing
) -> None:
    """It cannot be detached, but its driver can be loaded again, which changes the index."""
    known = host(eni(0), primary=primary)
    facts = Facts(known.imds, known.links, {mac(0): LATER})
    assert of(compute(facts, LATER_IGNORED), 0).standing is standing


def test_while_that_is_unknown_no_section_matches() -> None:
    assert of(compute(host(eni(0), eni(1)), LATER_IGNORED), 1).standing is Standing.READY


def test_early_knows_whether_a_later_eni_will_be_managed() -> None:
    """A network manager's defaults have to exclude the ENI before its attachment."""
    assert compute(host(eni(0)), LATER_IGNORED).later_apart
    assert compute(host(eni(0)), Config(profile=Profile.KUBERNETES)).later_apart
    assert not compute(host(eni(0)), Config()).later_apart
