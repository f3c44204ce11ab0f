# SPDX-License-Identifier: Apache-2.0
"""Anything at any path under /run/ec2net: no command waits for it or reads more than it may."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ec2net.core.daemon.control import ControlSocket, poke
from ec2net.core.daemon.sole import SoleManager, manager_runs
from ec2net.core.imds.token import TokenStore
from ec2net.core.model.errors import StateError
from ec2net.core.model.identity import Mac
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import regular
from ec2net.core.state import run_dir
from ec2net.core.state.journal import Journals
from ec2net.core.state.lock import HostLock, check_lock
from ec2net.core.state.memory import Memory
from ec2net.core.state.run_dir import RunDir

MAC = Mac.parse("06:ec:02:00:00:01")
SECONDS = 20.0
"""After which a process counts as one that hangs."""


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("other-fifo"))
    path.symlink_to("other-fifo")


def link_to_file(path: Path) -> None:
    path.with_name("other-file").write_text("{}")
    path.symlink_to("other-file")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def folder(path: Path) -> None:
    path.mkdir()


def large(path: Path) -> None:
    """Sparse: it takes no room on the disk."""
    with open(path, "wb") as file:
        file.truncate(run_dir.SIZE_MAX + 1)


ODD: list[Callable[[Path], None]] = [
    fifo,
    endless,
    link_to_fifo,
    link_to_file,
    link_to_itself,
    link_to_nothing,
    folder,
    large,
]

STATE = [
    "status.json",
    "at-boot.json",
    "held.json",
    "imds-token.json",
    "touched-links.json",
    "reload-due.json",
    f"facts/{MAC}.json",
    f"drift/{MAC}.json",
    f"journal/{MAC}.json",
]


def named(name: str) -> str:
    return name.replace(f"{MAC}", "MAC")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
@pytest.mark.parametrize("name", STATE, ids=named)
def test_a_state_file_of_any_kind_cannot_block_a_read(
    run: RunDir, name: str, odd: Callable[[Path], None]
) -> None:
    (run.path / name).parent.mkdir(parents=True)
    odd(run.path / name)
    assert run.read(name) is None
    if odd is folder:
        with pytest.raises(StateError):
            run.write(name, {"value": 1})
        return
    assert run.write(name, {"value": 1})
    assert run.read(name) == {"value": 1}
    assert not (run.path / name).is_symlink()


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_any_remembered_value_can_be_read(run: RunDir, odd: Callable[[Path], None]) -> None:
    for name in STATE:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        if odd in (link_to_fifo, link_to_file):
            name = f"{name}.folder/x"
            (run.path / name).parent.mkdir()
        odd(run.path / name)
    assert Memory.read(run) == Memory()
    assert Journals(run).read(MAC, 3).empty
    assert TokenStore(run).load() is None


@pytest.mark.parametrize("odd", [fifo, endless, link_to_fifo, link_to_file, folder],
                         ids=lambda odd: odd.__name__)  # fmt: skip
def test_a_lock_that_is_no_regular_file_is_refused_with_a_remedy(
    run: RunDir, odd: Callable[[Path], None]
) -> None:
    run.path.mkdir()
    odd(run.path / "lock")
    with pytest.raises(StateError, match="remove it"):
        check_lock(run)
    with pytest.raises(StateError, match="remove it"), HostLock(run, Deadline(1, "the test")):
        pass


@pytest.mark.parametrize("odd", [fifo, endless, link_to_fifo, link_to_file, folder],
                         ids=lambda odd: odd.__name__)  # fmt: skip
def test_a_daemon_lock_that_is_no_regular_file_has_no_holder(
    run: RunDir, odd: Callable[[Path], None]
) -> None:
    run.path.mkdir()
    odd(run.path / "resident.lock")
    assert not manager_runs(run)
    with pytest.raises(StateError, match="remove it"), SoleManager(run):
        pass


@pytest.mark.parametrize("odd", [fifo, endless, link_to_fifo, link_to_file],
                         ids=lambda odd: odd.__name__)  # fmt: skip
def test_a_path_that_is_no_socket_is_not_asked_and_is_replaced(
    run: RunDir, odd: Callable[[Path], None]
) -> None:
    run.path.mkdir()
    with ControlSocket(run):
        (name,) = os.listdir(run.path)
    odd(run.path / name)
    assert poke(run, Deadline(1, "the test")) is None
    with ControlSocket(run):
        assert (run.path / name).is_socket()


@pytest.mark.parametrize("odd", [fifo, endless, large], ids=lambda odd: odd.__name__)
def test_status_ends_whatever_its_file_is(tmp_path: Path, odd: Callable[[Path], None]) -> None:
    odd(tmp_path / "status.json")
    command = [sys.executable, "-m", "ec2net", "status", "--run-dir", str(tmp_path)]
    done = subprocess.run(command, timeout=SECONDS, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 200))
def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path, data: bytes, limit: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    if len(data) > limit:
        with pytest.raises(OSError, match="larger than"):
            regular(path, limit)
    else:
        assert regular(path, limit) == data


def test_a_symbolic_link_is_followed_only_on_request(tmp_path: Path) -> None:
    link_to_file(tmp_path / "link")
    assert regular(tmp_path / "link", 10, follow=True) == b"{}"
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        regular(tmp_path / "link", 10)
