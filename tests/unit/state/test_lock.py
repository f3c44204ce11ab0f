# SPDX-License-Identifier: Apache-2.0
"""The host lock between real processes."""

import fcntl
import os
import select
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import HANGS

from ec2net.core.daemon.sole import SoleManager, manager_runs
from ec2net.core.model.errors import Ec2netError, LinkGone, StateError
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.lock import HostLock
from ec2net.core.state.run_dir import RunDir

HOLDER = """
import sys
from pathlib import Path
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.lock import HostLock
from ec2net.core.state.run_dir import RunDir
with HostLock(RunDir(Path(sys.argv[1])), Deadline(60)):
    print("held", flush=True)
    sys.stdin.read()
"""

TELLING = HOLDER.replace("with HostLock", 'print("tries", flush=True)\nwith HostLock')
"""Also announces that it tries."""

WAITER = """
import resource, sys
from pathlib import Path
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.model.errors import Ec2netError
from ec2net.core.state.lock import HostLock
from ec2net.core.state.run_dir import RunDir
before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
try:
    HostLock(RunDir(Path(sys.argv[1])), Deadline(1)).__enter__()
except Ec2netError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before, flush=True)
"""


@contextmanager
def running(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=HANGS)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def says(process: subprocess.Popen[str], seconds: float = HANGS) -> str:
    """The next line, or nothing if none arrives in time."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        return ""
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=HANGS)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def attempt(run: RunDir, seconds: float = 0.1) -> None:
    with HostLock(run, Deadline(seconds, "waiting for the host lock")):
        pass


def test_the_lock_is_free_after_use_and_belongs_to_root(run: RunDir) -> None:
    for _ in range(2):
        attempt(run)
    assert stat.S_IMODE((run.path / "lock").stat().st_mode) == 0o600


def test_one_process_holds_the_lock_and_the_next_follows_at_once(run: RunDir) -> None:
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        with running(TELLING, run.path) as second:
            assert says(second) == "tries"
            assert says(second, 0.5) == ""
            end(first)
            assert says(second) == "held"


def test_a_killed_process_releases_the_lock(run: RunDir) -> None:
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        first.kill()
        attempt(run, HANGS)


def test_the_deadline_ends_the_wait_and_names_the_holder(run: RunDir) -> None:
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        began = time.monotonic()
        with pytest.raises(
            Ec2netError, match="host lock: another ec2net process holds the lock"
        ) as caught:
            attempt(run)
        assert "fuser" in caught.value.remedy
        assert time.monotonic() - began < HANGS  # the holder keeps it without end


def test_a_waiter_makes_no_periodic_system_calls(run: RunDir) -> None:
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        with running(WAITER, run.path) as waiter:
            assert 0 < int(says(waiter)) <= 20  # starting its thread takes a few


class Interruption:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.write(self.writer, b"x")

    def fileno(self) -> int:
        return self.reader

    def check(self) -> None:
        raise LinkGone("the link was removed")


def test_a_signal_ends_a_wait_for_the_lock(run: RunDir) -> None:
    interruption = Interruption()
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        deadline = Deadline(HANGS, interruptions=[interruption])
        with pytest.raises(LinkGone), HostLock(run, deadline):
            pass
    os.close(interruption.reader)
    os.close(interruption.writer)


def lock_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ec2net-lock"]


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_an_abandoned_waiter_releases_the_lock_and_leaves_no_descriptor(run: RunDir) -> None:
    """A resident process continues after a wait that failed: it must not hold the lock by
    mistake."""
    for thread in lock_threads():
        thread.join(HANGS)
    before = descriptors()
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        for _ in range(3):
            with pytest.raises(Ec2netError):
                attempt(run)
        end(first)
    for thread in lock_threads():
        thread.join(HANGS)
        assert not thread.is_alive()
    with running(HOLDER, run.path) as other:
        assert says(other) == "held"
    assert descriptors() == before


def test_failed_waits_share_one_thread(run: RunDir) -> None:
    """The daemon retries while another process holds the lock; its unit has 16 tasks."""
    with running(HOLDER, run.path) as first:
        assert says(first) == "held"
        for _ in range(5):
            with pytest.raises(Ec2netError):
                attempt(run, 0.02)
        assert len(lock_threads()) == 1
        with lock_that_is_given_back(run, first):
            assert lock_threads() == [] or not lock_threads()[0].is_alive()
    for thread in lock_threads():
        thread.join(HANGS)


@contextmanager
def lock_that_is_given_back(run: RunDir, holder: subprocess.Popen[str]) -> Iterator[None]:
    """The lock, whose holder ends during the wait."""
    threading.Timer(0.1, end, [holder]).start()
    with HostLock(run, Deadline(HANGS)):
        for thread in lock_threads():
            thread.join(HANGS)
        yield


def mode(run: RunDir) -> int:
    return stat.S_IMODE((run.path / "resident.lock").stat().st_mode)


def test_only_root_can_hold_the_lock_of_the_daemon(run: RunDir) -> None:
    """flock(2) needs only the permission to open the file: any reader can hold a shared lock."""
    run.path.mkdir(parents=True, exist_ok=True)
    (run.path / "resident.lock").touch(mode=0o644)  # the mode of earlier versions
    with SoleManager(run):
        assert mode(run) == 0o600
    (run.path / "resident.lock").unlink()
    with SoleManager(run):
        assert mode(run) == 0o600


def test_any_user_can_see_whether_the_daemon_runs(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = run.path / "resident.lock"
    opened = os.open

    def refusing(path: Path, *rest: int) -> int:
        if path == file:
            raise PermissionError
        return opened(path, *rest)

    assert not manager_runs(run)
    with SoleManager(run):
        assert manager_runs(run)
        monkeypatch.setattr(os, "open", refusing)
        assert manager_runs(run)
    assert not manager_runs(run)
    with file.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not manager_runs(run)


def test_a_directory_that_cannot_be_created_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"cannot open .*/file/run/lock: Not a directory"):
        attempt(RunDir(tmp_path / "file" / "run"))


def test_a_file_removed_between_opening_and_locking_is_noticed(tmp_path: Path) -> None:
    """The lock of a deleted file excludes no process: the next process creates and locks another
    file."""
    lock = HostLock(RunDir(tmp_path), Deadline(5))
    real = lock._take
    times = []

    def take() -> None:
        real()
        times.append(1)
        if len(times) == 1:
            (tmp_path / "lock").unlink()

    lock._take = take  # type: ignore[method-assign]
    with lock:
        assert len(times) == 2
        assert os.path.samestat(os.fstat(lock._descriptor), (tmp_path / "lock").stat())
