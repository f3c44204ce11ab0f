# SPDX-License-Identifier: Apache-2.0
"""Whether output has colours: the option ``--color``, NO_COLOR (no-color.org), and the terminal."""

import os
from typing import TextIO

AUTO, ALWAYS, NEVER = WHEN = ("auto", "always", "never")
"""The values of ``--color``."""

GREEN, YELLOW, RED = "32", "33", "31"

_chosen = AUTO


def choose(when: str) -> None:
    """Set the choice of the command line for this process."""
    global _chosen
    _chosen = when


def chosen() -> str:
    """The choice of the command line."""
    return _chosen


def colours(stream: TextIO) -> bool:
    """Whether to use colour: as chosen; else on a terminal, unless NO_COLOR is set."""
    if _chosen != AUTO:
        return _chosen == ALWAYS
    return stream.isatty() and not os.environ.get("NO_COLOR")


def painted(text: str, code: str) -> str:
    """The text in one colour; an empty code leaves it plain."""
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
