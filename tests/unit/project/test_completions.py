# SPDX-License-Identifier: Apache-2.0
"""Completion in a real zsh and a real fish; tests/unit/project/test_bash_completion.py has bash."""

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path

import fish_completion
import pytest
import zsh_completion
from manual import commands

from ec2net.core.runtime.deadline import Deadline

LIMIT = 60.0
"""Seconds until a shell has answered, however busy the machine is."""

STATUS = "/run/ec2net/status.json"


def with_status(file: Path, folder: Path, *enis: str) -> Path:
    """A copy of a completion that reads the status of a host with these ENIs."""
    status = folder / "status.json"
    status.write_text(" ".join(f'"eni_id": "{eni}"' for eni in enis))
    copy = folder / file.name
    copy.write_text(file.read_text().replace(STATUS, str(status)))
    return copy


def fish(line: str, file: Path = fish_completion.FILE, cwd: Path = Path("/")) -> list[str]:
    """The completions of fish at the end of a line, without descriptions."""
    script = f"source {shlex.quote(str(file))}; complete --do-complete {shlex.quote(line)}"
    done = subprocess.run(
        ["fish", "--no-config", "--command", script],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=cwd,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]


def zsh(line: str, folder: Path, cwd: Path = Path("/")) -> str:
    """The completions that an interactive zsh lists at the end of a line."""
    setup = (
        f"cd {shlex.quote(str(cwd))}; fpath=({shlex.quote(str(folder))} $fpath);"
        "autoload -Uz compinit; compinit -u -D; zstyle ':completion:*' list-colors '';"
        "LISTMAX=10000; bindkey '^G' list-choices; stty rows 200 cols 200;"
        "tell() { print -n $1-is-here }; finish() { tell end }; zle-line-init() { tell line };"
        "zle -N finish; zle -N zle-line-init; bindkey '^T' finish"
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb"})
    try:
        os.write(terminal, f"{setup}\n".encode())
        until(terminal, "line-is-here")
        os.write(terminal, f"{line}\x07\x14".encode())
        return until(terminal, "end-is-here")
    finally:
        os.close(terminal)
        os.kill(process, 9)
        os.waitpid(process, 0)


def until(terminal: int, pattern: str) -> str:
    """The output until the pattern."""
    seen = ""
    deadline = Deadline(LIMIT, "zsh")
    while not re.search(pattern, seen):
        deadline.wait(terminal)
        seen += os.read(terminal, 65536).decode(errors="replace").replace("\r", "")
    return seen


def words(listed: str) -> set[str]:
    return set(re.sub(r"\x1b\[[\d;]*m", "", listed).split())


def test_the_files_are_up_to_date() -> None:
    for module in (fish_completion, zsh_completion):
        assert module.FILE.read_text() == module.script(), (
            "run EC2NET_WRITE=1 pytest tests/unit/project/test_docs.py"
        )


def test_fish_completes_commands() -> None:
    assert {*commands()} <= set(fish("ec2net "))
    assert fish("ec2net re") == sorted(name for name in commands() if name.startswith("re"))
    assert "plan" in fish("ec2net help pl")


@pytest.mark.parametrize("name", list(commands()))
def test_fish_completes_the_options_of_every_command(name: str) -> None:
    long = {o for a in commands()[name]._actions for o in a.option_strings if o.startswith("--")}
    assert set(fish(f"ec2net {name} --")) >= long


def test_fish_completes_links_enis_words_and_files(tmp_path: Path) -> None:
    (tmp_path / "record.json").touch()
    file = with_status(fish_completion.FILE, tmp_path, "eni-0a", "eni-0b")
    assert {"lo", "eni-0a", "eni-0b"} <= set(fish("ec2net status ", file))
    assert "lo" in fish("ec2net remove l")
    assert fish("ec2net plan --color a") == ["always", "auto"]
    assert fish("ec2net plan --imds rec", cwd=tmp_path) == ["record.json"]
    assert fish("ec2net verify l") == []


def test_zsh_completes_commands() -> None:
    assert {*commands()} <= words(zsh("ec2net ", zsh_completion.FILE.parent))


@pytest.mark.parametrize("name", ["plan", "status", "migrate"])
def test_zsh_completes_options(name: str) -> None:
    long = {o for a in commands()[name]._actions for o in a.option_strings if o.startswith("--")}
    assert words(zsh(f"ec2net {name} --", zsh_completion.FILE.parent)) >= long


def test_zsh_completes_links_enis_words_and_files(tmp_path: Path) -> None:
    (tmp_path / "record.json").touch()
    with_status(zsh_completion.FILE, tmp_path, "eni-0a", "eni-0b")
    assert {"lo", "eni-0a", "eni-0b"} <= words(zsh("ec2net status ", tmp_path))
    assert {"always", "auto", "never"} <= words(zsh("ec2net plan --color ", tmp_path))
    assert "record.json" in words(zsh("ec2net plan --imds ", tmp_path, cwd=tmp_path))


def test_zsh_finds_no_error_in_any_command(tmp_path: Path) -> None:
    """A mistake in a specification shows itself only when the command is completed."""
    for name in commands():
        assert "_arguments:" not in zsh(f"ec2net {name} -", zsh_completion.FILE.parent), name
