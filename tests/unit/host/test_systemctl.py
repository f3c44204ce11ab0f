# SPDX-License-Identifier: Apache-2.0
"""Units as systemctl lists them; a systemctl that fails ends no pass and is logged."""

import logging
from pathlib import Path

import pytest

from ec2net.core.host.missed_events import end_units
from ec2net.core.host.systemctl import working_units
from ec2net.core.runtime.deadline import Deadline


@pytest.mark.parametrize(
    ("program", "why"),
    [
        pytest.param(None, "No such file or directory", id="not installed"),
        pytest.param("#!/bin/sh\necho 'Access denied' >&2; exit 4\n", "Access denied", id="fails"),
    ],
)
def test_units_of_removed_links_that_cannot_be_stopped_are_a_warning(
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


LISTS = """#!/bin/sh
case $1 in
list-units) cat <<END
refresh-policy-routes@ens5.service loaded    activating start   start Refresh policy routes for ens5
refresh-policy-routes@ens5.timer   loaded    active     waiting refresh-policy-routes@ens5.timer
policy-routes@ens5.service         masked    active     exited  policy-routes@ens5.service
policy-routes@ens6.service         loaded    inactive   dead    Set up policy routes for ens6
policy-routes@ens7.service         not-found failed     failed  policy-routes@ens7.service
END
;;
list-jobs) echo "$JOBS" ;;
esac
"""


@pytest.mark.parametrize(
    ("jobs", "more"),
    [("No jobs running.", ()), ("123 policy-routes@ens6.service start waiting", ("ens6",))],
)
def test_units_in_transition_and_units_with_a_job_count_as_busy(
    jobs: str, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemctl").write_text(LISTS)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("JOBS", jobs)
    assert working_units(["*policy-routes@*"], Deadline(60)) == (
        "policy-routes@ens5.service",
        *(f"policy-routes@{link}.service" for link in more),
        "refresh-policy-routes@ens5.service",
        "refresh-policy-routes@ens5.timer",
    )
