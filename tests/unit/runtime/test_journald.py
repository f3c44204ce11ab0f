# SPDX-License-Identifier: Apache-2.0
"""The journal's native protocol, spoken to a socket that plays the journal."""

import io
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ec2net.core.runtime.journald import JournalHandler, message


def parsed(datagram: bytes) -> dict[str, str]:
    """As journald reads it (journal_importer_process_data): by line, or by length."""
    fields = {}
    while datagram:
        name, sign, rest = datagram.partition(b"\n")[0].partition(b"=")
        if sign:
            fields[name.decode()] = rest.decode()
            datagram = datagram.partition(b"\n")[2]
            continue
        after = datagram[len(name) + 1 :]
        (length,) = struct.unpack("<Q", after[:8])
        fields[name.decode()] = after[8 : 8 + length].decode()
        assert after[8 + length : 9 + length] == b"\n"
        datagram = after[9 + length :]
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.settimeout(10)
        yield listening


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(journal: socket.socket, tmp_path: Path, stream: io.StringIO) -> Iterator[logging.Logger]:
    logger = logging.getLogger("ec2net.test")
    handler = JournalHandler(logging.StreamHandler(stream), tmp_path / "socket")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_a_message_has_its_level_and_its_fields(
    journal: socket.socket, log: logging.Logger
) -> None:
    fields = {"ENI_ID": "eni-0304feb62015b7959", "LINK": "ens6", "ACTION": "add"}
    log.error("ens6: %s", "it's so", extra={"fields": fields})
    assert parsed(journal.recv(65536)) == {
        "MESSAGE": "ens6: it's so",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "ec2net",
        "LOGGER": "ec2net.test",
        **fields,
    }


@pytest.mark.parametrize("text", ["", "a=b", "two\nlines", "\n", "\u00e4\udcff", "x" * 10000])
def test_any_text_arrives_unchanged(journal: socket.socket, log: logging.Logger, text: str) -> None:
    log.warning("%s", text, extra={"fields": {"REASON": text}})
    fields = parsed(journal.recv(65536))
    assert (fields["MESSAGE"], fields["PRIORITY"]) == (text.replace("\udcff", "?"), "4")
    assert fields["REASON"] == fields["MESSAGE"]


def test_an_exception_has_its_traceback(journal: socket.socket, log: logging.Logger) -> None:
    try:
        raise RuntimeError("a plugin's")
    except RuntimeError:
        log.exception("a plugin failed")
    text = parsed(journal.recv(1 << 16))["MESSAGE"]
    assert text.startswith("a plugin failed\nTraceback")
    assert text.endswith("RuntimeError: a plugin's")


def test_an_invalid_log_call_does_not_fail_its_caller(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = log.makeRecord(log.name, logging.INFO, "here", 1, "%d", ("no number",), None)
    log.handlers[0].handle(wrong)  # pytest's own handler raises
    assert "Logging error" in capsys.readouterr().err


def test_a_message_cannot_inject_a_field() -> None:
    assert parsed(message({"REASON": "x\nPRIORITY=0"})) == {"REASON": "x\nPRIORITY=0"}


def test_messages_that_the_journal_refuses_go_to_stderr(
    journal: socket.socket, log: logging.Logger, stream: io.StringIO
) -> None:
    for number in range(5000):
        log.info("line %s", number)  # no process reads: its queue is full soon, and no sender waits
    assert stream.getvalue().endswith("line 4999\n")
    journal.close()
    log.info("after it went")
    assert stream.getvalue().endswith("after it went\n")


def test_without_a_journal_there_is_no_handler(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JournalHandler(logging.NullHandler(), tmp_path / "none")


def test_the_process_ends_after_the_journal_has_read_all(
    journal: socket.socket, tmp_path: Path
) -> None:
    handler = JournalHandler(logging.NullHandler(), tmp_path / "socket")
    handler.handle(logging.makeLogRecord({"name": "x", "msg": "the last"}))
    closing = threading.Thread(target=handler.close)
    closing.start()
    assert b"the last" in journal.recv(65536)
    closing.join(10)
    assert not closing.is_alive()
