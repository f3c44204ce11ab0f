# SPDX-License-Identifier: Apache-2.0
"""The parts of a script: steps with commands, events and checks, in the order of the show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ec2net.core.model.errors import ExitStatus
from ec2net.core.simulation.demo.screen import EVERYTHING, Excerpt
from ec2net.core.simulation.demo.stage import Stage


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check. ``reason``: the reason of a failure, or the measured value."""

    ok: bool
    reason: str = ""
    details: tuple[str, ...] = ()
    """Further lines, shown below in any case."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, run in the guest as it stands. Another exit status is a failed check."""

    line: str
    statuses: tuple[int, ...] = (ExitStatus.DONE,)
    """Any of these is right. The demo prints one that is not 0."""
    show: Excerpt = EVERYTHING
    """The part of the output that is shown."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens outside of the guest's command line.

    ``text`` describes the event afterwards, with ``{stage...}`` filled in; "" prints nothing.
    """

    text: str
    happen: Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Check:
    """A claim, and what decides whether it holds."""

    claim: str
    judge: Callable[[Stage], Verdict]


Part: TypeAlias = Command | Event | Check


@dataclass(frozen=True, slots=True)
class Step:
    """A title, and what happens under it."""

    title: str
    parts: tuple[Part, ...]
