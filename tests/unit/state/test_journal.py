# SPDX-License-Identifier: Apache-2.0
"""The entries of a link's journal; damage affects only the wrong entries."""

import json
from dataclasses import replace
from ipaddress import ip_interface
from math import inf
from pathlib import Path
from typing import Any

import pytest
from eni_facts import mac

from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import (
    Setting,
)
from ec2net.core.state import per_eni
from ec2net.core.state.codec import encode
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.run_dir import RunDir


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(RunDir(tmp_path))


JOURNAL = Journal(
    3,
    {Setting.MTU: 1500, Setting.ACCEPT_RA: 1},
    {"eni-00000000000000001"},
    {ip_interface("10.0.1.9/32"), ip_interface("2001:db8::9/128")},
)

MAC = Mac.parse("06:ec:02:00:00:01")


@pytest.mark.parametrize("value", [-1, 2**31, 10**30])
def test_an_invalid_number_is_not_restored(tmp_path: Path, value: int) -> None:
    """``remove`` failed as a whole when the number did not fit into the kernel's message."""
    (tmp_path / "journal").mkdir()
    content = {
        "ifindex": 3,
        "before": {"mtu": value, "group": 7},
        "altnames": ["eni-1"],
        "addresses": ["10.0.1.5/32"],
    }
    (tmp_path / "journal" / f"{MAC}.json").write_text(json.dumps(content))
    journal = Journals(RunDir(tmp_path)).read(MAC, 3)
    assert journal.before == {Setting.GROUP: 7}
    assert journal.altnames == {"eni-1"}
    assert len(journal.addresses) == 1


def test_a_journal_counts_for_the_same_attachment_only(journals: Journals) -> None:
    journals.write(mac(1), JOURNAL)
    assert journals.read(mac(1), 3) == JOURNAL
    assert journals.read(mac(1), 4) == Journal(4)
    assert journals.read(mac(2), 3) == Journal(3)


def test_a_journal_without_an_entry_has_no_file(journals: Journals, tmp_path: Path) -> None:
    journals.write(mac(1), JOURNAL)
    journals.write(mac(1), Journal(3))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_journals_of_removed_links_are_deleted(journals: Journals, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for n in (1, 2):
        journals.write(mac(n), replace(JOURNAL))
    per_eni.keep_only(run, [mac(2)])
    assert journals.read(mac(1), 3) == Journal(3)
    assert journals.read(mac(2), 3) == JOURNAL


@pytest.mark.parametrize(
    "damage",
    [
        {"before": None},
        {"before": {"colour": 1}},
        {"before": {"mtu": "big"}},
        {"before": {"mtu": inf}},
        {"altnames": 5},
        {"addresses": ["10.0.1.999"]},
        {"addresses": None},
    ],
)
def test_a_damaged_journal_is_an_empty_one(tmp_path: Path, damage: dict[str, Any]) -> None:
    run = RunDir(tmp_path)
    run.write(f"journal/{mac(1)}.json", {**encode(JOURNAL), **damage})
    assert Journals(run).read(mac(1), 3) == Journal(3)


def test_half_a_journal_is_an_empty_one(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write(f"journal/{mac(1)}.json", {"ifindex": 3})
    assert Journals(run).read(mac(1), 3) == Journal(3)
