# SPDX-License-Identifier: Apache-2.0
"""Which ENIs are on hold, and for how long."""

import json
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, KernelObject, LinkRef, LinkSetting, Route, Rule
from ec2net.core.model.objects import Setting as S
from ec2net.core.state import holds
from ec2net.core.state.holds import HELD, Hold
from ec2net.core.state.run_dir import RunDir

MAC, OTHER = Mac("06:ec:02:00:00:01"), Mac("06:ec:02:00:00:02")
LINK = LinkRef(3, "ens6")
WANTED: tuple[KernelObject, ...] = (
    Rule(ip_network("10.0.1.4/32"), 10001, 10001),
    Route(ip_network("10.0.1.0/24"), 10001, 0, LINK, source=ip_address("10.0.1.4")),
    Address(LINK, ip_interface("10.0.1.4/24")),
    LinkSetting(LINK, S.MTU, 9001),
)
HOLD = Hold("0f", "2024-08-17T12:00:00Z", "IMDS is lost", ("+ address 10.0.1.4/24 dev ens6",))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def remember(run: RunDir, held: dict[Mac, Hold], planned: list[Mac], attached: list[Mac]) -> None:
    """As a pass does at its end."""
    holds.write(run, holds.after(holds.read(run), held, planned, attached))


def test_a_hold_lasts_while_the_intent_is_the_same_and_changes_are_due(
    run: RunDir,
) -> None:
    remember(run, {MAC: HOLD}, [MAC], [MAC])
    assert holds.in_force(holds.read(run), lambda _: "0f", {MAC, None}) == {MAC: HOLD}
    assert holds.in_force(holds.read(run), lambda _: "other", {MAC}) == {}
    assert (
        holds.in_force(holds.read(run), lambda _: None, {MAC}) == {}
    )  # nothing is wanted: 'remove'
    assert holds.in_force(holds.read(run), lambda _: "0f", {OTHER}) == {}


def test_a_hold_ends_when_its_eni_is_planned_without_it_or_is_removed(run: RunDir) -> None:
    remember(run, {MAC: HOLD, OTHER: HOLD}, [MAC, OTHER], [MAC, OTHER])
    remember(run, {}, [OTHER], [MAC, OTHER])
    assert holds.read(run) == {MAC: HOLD}
    remember(run, {}, [], [OTHER])
    assert holds.read(run) == {}
    assert not (run.path / HELD).exists()


def test_nothing_is_written_without_a_difference(run: RunDir) -> None:
    remember(run, {}, [MAC], [MAC])
    assert list(run.path.iterdir()) == []
    remember(run, {MAC: HOLD}, [MAC], [MAC])
    inode = (run.path / HELD).stat().st_ino
    remember(run, {MAC: HOLD}, [MAC], [MAC])
    assert (run.path / HELD).stat().st_ino == inode
    holds.release(run)
    assert holds.read(run) == {}
    holds.release(run)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"x": {}},
        {str(MAC): 5},
        {str(MAC): {"changes": 5}},
        {str(MAC): {"fingerprint": "0f", "changes": []}},
        {str(MAC): {"fingerprint": 1, "since": 2, "reason": 3, "changes": [4], "more": 5}},
    ],
)
def test_a_file_of_any_other_form_holds_nothing(run: RunDir, content: object) -> None:
    (run.path / HELD).write_text(json.dumps(content))
    assert holds.in_force(holds.read(run), lambda _: "0f", {MAC}) == {}
