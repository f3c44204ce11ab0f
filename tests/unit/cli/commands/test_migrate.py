# SPDX-License-Identifier: Apache-2.0
"""``migrate``: without a tool it reports on all three; ``--undo`` needs a record and the package."""

from collections.abc import Callable

import pytest
from other_tools_host import WHOLE, host

from ec2net.core.cli.commands import migrate
from ec2net.core.cli.main import main
from ec2net.core.config.settings import Rival
from ec2net.core.host.files import Environment
from ec2net.core.migration import kept
from ec2net.core.migration.kept import Migrated

TOOL = "amazon-ec2-net-utils"
BEFORE = Migrated(Rival.NET_UTILS, "2026-11-29T05:36:37Z", "boot", (), ())

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a host, with a record or without: exit status, output, messages."""

    def call(
        *arguments: str, on: Environment = WHOLE, before: Migrated | None = None
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(migrate, "Environment", lambda: on)
        monkeypatch.setattr(kept, "read", lambda rival: before)
        monkeypatch.setattr(migrate._Migration, "_enis", lambda self: [])
        status = main(["migrate", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_without_a_tool_the_command_reports_each_of_the_three_as_absent(run: Run) -> None:
    status, out, _ = run()
    assert status == 0
    assert f"{TOOL} is active on this host: 2 units are active or enabled" in out
    assert f"  To do this, run: ec2net migrate --from {TOOL} --apply" in out
    assert "nm-cloud-setup is installed" in out
    assert "cloud-netconfig is installed" in out


def test_a_change_needs_the_tool(run: Run) -> None:
    status, _, err = run("--apply")
    assert status == 2
    assert "ec2net migrate --from TOOL" in err


def test_a_plan_says_that_it_changed_nothing(run: Run) -> None:
    status, out, _ = run("--from", TOOL)
    assert status == 0
    assert out.endswith("15 steps; nothing was changed. Add --apply to run them.\n")


def test_migrating_back_needs_a_record(run: Run) -> None:
    status, out, _ = run("--from", TOOL, "--undo", "--apply")
    assert status == 0
    assert out == f"No migration from {TOOL} is recorded: nothing to undo.\n"


def test_migrating_back_needs_the_package(run: Run) -> None:
    """The tool's units cannot start without the package, and no program would configure the
    ENIs."""
    status, _, err = run("--from", TOOL, "--undo", on=host(shipped=()), before=BEFORE)
    assert status == 1
    assert f"the package of {TOOL} is not installed" in err
    status, out, _ = run("--from", TOOL, "--undo", on=host(), before=BEFORE)
    assert status == 0
    assert f"{TOOL} was ended by ec2net at {BEFORE.when}." in out
