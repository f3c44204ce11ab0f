# SPDX-License-Identifier: Apache-2.0
"""Passes after a change of the program that configures ENIs."""

from argparse import Namespace

import pytest

from ec2net.core.cli.commands import refresh
from ec2net.core.model.errors import ExitStatus
from ec2net.core.runtime.deadline import Deadline

WELL, ILL = ExitStatus.DONE, ExitStatus.FAILED


@pytest.mark.parametrize(
    ("ends", "passes", "pauses", "status"),
    [
        ([WELL, WELL], 2, 0, WELL),
        ([ILL, ILL, WELL, ILL], 3, 2, WELL),
        ([ILL] * 20, 10, 10, ILL),
    ],
)
def test_passes_repeat_until_one_succeeds_or_the_limit_is_reached(
    ends: list[ExitStatus],
    passes: int,
    pauses: int,
    status: ExitStatus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """systemd-networkd 252 learns the primary's default route again after a reload: it needs the
    pause between passes for that."""
    left = iter(ends)
    made: list[Namespace] = []

    def run(options: Namespace) -> ExitStatus:
        made.append(options)
        return next(left)

    monkeypatch.setattr(refresh, "run", run)
    paused: list[float] = []
    monkeypatch.setattr(Deadline, "sleep", lambda _, seconds: paused.append(seconds))
    assert refresh.again(Namespace(json=True, unless_quiet=True, retry=True)) is status
    assert len(made) == passes
    assert paused == [1.0] * pauses


@pytest.mark.parametrize(
    ("states", "changes", "said"),
    [
        (["configured", "configured"], 0, "2 ENIs, nothing to change."),
        (["configured"], 0, "1 ENI, nothing to change."),
        (["configured", "pending", "ignored"], 1, "3 ENIs (1 pending, 1 ignored), 1 change made."),
        (["configured", "configured"], 12, "2 ENIs, 12 changes made."),
    ],
)
def test_a_success_says_what_is_true(states: list[str], changes: int, said: str) -> None:
    document = {"enis": [{"state": state} for state in states], "changes": [{}] * changes}
    assert refresh.summary(document) == said


def test_a_daemon_of_an_earlier_version_gives_no_state() -> None:
    """Its answer to a refresh after an upgrade ended the command with a traceback."""
    document = {"enis": [{"standing": "ready"}], "changes": []}
    assert refresh.summary(document) == "1 ENI (1 ready), nothing to change."
