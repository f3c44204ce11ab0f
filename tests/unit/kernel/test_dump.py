# SPDX-License-Identifier: Apache-2.0
"""Dumps whose answers a test writes, as the kernel sends them."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from ec2net.core.kernel import dump, wire

NEWRULE, DONE, ERROR = 32, 3, 2
INTERRUPTED = 0x10
PRIORITY = 6
"""FRA_PRIORITY."""


def message(kind: int, sequence: int, body: bytes, *, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def rule(priority: int, sequence: int, *, flags: int = 0) -> bytes:
    body = struct.pack("=12B", 2, *[0] * 11) + struct.pack("=HHI", 8, PRIORITY, priority)
    return message(NEWRULE, sequence, body, flags=flags)


def end(sequence: int, code: int = 0, *, kind: int = DONE, flags: int = 0) -> bytes:
    return message(kind, sequence, struct.pack("=i", code), flags=flags)


class Answered:
    """A socket for dumps, and the kernel's end of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.check: Callable[[], None] = lambda: None
        self.dumps = dump.Dumps(lambda: self.check())
        self.dumps.close()
        monkeypatch.setattr(self.dumps, "_socket", ours, raising=True)
        self.kernel.settimeout(0)

    def priorities(self) -> list[int]:
        return self.dumps.read(wire.RULES, lambda found: int(found.get_attr("FRA_PRIORITY")))

    def asked(self) -> int:
        """How many dumps were requested."""
        count = 0
        while True:  # ends when the queue is empty
            try:
                self.kernel.recv(wire.BUFFER)
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answered]:
    made = Answered(monkeypatch)
    yield made
    made.dumps.close()
    made.kernel.close()


def test_an_interrupted_dump_is_read_again(answered: Answered) -> None:
    """A skipped rule would be added twice, and a repeated one would be removed."""
    answered.kernel.send(rule(1, 1) + rule(2, 1, flags=INTERRUPTED))
    answered.kernel.send(end(1))
    answered.kernel.send(rule(1, 2) + rule(2, 2) + rule(3, 2))
    answered.kernel.send(end(2))
    assert answered.priorities() == [1, 2, 3]
    assert answered.asked() == 2


def test_the_end_of_a_dump_can_report_an_interruption_too(answered: Answered) -> None:
    answered.kernel.send(rule(1, 1) + end(1, flags=INTERRUPTED))
    answered.kernel.send(rule(2, 2) + end(2))
    assert answered.priorities() == [2]


def test_a_list_that_keeps_changing_is_accepted_at_last(answered: Answered) -> None:
    for sequence in range(1, 5):
        answered.kernel.send(rule(sequence, sequence, flags=INTERRUPTED) + end(sequence))
    assert answered.priorities() == [3]
    assert answered.asked() == 3


def test_answers_to_an_abandoned_dump_do_not_mix_with_the_next_one(
    answered: Answered,
) -> None:
    answered.kernel.send(rule(7, 99) + end(99))
    answered.kernel.send(rule(1, 1) + end(1))
    assert answered.priorities() == [1]


@pytest.mark.parametrize("kind", [DONE, ERROR])
def test_a_failed_dump_is_an_error_and_no_empty_list(answered: Answered, kind: int) -> None:
    answered.kernel.send(rule(1, 1) + end(1, -errno.ENOMEM, kind=kind))
    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        answered.priorities()
    assert caught.value.errno == errno.ENOMEM


def test_the_check_of_a_long_dump_can_end_it(answered: Answered) -> None:
    """In a new process the dumps of the largest host take seconds: a command overran its deadline."""
    calls: list[int] = []

    def check() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise TimeoutError

    answered.check = check
    for first in range(0, 1000, 100):
        answered.kernel.send(b"".join(rule(n, 1) for n in range(first, first + 100)))
    answered.kernel.send(end(1))
    with pytest.raises(TimeoutError):
        answered.priorities()
    assert len(calls) == 3
    answered.check = lambda: None
    answered.kernel.send(rule(7, 2) + end(2))
    assert answered.priorities() == [7]
