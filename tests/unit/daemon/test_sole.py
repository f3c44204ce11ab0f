# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon runs, where the lock file's filesystem does not show that."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from ec2net.core.daemon.sole import SoleManager, manager_runs
from ec2net.core.state.run_dir import RunDir


def test_a_daemon_that_cannot_create_its_socket_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``refresh`` runs the pass itself then, instead of waiting for a daemon's answer."""
    run = RunDir(tmp_path)
    with SoleManager(run):
        pass
    before = os.listdir("/proc/self/fd")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not manager_runs(run)
    assert len(os.listdir("/proc/self/fd")) == len(before)
