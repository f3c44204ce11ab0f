# SPDX-License-Identifier: Apache-2.0
"""resolv.conf is saved, replaced and restored."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ec2net.core.migration import resolv_conf
from ec2net.core.migration.resolv_conf import TARGET, GiveBack, Kept, Kind, Resolve, look
from ec2net.core.runtime.deadline import Deadline

SOON = Deadline(10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    return tmp_path / "aside"


def as_file(path: Path) -> None:
    path.write_bytes(b"nameserver 10.0.0.2\n\xff")
    path.chmod(0o604)
    os.utime(path, (1, 2))


def as_link(path: Path) -> None:
    path.symlink_to("elsewhere/that/is/not/there")


def told(path: Path) -> tuple[object, ...]:
    stat = path.lstat()
    content = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return (stat.st_mode, stat.st_uid, stat.st_ino, stat.st_mtime, content)


@pytest.mark.parametrize("make", [as_file, as_link], ids=["a file", "a dangling link"])
def test_resolv_conf_is_restored(path: Path, aside: Path, make: Callable[[Path], None]) -> None:
    """Bytes, mode, owner, inode, time; repeating each direction has no further effect."""
    make(path)
    was = told(path)
    assert look(path, aside).kind is Kind.OTHER
    assert look(path, aside).problem == ""
    for _ in range(2):
        Resolve(True, path, aside).do(SOON)
        assert os.readlink(path) == TARGET
        assert (look(path, aside).kind, look(path, aside).aside) == (Kind.RESOLVEDS, Kept.ANOTHER)
    for _ in range(2):
        GiveBack(path, aside).do(SOON)
        assert told(path) == was
    assert look(path, aside).aside is Kept.NOTHING


def test_a_kill_before_the_exchange_is_detected(path: Path, aside: Path) -> None:
    as_file(path)
    was = told(path)
    os.link(path, aside)
    assert look(path, aside).aside is Kept.THE_SAME
    assert look(path, aside).problem == ""
    Resolve(True, path, aside).do(SOON)
    GiveBack(path, aside).do(SOON)
    assert told(path) == was


def test_a_saved_copy_is_never_overwritten(path: Path, aside: Path) -> None:
    """Upstream's backup was, at every configuration of its package."""
    as_file(path)
    aside.write_text("the first one")
    assert "already" in look(path, aside).problem


def test_a_missing_file_is_replaced_too(path: Path, aside: Path) -> None:
    assert look(path, aside).kind is Kind.NONE
    Resolve(False, path, aside).do(SOON)
    assert os.readlink(path) == TARGET
    assert not aside.exists()


def test_a_folder_is_not_replaced(path: Path, aside: Path) -> None:
    path.mkdir()
    assert "neither" in look(path, aside).problem


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_an_immutable_file_is_not_replaced(path: Path, aside: Path) -> None:
    as_file(path)
    if subprocess.run(["chattr", "+i", path], check=False, timeout=10).returncode != 0:
        pytest.xfail("this file system has no such flags")
    try:
        assert look(path, aside).problem == "it is immutable"
    finally:
        subprocess.run(["chattr", "-i", path], check=True, timeout=10)


def test_a_mount_is_not_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_file(path)
    monkeypatch.setattr(resolv_conf, "_is_mounted", lambda _: True)
    assert "mounted" in look(path, path.with_name("aside")).problem
