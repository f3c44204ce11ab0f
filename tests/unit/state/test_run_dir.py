# SPDX-License-Identifier: Apache-2.0
"""The state directory: never half written, not written without need, never fatal to read."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ec2net.core.model.errors import StateError
from ec2net.core.state.run_dir import RunDir

NAME = "facts/06:ec:02:00:00:01.json"
OLD, NEW = {"value": 1}, {"value": 2}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def files(run: RunDir) -> list[str]:
    return sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(st.text(), values))
def test_written_content_reads_back(run: RunDir, data: dict[str, Any]) -> None:
    run.write(NAME, data)
    assert run.read(NAME) == data


def test_unchanged_content_is_not_written_again(run: RunDir) -> None:
    """R15: an unchanged pass writes nothing."""
    assert run.write(NAME, OLD) is True
    before = os.stat(run.path / NAME)
    folder = os.stat((run.path / NAME).parent)
    assert run.write(NAME, dict(OLD)) is False
    after = os.stat(run.path / NAME)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.stat((run.path / NAME).parent).st_mtime_ns == folder.st_mtime_ns


def test_a_write_replaces_the_whole_file_at_once(run: RunDir) -> None:
    """A reader that has the old file open continues to read the old content."""
    run.write(NAME, OLD)
    with open(run.path / NAME) as reader:
        run.write(NAME, NEW)
        assert '"value": 1' in reader.read()
    assert run.read(NAME) == NEW
    assert files(run) == [NAME]


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_the_mode_is_right_from_the_start_whatever_the_umask(run: RunDir, mode: int) -> None:
    before = os.umask(0)
    try:
        run.write(NAME, OLD, mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((run.path / NAME).stat().st_mode) == mode


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run.write(NAME, OLD)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StateError, match=r"cannot write .*: No space left on device"):
        run.write(NAME, NEW)
    monkeypatch.undo()
    assert run.read(NAME) == OLD
    assert files(run) == [NAME]


LIMITED = """
import resource, sys
from pathlib import Path
from ec2net.core.model.errors import StateError
from ec2net.core.state.run_dir import RunDir
run = RunDir(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    run.write("status.json", {"value": "x" * 100})
except StateError as error:
    print(error)
"""


def test_a_file_that_does_not_fit_is_one_clear_error_and_nothing_is_lost(run: RunDir) -> None:
    run.write("status.json", OLD)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(run.path)],
        capture_output=True,
        check=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"cannot write {run.path}/status.json: File too large (")
    assert run.read("status.json") == OLD
    assert files(run) == ["status.json"]


def test_only_leftovers_of_killed_writers_are_deleted(run: RunDir) -> None:
    """R25."""
    run.write(NAME, OLD)
    run.write("status.json", OLD)
    for leftover in (".tmp-abc", "facts/.tmp-def"):
        (run.path / leftover).write_text("{")
    assert run.names("facts") == (NAME,)
    # no writer of ec2net created it: it cannot be deleted this way
    (run.path / ".tmp-folder").mkdir()
    run.discard_leftovers()
    assert files(run) == [NAME, "status.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[1]", b"\xff\xfe", b"{" * 10, b"[" * 200_000, b"NaN"]
)
def test_content_that_is_no_object_counts_as_absent(run: RunDir, content: bytes) -> None:
    run.write(NAME, OLD)
    (run.path / NAME).write_bytes(content)
    assert run.read(NAME) is None
    assert run.write(NAME, OLD) is True


def test_a_missing_file_counts_as_absent(run: RunDir) -> None:
    assert run.read(NAME) is None
    assert run.names("facts") == ()
    run.remove(NAME)
    run.discard_leftovers()


def test_a_folder_instead_of_a_file_is_an_error_and_no_crash(run: RunDir) -> None:
    (run.path / NAME).mkdir(parents=True)
    assert run.read(NAME) is None
    with pytest.raises(StateError, match="cannot write"):
        run.write(NAME, OLD)
    with pytest.raises(StateError, match="cannot remove"):
        run.remove(NAME)


def test_a_file_instead_of_the_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(StateError, match=r"cannot write .*: (Not a directory|File exists)"):
        RunDir(tmp_path / "run").write("status.json", OLD)


def test_a_temporary_file_that_was_deleted_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon publishes without the host lock, under which other processes clean up."""
    run, rename = RunDir(tmp_path), os.rename

    def discarded(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        run.discard_leftovers()
        rename(source, target)

    monkeypatch.setattr(os, "rename", discarded)
    assert run.write("a.json", {"a": 1})
    assert run.read("a.json") == {"a": 1}
