# SPDX-License-Identifier: Apache-2.0
"""The file of a pause: its life, and what counts as none."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from ec2net.core.model.errors import StateError, UsageError
from ec2net.core.runtime.clock import utc
from ec2net.core.state import pause


def test_a_pause_lasts_until_its_end_or_until_it_is_ended(tmp_path: Path) -> None:
    path = tmp_path / pause.PLACE
    assert pause.read(path) is None
    begun = pause.begin(path, 7200, "an audit")
    assert pause.read(path) == begun
    assert begun.since_boot
    assert re.fullmatch(r"until \d{4}-\d\d-\d\d \d\d:\d\d UTC \(an audit\)", begun.words())
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(UsageError, match=r"changes are paused .*resume"):
        pause.refuse(tmp_path)
    assert pause.end(path)
    assert not path.parent.exists()
    assert not pause.end(path)
    pause.refuse(tmp_path)


def test_a_record_of_another_command_stays(tmp_path: Path) -> None:
    path = tmp_path / pause.PLACE
    pause.begin(path, 60, "")
    other = path.with_name("adopted.json")
    other.touch()
    assert pause.end(path)
    assert other.exists()


def written(path: Path, **changes: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"version": 1, "since": utc(time.time()), "until": utc(time.time() + 60)}
    path.write_text(json.dumps({**document, "reason": "", "boot": "", **changes}))


def test_a_pause_of_before_a_reboot_is_one(tmp_path: Path) -> None:
    path = tmp_path / pause.PLACE
    written(path, boot="another")
    found = pause.read(path)
    assert found is not None
    assert not found.since_boot


def test_a_pause_that_has_ended_is_none(tmp_path: Path) -> None:
    path = tmp_path / pause.PLACE
    written(path, until="2026-01-01T00:00:00Z")
    assert pause.read(path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 4000,
        b"x" * 5000,
        json.dumps({"version": 2}).encode(),
        json.dumps({"since": "x", "until": "y", "reason": "", "boot": ""}).encode(),
        json.dumps({"since": 1, "until": 2, "reason": "", "boot": ""}).encode(),
        json.dumps(
            {
                "since": "2026-01-01T00:00:00Z",
                "until": "2226-01-01T00:00:00Z",
                "reason": "",
                "boot": "",
            }
        ).encode(),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_and_is_no_pause(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / pause.PLACE
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    found, error = pause.read_safely(path)
    assert found is None
    assert str(error).startswith(f"{path}: cannot be read, so changes are not paused: ")
    pause.refuse(tmp_path)
    assert pause.end(path)


def test_a_fifo_is_no_pause_and_costs_no_time(tmp_path: Path) -> None:
    path = tmp_path / pause.PLACE
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert isinstance(pause.read_safely(path)[1], StateError)
