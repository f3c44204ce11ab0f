# SPDX-License-Identifier: Apache-2.0
"""Steps of a handover as they are performed."""

import os
from pathlib import Path

import pytest

from ec2net.core.migration.plan import SetSysctl
from ec2net.core.migration.steps import Link, StepFailed, perform
from ec2net.core.runtime.deadline import Deadline

SOON = Deadline(10)


def test_a_link_replaces_a_link_or_nothing(tmp_path: Path) -> None:
    place = tmp_path / "system/x.target.wants/x.service"  # neither folder exists
    for target in ("/dev/null", "/usr/lib/x.service", "/usr/lib/x.service"):
        perform((Link(str(place), target),), SOON, subject="adopt")
        assert os.readlink(place) == target
    assert os.listdir(place.parent) == ["x.service"]
    place.unlink()
    place.write_text("an administrator's")
    with pytest.raises(StepFailed, match="not a symbolic link"):
        perform((Link(str(place), "/dev/null"),), SOON, subject="adopt")
    assert place.read_text() == "an administrator's"


def test_a_setting_of_a_removed_link_is_no_failure(tmp_path: Path) -> None:
    SetSysctl(str(tmp_path / "gone/accept_ra"), "1").do(SOON)
    (tmp_path / "accept_ra").write_text("0")
    SetSysctl(str(tmp_path / "accept_ra"), "1").do(SOON)
    assert (tmp_path / "accept_ra").read_text() == "1"
