# SPDX-License-Identifier: Apache-2.0
"""A systemctl that cannot be run, or fails, ends no pass and is logged."""

import logging
from pathlib import Path

import pytest

from ec2net.core.host.missed_events import end_units
from ec2net.core.runtime.deadline import Deadline


@pytest.mark.parametrize(
    ("program", "why"),
    [
        pytest.param(None, "No such file or directory", id="not installed"),
        pytest.param("#!/bin/sh\necho 'Access denied' >&2; exit 4\n", "Access denied", id="fails"),
    ],
)
def test_units_of_gone_links_that_cannot_be_stopped_are_a_warning(
    program: str | None,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if program is not None:
        (tmp_path / "systemctl").write_text(program)
        (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING, "ec2net.units"):
        end_units(["ec2net@ens6.service"], Deadline(60))
    assert caplog.messages == [f"systemctl stop: {why}", f"systemctl daemon-reload: {why}"]
