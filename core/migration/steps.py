# SPDX-License-Identifier: Apache-2.0
"""What is done to a running host by a command with a plan: steps, told first, then done in their order.

Each can be done again where it was done before, so that a plan which ended in its middle goes on.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.command import output
from ec2net.core.runtime.deadline import Deadline


class Step(Protocol):
    """One of them."""

    def describe(self) -> str:
        """In a few words, for the plan and for messages."""

    def do(self, deadline: Deadline) -> None:
        """Raises ``OSError`` or ``Ec2netError``."""


class StepFailed(Ec2netError):
    """What could not be done, and why."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A symbolic link to /dev/null, by which a file of the same name elsewhere does not count."""

    path: str

    def describe(self) -> str:
        return f"mask {self.path}"

    def undo(self) -> str:
        """The command that takes it back."""
        return f"rm {self.path} && udevadm control --reload"

    def do(self, deadline: Deadline) -> None:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        if not (os.path.islink(self.path) and os.readlink(self.path) == "/dev/null"):
            os.symlink("/dev/null", self.path)  # not in place of a file of the administrator's


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, also in place of another one; not of a file."""

    path: str
    target: str

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"

    def do(self, deadline: Deadline) -> None:
        if os.path.lexists(self.path) and not os.path.islink(self.path):
            raise FileExistsError(0, "it is no symbolic link")
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        replace_by_link(self.path, self.target)


def replace_by_link(path: str, target: str) -> None:
    """A symbolic link in place of whatever file is there, at once. ``OSError``."""
    temporary = f"{path}.ec2net-{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # of a killed one with the same number
    os.symlink(target, temporary)
    os.rename(temporary, path)


@dataclass(frozen=True, slots=True)
class Delete:
    """A file or a link, or a folder if nothing else is left in it."""

    path: str

    def describe(self) -> str:
        return f"delete {self.path}"

    def do(self, deadline: Deadline) -> None:
        with suppress(FileNotFoundError):
            if os.path.isdir(self.path) and not os.path.islink(self.path):
                os.rmdir(self.path)
            else:
                os.unlink(self.path)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the host."""

    words: tuple[str, ...]

    def describe(self) -> str:
        return f"run {' '.join(self.words)}"

    def do(self, deadline: Deadline) -> None:
        output(self.words, deadline.named(" ".join(self.words)))


@dataclass(frozen=True, slots=True)
class Work:
    """Something that the program does itself."""

    text: str
    work: Callable[[Deadline], None]

    def describe(self) -> str:
        return self.text

    def do(self, deadline: Deadline) -> None:
        self.work(deadline)


def as_plan(steps: Sequence[Step], remarks: Sequence[str] = (), *, apply: bool) -> str:
    """For people, before anything is done; ``apply``: it will be, else how to have it done is told."""
    lines = [*(step.describe() for step in steps), *(f"! {remark}" for remark in remarks)]
    if not apply:
        lines.append(f"{len(steps)} steps; nothing was changed. With --apply they are done.")
    return "\n".join(lines)


def perform(
    steps: Sequence[Step],
    deadline: Deadline,
    *,
    subject: str,
    remedy: str = "what came before it is done; the same command goes on from here",
) -> None:
    """All of them, in their order. Raises ``StepFailed`` for the one that failed: those before it
    are done, and those after it are not."""
    for step in steps:
        try:
            step.do(deadline)
        except OSError as error:
            why = error.strerror or str(error)
        except Ec2netError as error:
            why = str(error)
        else:
            continue
        raise StepFailed(f"{step.describe()}: {why}", subject=subject, remedy=remedy)
