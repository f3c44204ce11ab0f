# SPDX-License-Identifier: Apache-2.0
"""What amazon-ec2-net-utils left on a running host, as steps that take it away: planned, then done.

Nothing but its own is named: the files that its library writes (2.7.4: create_interface_config,
create_rules, create_ipv4_aliases), its udev rule, and the units that this starts. Its lock folder
in /run harms nobody and stays until the next boot.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ec2net.core.command import run_bounded
from ec2net.core.deadline import Deadline
from ec2net.core.environment import Environment
from ec2net.core.errors import Ec2netError
from ec2net.core.othertools import NET_UTILS_MASK, net_utils_at_work

FOLDER = "/run/systemd/network"
BASE = "/usr/lib/systemd/network/80-ec2.network"
"""What its file of each link is a symbolic link to."""
DROP_INS = ("eni.conf", "ec2net_policy_4.conf", "ec2net_policy_6.conf", "ec2net_alias.conf")

_SUFFIX = ".network"


@dataclass(frozen=True, slots=True)
class Mask:
    """A symbolic link to /dev/null, by which a file of the same name elsewhere does not count."""

    path: str

    def describe(self) -> str:
        return f"mask {self.path}"

    def undo(self) -> str:
        """The command that takes it back."""
        return f"rm {self.path} && udevadm control --reload"


@dataclass(frozen=True, slots=True)
class Delete:
    """A file of this boot, or a folder if nothing else is left in it."""

    path: str

    def describe(self) -> str:
        return f"delete {self.path}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the host."""

    words: tuple[str, ...]

    def describe(self) -> str:
        return f"run {' '.join(self.words)}"


Step: TypeAlias = Mask | Delete | Command


def from_net_utils(environment: Environment) -> tuple[Step, ...]:
    """The steps, in their order; none where it left nothing. Done again, they go on where they ended.

    First what would start it again, then what runs, then what that wrote. What it made in the
    kernel is systemd-networkd's, which takes it back when it reads its files again.
    """
    units, rule = net_utils_at_work(environment)
    steps: list[Step] = []
    if rule:
        steps += [Mask(NET_UTILS_MASK), Command(("udevadm", "control", "--reload"))]
    if units:
        # The timers first: one that goes off would start its service again.
        names = sorted(units, key=lambda name: (not name.endswith(".timer"), name))
        steps.append(Command(("systemctl", "disable", "--now", *names)))
    return (*steps, *_files(environment))


def _files(environment: Environment) -> Iterator[Delete]:
    for name in environment.list_folder(FOLDER):
        path = f"{FOLDER}/{name}"
        if name.endswith(f"{_SUFFIX}.d"):
            there = environment.list_folder(path)
            # eni.conf is in each folder of its, and nobody else's files have these names.
            if "eni.conf" in there:
                yield from (Delete(f"{path}/{own}") for own in DROP_INS if own in there)
                if set(there) <= set(DROP_INS):
                    yield Delete(path)
        elif name.endswith(_SUFFIX) and environment.read_link(path) == BASE:
            yield Delete(path)


def perform(steps: Sequence[Step], deadline: Deadline) -> None:
    """All of them, in their order. Raises ``Ec2netError`` with the step that failed: those before it
    are done, and those after it are not."""
    for step in steps:
        try:
            _perform(step, deadline)
        except OSError as error:
            raise _failed(step, error.strerror or str(error)) from error


def _perform(step: Step, deadline: Deadline) -> None:
    """Raises ``OSError``."""
    match step:
        case Mask(path=path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if not (os.path.islink(path) and os.readlink(path) == "/dev/null"):
                os.symlink("/dev/null", path)  # not in place of a file of the administrator's
        case Delete(path=path):
            with suppress(FileNotFoundError):
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rmdir(path)
                else:
                    os.unlink(path)
        case Command(words=words):
            _run(step, words, deadline)


def _run(step: Command, words: Sequence[str], deadline: Deadline) -> None:
    import subprocess  # as in core.command

    try:
        done = run_bounded(words, deadline.named(" ".join(words)))
    except subprocess.TimeoutExpired as error:
        raise _failed(step, f"not done after {error.timeout:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _failed(step, said[-1] if said else f"exit status {done.returncode}")


def _failed(step: Step, why: str) -> Ec2netError:
    return Ec2netError(
        f"{step.describe()}: {why}",
        subject="migrate",
        remedy="what came before it is done; the same command goes on from here",
    )
