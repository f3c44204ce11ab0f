# SPDX-License-Identifier: Apache-2.0
"""A command of the host, run with an end."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline

if TYPE_CHECKING:
    from subprocess import CompletedProcess


def run_bounded(
    command: Sequence[str], limit: Deadline, *, given: str | None = None
) -> "CompletedProcess[str]":
    """Run a command and return its output and exit status. ``given``: its standard input.

    Raises ``OSError`` where it cannot be run, ``subprocess.TimeoutExpired`` when it was killed at
    the deadline.
    """
    import subprocess  # hardly ever needed, and the import takes 3 ms

    seconds = limit.remaining()
    with (
        _readable(given) as stdin,
        limit.looked_at() as look,
        subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is for ec2net, which knows the changes that have begun
        ) as process,
    ):
        try:
            while True:  # ends by deadline
                try:
                    said, complained = process.communicate(timeout=min(limit.remaining(), look()))
                    break
                except subprocess.TimeoutExpired:
                    if limit.expired():
                        raise subprocess.TimeoutExpired(command, seconds) from None
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


class CommandFailed(Ec2netError):
    """A command that cannot be run, did not end in time or failed; the problem says why."""


def output(command: Sequence[str], limit: Deadline) -> str:
    """The standard output of a command. Raises ``CommandFailed``."""
    import subprocess  # as above

    try:
        done = run_bounded(command, limit)
    except OSError as error:
        raise CommandFailed(error.strerror or str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"did not end within {error.timeout:.0f} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split())  # systemctl prints the cause, then the command to run
        raise CommandFailed(said or f"exit status {done.returncode}")
    return done.stdout


@contextmanager
def _readable(given: str | None) -> Iterator[IO[str]]:
    """A file, since communicate() forgets what it has not written yet when it is called again."""
    with open(os.devnull) if given is None else os.fdopen(os.memfd_create("given"), "w+") as file:
        if given is not None:
            file.write(given)
            file.seek(0)
        yield file
