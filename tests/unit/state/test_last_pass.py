# SPDX-License-Identifier: Apache-2.0
"""The time of the last pass is a time stamp, and no content."""

import os
from pathlib import Path

from ec2net.core.runtime.clock import utc
from ec2net.core.state.last_pass import last_pass, mark
from ec2net.core.state.run_dir import RunDir


def test_the_file_of_the_last_pass_has_a_time_and_no_content(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert last_pass(run) is None
    mark(run)
    path = tmp_path / "last-pass"
    os.utime(path, (1000, 1000))
    assert last_pass(run) == utc(1000)
    mark(run)
    assert last_pass(run) != utc(1000)
    assert path.read_bytes() == b""


def test_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    mark(RunDir(tmp_path / "none"))
    assert last_pass(RunDir(tmp_path / "none")) is None


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (tmp_path / "last-pass").symlink_to(other)
    mark(RunDir(tmp_path))
    assert not other.exists()
