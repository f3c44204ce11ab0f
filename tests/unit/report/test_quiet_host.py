# SPDX-License-Identifier: Apache-2.0
"""How often the timer's passes run on a host with one ENI and one address (R27)."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from ec2net.core.report import quiet_host
from ec2net.core.report.status_file import STATUS
from ec2net.core.state.run_dir import RunDir

INTENT: dict[str, Any] = {"base": ["10.0.1.4/24"], "further": [], "prefixes": []}
QUIET: dict[str, Any] = {"enis": [{"intent": INTENT, "trouble": []}], "problems": []}
BUSY = {**QUIET, "enis": [{"intent": {**INTENT, "further": ["10.0.1.5/32"]}, "trouble": []}]}


class Host:
    """The timer's passes at times of our choice."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = RunDir(path)
        self.now = 30.0
        monkeypatch.setattr(quiet_host, "_now", lambda: self.now)

    def passes(self, status: dict[str, Any]) -> bool:
        """Whether the pass ran; it then finds ``status``."""
        if quiet_host.may_skip(self.run):
            return False
        self.run.write(STATUS, status)
        quiet_host.mark_checked(self.run, status)
        return True


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize("interval", [30, 60, 90, 240, 600])
def test_a_quiet_host_gets_a_pass_every_five_minutes_whenever_the_timer_fires(
    host: Host, interval: int
) -> None:
    """Counted by the minute of the boot, a pass missed its minute now and then: up to 579 s
    passed."""
    chance = random.Random(interval)
    looks = []
    for _ in range(3000):
        if host.passes(QUIET):
            looks.append(host.now)
        host.now += interval + chance.uniform(0, 5) + 0.3  # RandomizedDelaySec, the pass itself
    gaps = [later - at for at, later in itertools.pairwise(looks)]
    assert min(gaps) >= min(270, interval)
    assert max(gaps) <= max(330, 270 + interval + 6)


def test_a_busy_host_gets_each_pass_and_no_file_is_written_for_it(
    host: Host,
) -> None:
    for _ in range(3):
        assert host.passes(BUSY)
        host.now += 60
    assert [path.name for path in host.run.path.iterdir()] == [STATUS]
    assert host.passes(QUIET)
    assert not host.passes(QUIET)


@pytest.mark.parametrize("stored", [{}, {"boottime": "5"}, {"boottime": None}, {"boottime": 1e9}])
def test_an_impossible_time_counts_as_absent(host: Host, stored: dict[str, Any]) -> None:
    assert host.passes(QUIET)
    host.run.write("quiet.json", stored)
    assert host.passes(QUIET)
