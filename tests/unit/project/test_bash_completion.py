# SPDX-License-Identifier: Apache-2.0
"""Completion in a real bash, without the package bash-completion."""

import shlex
import subprocess
from pathlib import Path

import bash_completion
import pytest
from manual import commands


def complete(*words: str, cwd: Path = Path("/")) -> list[str]:
    """bash's completions for the last one of ``words``."""
    line = " ".join(shlex.quote(word) for word in ("ec2net", *words))
    script = f"""
        source {shlex.quote(str(bash_completion.FILE))}
        COMP_WORDS=({line}) COMP_CWORD={len(words)}
        _ec2net ec2net
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-u", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=cwd,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_the_file_is_up_to_date() -> None:
    assert bash_completion.FILE.read_text() == bash_completion.script(), (
        "run EC2NET_WRITE=1 pytest tests/unit/project/test_docs.py"
    )


def test_commands_are_completed() -> None:
    assert set(complete("")) >= {*commands(), "--version", "--help"}
    assert complete("re") == ["refresh", "remove", "record"]
    assert complete("--v") == ["--version"]


@pytest.mark.parametrize("name", list(commands()))
def test_options_of_every_command_are_completed(name: str) -> None:
    options = {o for a in commands()[name]._actions for o in a.option_strings}
    assert set(complete(name, "-")) == options


def test_links_are_completed_where_one_is_wanted() -> None:
    assert complete("start", "l") == ["lo"]
    assert complete("remove", "--if-gone", "l") == ["lo"]
    assert "lo" in complete("explain", "")
    assert complete("verify", "l") == []


def test_files_and_folders_are_completed(tmp_path: Path) -> None:
    (tmp_path / "record.json").touch()
    (tmp_path / "recorded").mkdir()
    assert sorted(complete("plan", "--imds", "rec", cwd=tmp_path)) == ["record.json", "recorded"]
    assert complete("status", "--run-dir", "rec", cwd=tmp_path) == ["recorded"]
    assert sorted(complete("record", "rec", cwd=tmp_path)) == ["record.json", "recorded"]
    assert complete("record", "--run", cwd=tmp_path) == ["--run-dir"]


def test_values_that_cannot_be_guessed_are_not_completed() -> None:
    assert complete("start", "--timeout", "") == []
