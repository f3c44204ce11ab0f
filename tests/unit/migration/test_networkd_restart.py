# SPDX-License-Identifier: Apache-2.0
"""systemd-networkd is ended by SIGKILL, so that it gives no lease back, and waited for."""

from pathlib import Path

import pytest

from ec2net.core.migration import networkd_restart
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline

FAKE = '#!/bin/sh\necho "$*" >> {said}\n'


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The arguments of systemctl."""
    path = tmp_path / "said"
    (tmp_path / "systemctl").write_text(FAKE.format(said=path))
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return path


def test_the_restart_waits_until_the_links_are_configured(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([{"2", "3"}, set(), {"2"}, {"2", "3", "4"}])
    monkeypatch.setattr(networkd_restart, "_configured", lambda: frozenset(next(states)))
    networkd_restart.restart(Deadline(60))
    unit = "systemd-networkd.service"
    assert said.read_text().splitlines() == [f"kill --signal=KILL {unit}", f"start {unit}"]
    assert next(states, None) is None


def test_a_link_that_networkd_does_not_configure_is_an_error(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([frozenset({"2", "3"})])
    monkeypatch.setattr(networkd_restart, "_configured", lambda: next(states, frozenset({"2"})))
    with pytest.raises(Ec2netError, match="does not configure link 3"):
        networkd_restart.restart(Deadline(0.3))
