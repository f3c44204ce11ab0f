# SPDX-License-Identifier: Apache-2.0
"""The output of a long wait: on a real terminal, elsewhere, and nothing for a short one."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import HANGS

from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.runtime import progress
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline

LOCKER = """
import sys
from pathlib import Path
from ec2net.core.runtime import progress
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.lock import HostLock
from ec2net.core.state.run_dir import RunDir
progress.set_up()
with HostLock(RunDir(Path(sys.argv[1])), Deadline(60, "refresh")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("what", "seconds", "text"),
    [
        ("waiting for the host lock", 27.2, "waiting for the host lock (28 s at most)"),
        ("reading IMDS", 3.0, "reading IMDS (3 s at most)"),
        ("reading IMDS", 0.0, "reading IMDS (0 s at most)"),
        ("writing a\n\x1b[2Jb", 1, "writing a??[2Jb (1 s at most)"),
    ],
)
def test_the_line_names_the_reason_and_the_remaining_seconds(
    what: str, seconds: float, text: str
) -> None:
    assert progress.line(what, seconds) == text


class Screen:
    """A separate terminal, and the output to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.written = ""

    def read(self, word: str) -> None:
        """Until ``word`` was written."""
        deadline = Deadline(HANGS, f"the terminal: {word}")
        while word not in self.written:
            deadline.wait(self.ours)
            self.written += os.read(self.ours, 4096).decode()

    @property
    def shown(self) -> list[str]:
        """The lines as a person sees them: after CR, output overwrites the line."""
        lines = []
        for text in self.written.replace("\r\n", "\n").split("\n"):
            line = ""
            for part in text.split("\r"):
                line = part + line[len(part) :]
            lines.append(line.rstrip())
        return [line for line in lines if line]

    def told(self) -> list[str]:
        """The lines shown one after the other on one row."""
        return [part.strip() for part in self.written.split("\r") if "at most" in part]


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    os.close(made.ours)
    os.close(made.theirs)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> Iterator[Screen]:
    """The terminal of this process, where 0.1 s is long and each 0.1 s has its own line."""
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    monkeypatch.setattr(progress, "EACH", 0.1)
    with open(screen.theirs, "w", closefd=False) as stream:
        monkeypatch.setattr(Deadline, "onlooker", progress.AtTerminal(stream))
        yield screen


WAITS = r"ec2net: waiting for link ghost0 \((\d+) s at most\)"


def ghost(run_dir: Path, seconds: float) -> list[str]:
    """The program, waiting for a link that never appears."""
    places = ["--run-dir", str(run_dir), "--config-root", str(run_dir)]
    return [sys.executable, "-m", "ec2net", "start", "ghost0", "--timeout", f"{seconds}", *places]


def test_a_terminal_counts_down_in_one_line_that_disappears(screen: Screen, tmp_path: Path) -> None:
    with subprocess.Popen(ghost(tmp_path, 4.9), stderr=screen.theirs) as process:
        assert process.wait(HANGS) == 3
    screen.read("appeared")
    told = [re.fullmatch(WAITS, line) for line in screen.told()]
    left = [int(line[1]) for line in told if line]
    assert len(left) == len(told) >= 2  # four, unless the machine was busy
    assert left == sorted({*left} & {4, 3, 2, 1}, reverse=True)
    assert screen.shown == ["ec2net: ghost0: no such link appeared within 4.9 s"]


IN_BACKGROUND = """
import fcntl, subprocess, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
sys.exit(subprocess.call(sys.argv[1:], process_group=0))
"""


def test_a_background_process_prints_nothing_to_the_terminal(
    screen: Screen, tmp_path: Path
) -> None:
    """A user types there; and with ``stty tostop`` a process that holds the lock would stop."""
    command = [sys.executable, "-c", IN_BACKGROUND, *ghost(tmp_path, 1.9)]
    with subprocess.Popen(command, stderr=screen.theirs, start_new_session=True) as process:
        assert process.wait(HANGS) == 3
    screen.read("appeared")
    assert screen.told() == []


@pytest.mark.parametrize("verbose", [True, False])
def test_a_pipe_gets_one_line_if_requested(tmp_path: Path, verbose: bool) -> None:
    command = ghost(tmp_path, 1.9) + ["-v"] * verbose
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    *told, last = done.stderr.splitlines()
    assert last == "ec2net: ghost0: no such link appeared within 1.9 s"
    assert len(told) == verbose
    assert all(re.fullmatch(WAITS, line.replace("DEBUG: ", "")) for line in told)


def test_the_line_disappears_when_the_lock_is_free(screen: Screen, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCKER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with subprocess.Popen(
            command, stdin=pipe, stdout=screen.theirs, stderr=screen.theirs
        ) as it:
            screen.read("ec2net: waiting for the host lock (5")  # 59 s at most
            first.communicate(timeout=HANGS)
            screen.read("held")
            it.communicate(timeout=HANGS)
    assert screen.shown == ["held"]


def test_a_signal_ends_a_wait_that_is_shown(screen: Screen, tmp_path: Path) -> None:
    with subprocess.Popen(ghost(tmp_path, 60), stderr=screen.theirs) as process:
        screen.read("s at most)")
        process.send_signal(signal.SIGINT)
        process.wait(HANGS)
    screen.read("stopped")
    assert screen.shown == ["ec2net: stopped by SIGINT before anything was changed"]


def test_the_part_with_a_known_end_is_shown(impatient: Screen) -> None:
    """Neither the command, which the user typed, nor the running request."""
    whole = Deadline(30, "refresh")
    request = whole.within(20, "refresh").within(10, "reading IMDS").within(2, "GET /latest/mac")
    request.watching().shielded().wait(seconds=0.9)
    impatient.read("ec2net: reading IMDS (10 s at most)")


def test_many_short_waits_count_as_one_long_one(
    impatient: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LULL", HANGS)
    for _ in range(20):
        Deadline(9.9, "reading IMDS").sleep(0.08)
    impatient.read("ec2net: reading IMDS (10 s at most)")


def test_short_waits_with_work_in_between_stay_separate(
    impatient: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LULL", 0.0)
    for _ in range(4):
        Deadline(9.9, "reading IMDS").sleep(0.08)
    os.write(impatient.theirs, b"end")
    impatient.read("end")
    assert impatient.written == "end"


def test_a_stopped_terminal_stops_no_wait(impatient: Screen) -> None:
    os.write(impatient.ours, b"\x13")  # Ctrl-S
    began = time.monotonic()
    Deadline(3 * HANGS, "reading IMDS").sleep(0.3)
    assert time.monotonic() - began < HANGS
    os.write(impatient.ours, b"\x11")


def test_a_closed_terminal_is_ignored(impatient: Screen) -> None:
    replaced = os.open("/dev/null", os.O_RDWR)
    os.dup2(replaced, impatient.ours)  # its other end is hung up
    os.close(replaced)
    Deadline(30, "reading IMDS").sleep(0.3)


class Recorder:
    """A watcher that wants frequent calls."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.open = 0

    def begin(self) -> None:
        self.open += 1

    def look(self, what: str, seconds: float) -> float:
        self.seen.append(what)
        return 0.05

    def end(self) -> None:
        self.open -= 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(Deadline, "onlooker", made)
    return made


def test_commands_of_the_host_show_a_line_too(recorder: Recorder) -> None:
    script = "sleep 1; echo said; echo complained >&2; exit 3"
    done = run_bounded(["sh", "-c", script], Deadline(HANGS, "migrate").named("sh"))
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "complained\n")
    assert recorder.seen.count("sh") >= 3
    assert recorder.open == 0


def test_a_command_gets_all_of_its_input_however_slowly_it_reads(recorder: Recorder) -> None:
    given = "a line\n" * 50_000  # more than a pipe holds
    done = run_bounded(["sh", "-c", "sleep 1; cat"], Deadline(HANGS, "cat"), given=given)
    assert done.stdout == given
    assert recorder.seen.count("cat") >= 3


def test_a_command_may_end_before_it_has_read_its_input() -> None:
    done = run_bounded(["false"], Deadline(HANGS, "false"), given="a line\n" * 50_000)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_command_of_the_host_is_killed_at_the_deadline(recorder: Recorder) -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        run_bounded(["sleep", "600"], Deadline(0.3, "sleep"))
    assert 0 <= caught.value.timeout <= 0.3
    assert time.monotonic() - began < HANGS
    assert recorder.open == 0


def test_a_wait_that_fails_ends_its_line(recorder: Recorder) -> None:
    with pytest.raises(DeadlineExceeded):
        Deadline(0.01, "x").wait()
    Deadline(5, "x").check()
    assert recorder.seen == ["x"] * len(recorder.seen)
    assert recorder.open == 0


@pytest.mark.parametrize(("command", "tells"), [("status", "InLog"), ("run", "NoneType")])
def test_the_daemon_waits_without_a_line(command: str, tells: str) -> None:
    script = (
        "from ec2net.core.cli.main import main\n"
        "from ec2net.core.runtime.deadline import Deadline\n"
        "main()\n"
        "print(type(Deadline.onlooker).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, command, "-v", "--run-dir", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.stdout == f"{tells}\n"
