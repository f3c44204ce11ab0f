# SPDX-License-Identifier: Apache-2.0
"""What amazon-ec2-net-utils left becomes steps, and nothing of others does."""

from pathlib import Path

import pytest
from other_tools_host import MASKED_RULE, RUN, WHOLE, host

from ec2net.core.migration.net_utils import from_net_utils
from ec2net.core.migration.steps import Command, Delete, Mask, Step, perform
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline


def test_first_what_starts_it_then_what_runs_then_what_it_wrote() -> None:
    """And no file that somebody else put beside its own."""
    assert from_net_utils(WHOLE) == (
        Mask(MASKED_RULE),
        Command(("udevadm", "control", "--reload")),
        Command(
            (
                *("systemctl", "disable", "--now"),
                *("refresh-policy-routes@ens6.timer", "policy-routes@ens6.service"),
            )
        ),
        Delete(f"{RUN}/70-ens5.network"),
        Delete(f"{RUN}/70-ens5.network.d/eni.conf"),
        Delete(f"{RUN}/70-ens6.network"),
        Delete(f"{RUN}/70-ens6.network.d/eni.conf"),
        Delete(f"{RUN}/70-ens6.network.d/ec2net_alias.conf"),
        Delete(f"{RUN}/70-ens6.network.d"),
    )


def test_a_host_that_it_never_was_on_needs_no_step() -> None:
    assert from_net_utils(host()) == ()


def test_steps_are_done_in_their_order_and_can_be_done_again(tmp_path: Path) -> None:
    folder = tmp_path / "70-ens6.network.d"
    folder.mkdir()
    (folder / "eni.conf").write_text("[Match]")
    mask, said = tmp_path / "etc/udev/rules.d/99.rules", tmp_path / "said"
    steps: tuple[Step, ...] = (
        Mask(str(mask)),
        Command(("sh", "-c", f"readlink {mask} >> {said}")),
        Delete(str(folder / "eni.conf")),
        Delete(str(folder)),
    )
    for _ in range(2):
        perform(steps, Deadline(10), subject="migrate")
        assert not folder.exists()
    assert said.read_text() == "/dev/null\n/dev/null\n"


@pytest.mark.parametrize(
    ("command", "seconds", "why"),
    [
        (("sh", "-c", "echo Failed to disable unit >&2; exit 1"), 10.0, "Failed to disable unit"),
        (("false",), 10.0, "exit status 1"),
        (("no-such-command",), 10.0, "No such file or directory"),
        (("sleep", "60"), 0.2, "not done after 0 s"),
    ],
)
def test_a_step_that_fails_ends_the_work_and_says_so(
    tmp_path: Path, command: tuple[str, ...], seconds: float, why: str
) -> None:
    after = tmp_path / "eni.conf"
    after.write_text("")
    with pytest.raises(Ec2netError) as failed:
        perform((Command(command), Delete(str(after))), Deadline(seconds), subject="migrate")
    assert f"run {' '.join(command)}: {why}" in str(failed.value)
    assert "goes on from here" in str(failed.value)
    assert after.exists()


def test_a_folder_with_something_else_in_it_is_not_deleted(tmp_path: Path) -> None:
    """It came after the plan was made."""
    (tmp_path / "mine.conf").write_text("")
    with pytest.raises(Ec2netError, match="Directory not empty"):
        perform((Delete(str(tmp_path)),), Deadline(10), subject="migrate")
    assert (tmp_path / "mine.conf").exists()
