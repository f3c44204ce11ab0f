# SPDX-License-Identifier: Apache-2.0
"""The files of /run/ec2net for one ENI do not affect another: after hibernation, or a new
attachment."""

from pathlib import Path

import pytest
from eni_facts import eni, link, mac

from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import LinkRef, Setting
from ec2net.core.state import memory, touched_links
from ec2net.core.state.boot_enis import AtBoot
from ec2net.core.state.drift_record import Record
from ec2net.core.state.holds import Hold
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.last_known import KnownFacts, LastKnown
from ec2net.core.state.memory import Memory
from ec2net.core.state.run_dir import RunDir

NAME, INDEX = "ens6", link(1).index


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """With a file of each kind for one ENI."""
    run, owner = RunDir(tmp_path), mac(1)
    stored = Memory(
        LastKnown(mac(0), {owner: KnownFacts.of(eni(1), INDEX)}),
        {owner: Record(INDEX, in_place=frozenset({"x"}))},
        {owner: Hold("fingerprint", "2026-11-29T10:00:00Z", "IMDS was lost", ())},
        AtBoot(0.0, {owner: frozenset({INDEX})}),
    )
    stored.write(run, Memory())
    Journals(run).write(owner, Journal(INDEX, {Setting.MTU: 1500}))
    touched_links.mark(run, NAME)
    return run


def acts(run: RunDir, of: Mac, index: int) -> dict[str, bool]:
    """By kind of file, whether it has an entry for this ENI on a link of this index."""
    found = Memory.read(run)
    assert found.boot is not None
    there = found.boot.attached(of, (link(1, index=index),), 1.0) is Attached.BOOT
    return {
        "facts": of in found.last_known.of({of: [index]}),
        "drift": found.drift_of(of, index) != Record(index),
        "journal": not Journals(run).read(of, index).empty,
        "at-boot": there,
    }


@pytest.mark.parametrize(
    ("of", "index", "expected"),
    [
        pytest.param(mac(1), INDEX, True, id="the same attachment"),
        pytest.param(mac(2), INDEX, False, id="another ENI under the same name and index"),
        pytest.param(mac(1), INDEX + 1, False, id="the same ENI, attached again"),
    ],
)
def test_each_file_counts_for_one_attachment_of_one_eni(
    run: RunDir, of: Mac, index: int, expected: bool
) -> None:
    assert set(acts(run, of, index).values()) == {expected}
    assert (of in Memory.read(run).holds) is (of == mac(1))


def test_the_files_of_a_detached_eni_are_deleted_with_it(run: RunDir) -> None:
    def named() -> list[str]:
        return [name for folder in run.folders() for name in run.names(folder)]

    assert any(str(mac(1)) in name for name in named())
    memory.keep_only(run, {mac(2): (LinkRef(INDEX + 1, "ens7"),)})
    assert named() == []
