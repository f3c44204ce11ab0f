# SPDX-License-Identifier: Apache-2.0
"""The steps of a plan that changes a running host: printed first, then run in order.

Each step can run twice, so a plan that ended in the middle continues.
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
    """One change of the host."""

    def describe(self) -> str:
        """A few words for the plan and for messages."""

    def do(self, deadline: Deadline) -> None:
        """Make the change. Raises ``OSError`` or ``Ec2netError``."""


class StepFailed(Ec2netError):
    """A step failed; the problem names the step and the cause."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A symbolic link to /dev/null, so that systemd or udev ignores a file of that name elsewhere."""

    path: str

    def describe(self) -> str:
        return f"mask {self.path}"

    def do(self, deadline: Deadline) -> None:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        if not (os.path.islink(self.path) and os.readlink(self.path) == "/dev/null"):
            os.symlink("/dev/null", self.path)  # never replace a file of the administrator's


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link. It replaces another link, but no file."""

    path: str
    target: str

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"

    def do(self, deadline: Deadline) -> None:
        if os.path.lexists(self.path) and not os.path.islink(self.path):
            raise FileExistsError(0, "it is not a symbolic link")
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        replace_by_link(self.path, self.target)


def replace_by_link(path: str, target: str) -> None:
    """Replace the file at ``path`` by a symbolic link, atomically. Raises ``OSError``."""
    temporary = f"{path}.ec2net-{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # left by a killed process with the same number
    os.symlink(target, temporary)
    os.rename(temporary, path)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a file, a link or an empty folder."""

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
    """Run a command of the host."""

    words: tuple[str, ...]

    def describe(self) -> str:
        return f"run {' '.join(self.words)}"

    def do(self, deadline: Deadline) -> None:
        output(self.words, deadline.named(" ".join(self.words)))


@dataclass(frozen=True, slots=True)
class Work:
    """Work of the program itself."""

    text: str
    work: Callable[[Deadline], None]

    def describe(self) -> str:
        return self.text

    def do(self, deadline: Deadline) -> None:
        self.work(deadline)


def as_plan(steps: Sequence[Step], remarks: Sequence[str] = (), *, apply: bool) -> str:
    """The plan as text. Without ``apply`` a last line says that nothing was changed, and how to apply."""
    lines = [*(step.describe() for step in steps), *(f"! {remark}" for remark in remarks)]
    if not apply:
        lines.append(f"{len(steps)} steps; nothing was changed. Add --apply to run them.")
    return "\n".join(lines)


def perform(
    steps: Sequence[Step],
    deadline: Deadline,
    *,
    subject: str,
    remedy: str = "the steps before it are done; run the same command again to continue",
) -> None:
    """Do all steps in order. Raises ``StepFailed`` at the first failure: the steps before it are done,
    and the steps after it are not."""
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
