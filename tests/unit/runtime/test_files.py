# SPDX-License-Identifier: Apache-2.0
"""Reading and writing files that may be anything: never longer than allowed, never more."""

import os
import threading
import time
from pathlib import Path

import pytest

from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import read, write

LIMIT = 1 << 20
LARGE = b"x" * (1 << 18)
"""More than a pipe holds."""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline(seconds, "the test")


def test_written_content_reads_back(tmp_path: Path) -> None:
    write(tmp_path / "file", b"long ago", soon())
    write(tmp_path / "file", b"now", soon())
    assert read(tmp_path / "file", LIMIT, soon()) == b"now"


def test_a_fifo_with_a_writer_is_read(fifo: Path) -> None:
    got = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    while not got:
        try:
            write(fifo, LARGE, soon())
        except OSError:  # not open at the other end yet
            time.sleep(0.01)
            continue
        reader.join(10)
    assert got == [LARGE]


def test_a_pipe_that_fills_slowly_is_read() -> None:
    reader, writer = os.pipe()

    def fill() -> None:
        for part in (b"one", b"two"):
            time.sleep(0.05)
            os.write(writer, part)
        os.close(writer)

    filler = threading.Thread(target=fill)
    filler.start()
    assert read(Path(f"/proc/self/fd/{reader}"), LIMIT, soon()) == b"onetwo"
    filler.join()
    os.close(reader)


def test_a_fifo_without_a_writer_ends_at_the_deadline(fifo: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        read(fifo, LIMIT, soon(0.1))
    with pytest.raises(OSError, match="no process reads from it"):
        write(fifo, b"x", soon())


def test_a_fifo_with_a_silent_writer_ends_at_the_deadline(fifo: Path) -> None:
    held = os.open(fifo, os.O_RDWR)
    for what in (lambda: read(fifo, LIMIT, soon(0.1)), lambda: write(fifo, LARGE, soon(0.1))):
        with pytest.raises(DeadlineExceeded):
            what()
    os.close(held)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match=f"larger than the limit of {LIMIT} bytes"):
        read(Path("/dev/zero"), LIMIT, soon())


def test_a_full_disk_and_a_folder_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), b"x", soon())
    with pytest.raises(IsADirectoryError):
        read(tmp_path, LIMIT, soon())
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none", LIMIT, soon())
