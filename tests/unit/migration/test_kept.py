# SPDX-License-Identifier: Apache-2.0
"""Files, links and folders are restored with their bytes, modes and owners; a record survives."""

import os
from pathlib import Path

import pytest

from ec2net.core.config.settings import Rival
from ec2net.core.migration.kept import Migrated, all_kept, forget, keep, path_of, read, write
from ec2net.core.model.errors import StateError
from ec2net.core.runtime.deadline import Deadline

SOON = Deadline(10)


def test_each_kind_of_path_is_restored(tmp_path: Path) -> None:
    folder, file, link = tmp_path / "d", tmp_path / "d/f", tmp_path / "l"
    folder.mkdir(mode=0o750)
    file.write_bytes(b"\0\xff bytes\n")
    file.chmod(0o640)
    link.symlink_to("/dev/null")
    new = tmp_path / "mask"
    before = all_kept(map(str, (folder, file, link, new)))
    file.unlink()
    folder.rmdir()
    link.unlink()
    link.write_text("another tool's")
    new.symlink_to("/dev/null")
    for kept in before:
        kept.do(SOON)
    assert all_kept(map(str, (folder, file, link, new))) == before
    assert file.read_bytes() == b"\0\xff bytes\n"
    assert file.stat().st_mode & 0o7777 == 0o640
    assert os.readlink(link) == "/dev/null"
    assert not os.path.lexists(new)


def test_a_socket_is_not_kept(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StateError, match="not a file, a link or a folder"):
        keep(str(tmp_path / "pipe"))


def test_a_record_reads_back_and_can_be_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "ec2net"
    before = Migrated(Rival.NET_UTILS, "now", "boot", ("a.timer",), all_kept([str(tmp_path)]))
    assert read(Rival.NET_UTILS, folder) is None
    write(before, folder)
    assert read(Rival.NET_UTILS, folder) == before
    assert path_of(Rival.NET_UTILS, folder).stat().st_mode & 0o777 == 0o600
    forget(Rival.NET_UTILS, folder)
    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2}', '{"version": 1, "tool": "x"}'])
def test_an_invalid_record_stops_the_way_back(tmp_path: Path, text: str) -> None:
    path_of(Rival.NET_UTILS, tmp_path).write_text(text)
    with pytest.raises(StateError, match="move the record away"):
        read(Rival.NET_UTILS, tmp_path)
