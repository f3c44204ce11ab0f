# SPDX-License-Identifier: Apache-2.0
"""The one bound on every wait: it ends in time, is never deaf and makes no periodic calls."""

import os
import resource
import signal
import time
from collections.abc import Iterator

import pytest
from patience import HANGS

from ec2net.core.model.errors import DeadlineExceeded, LinkGone, Stopped
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.signals import StopSignals


class Pipe:
    """A pipe, and as an interruption: ``check`` consumes a byte and raises ``error`` if given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reader, self.writer = os.pipe()
        self.error = error
        self.checked = 0

    def fileno(self) -> int:
        return self.reader

    def check(self) -> None:
        self.checked += 1
        os.read(self.reader, 1)
        if self.error is not None:
            raise self.error

    def write(self) -> None:
        os.write(self.writer, b"x")

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_time_left_is_never_negative() -> None:
    assert Deadline(-1).remaining() == 0
    assert Deadline(0).expired()
    assert 900 < Deadline(1000).remaining() <= 1000


@pytest.mark.parametrize(("seconds", "left"), [(100, 100), (6000, 1000)])
def test_a_part_ends_at_its_own_or_the_whole_deadline(seconds: float, left: float) -> None:
    part = Deadline(1000, "whole").within(seconds, "part")
    assert left - HANGS < part.remaining() <= left
    assert part.what == "part"


def test_a_wait_ends_when_the_descriptor_becomes_ready(pipe: Pipe) -> None:
    pipe.write()
    assert Deadline(5).wait(pipe.reader) is True


def test_a_bounded_wait_reports_that_nothing_arrived(pipe: Pipe) -> None:
    assert Deadline(5).wait(pipe.reader, seconds=0.01) is False


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_the_deadline_ends_a_wait(pipe: Pipe, seconds: float) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=rf"^reading did not end within {seconds:g} s$"):
        Deadline(seconds, "reading").wait(pipe.reader)
    assert seconds <= time.monotonic() - began < HANGS


def test_a_bounded_wait_longer_than_the_deadline_ends_at_it(pipe: Pipe) -> None:
    began = time.monotonic()
    assert Deadline(0.05).wait(pipe.reader, seconds=60) is False
    assert time.monotonic() - began < HANGS


def test_a_wait_for_time_makes_no_periodic_system_calls(pipe: Pipe) -> None:
    """The seed bug: hundreds of waiters that woke up ten times a second."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    with pytest.raises(DeadlineExceeded):
        Deadline(0.4).wait(pipe.reader)
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before <= 3


def test_an_interruption_raises_its_own_error(pipe: Pipe) -> None:
    pipe.error = LinkGone("the link was removed", subject="ens6")
    pipe.write()
    with pytest.raises(LinkGone, match="ens6: the link was removed"):
        Deadline(5, interruptions=[pipe]).wait()


def test_an_interruption_without_an_error_does_not_end_the_wait(pipe: Pipe) -> None:
    """Another link's event."""
    pipe.write()
    assert Deadline(5, interruptions=[pipe]).wait(seconds=0.05) is False
    assert pipe.checked == 1


@pytest.mark.parametrize("form", ["watching", "within", "own"])
def test_a_derived_deadline_is_interrupted_too(pipe: Pipe, form: str) -> None:
    pipe.error = LinkGone("gone")
    pipe.write()
    derived = {
        "watching": lambda: Deadline(5).watching(pipe),
        "within": lambda: Deadline(5, interruptions=[pipe]).within(3, "part"),
        "own": lambda: Deadline(5, interruptions=[pipe]),
    }[form]()
    with pytest.raises(LinkGone):
        derived.check()


def test_after_the_first_change_nothing_interrupts(pipe: Pipe) -> None:
    """Half an apply may cut the host off IMDS."""
    pipe.error = LinkGone("gone")
    pipe.write()
    shielded = Deadline(500, interruptions=[pipe]).shielded()
    shielded.check()
    assert pipe.checked == 0
    assert 400 < shielded.remaining() <= 500


def test_check_raises_when_the_time_is_used_up() -> None:
    Deadline(5).check()
    with pytest.raises(DeadlineExceeded):
        Deadline(0).check()


def test_a_sleep_past_the_deadline_ends_at_it() -> None:
    began = time.monotonic()
    Deadline(60).sleep(0.01)
    with pytest.raises(DeadlineExceeded, match=r"^retrying did not end within 0\.05 s$"):
        Deadline(0.05, "retrying").sleep(60)
    assert time.monotonic() - began < HANGS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait_and_every_later_one(number: signal.Signals) -> None:
    with StopSignals() as signals:
        deadline = Deadline(5, interruptions=[signals])
        deadline.check()
        os.kill(os.getpid(), number)
        for _ in range(2):
            with pytest.raises(Stopped, match=f"stopped by {number.name} before"):
                deadline.wait()


def test_a_signal_during_the_emptying_of_the_pipe_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an answer to a client the daemon slept past SIGTERM until its next poll."""
    read = os.read

    def read_after_a_signal(descriptor: int, count: int) -> bytes:
        os.kill(os.getpid(), signal.SIGTERM)
        return read(descriptor, count)

    with StopSignals() as signals:
        monkeypatch.setattr(os, "read", read_after_a_signal)
        with pytest.raises(Stopped):
            signals.check()
        monkeypatch.undo()
        with pytest.raises(Stopped):  # and every later wait ends
            Deadline(5, interruptions=[signals]).wait()


def test_signal_handlers_are_restored_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("pause", [0, 60])
def test_a_pause_at_an_expired_deadline_is_an_error(pause: float) -> None:
    """A pause of nothing as well: a caller that tries at once, and again, must end."""
    with pytest.raises(DeadlineExceeded, match=r"^reading did not end within 0 s$"):
        Deadline(0, "reading").sleep(pause)
