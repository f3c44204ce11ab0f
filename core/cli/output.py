# SPDX-License-Identifier: Apache-2.0
"""Standard output without anything that a terminal may act upon, but for what this program means.

Names of links and text from files hold any bytes; JSON escapes them by itself.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ec2net.core.model.printable import printable
from ec2net.core.runtime.colour import ALWAYS, chosen

_COLOURS = re.compile(r"(\x1b\[\d{1,2}m)")
_OWN = re.compile(r"(\x1b\[\d{1,2}m|\x1b\[H\x1b\[2J)")
"""Colours, and clearing the screen, which is written to terminals only."""


class _Printable:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        coloured = _COLOURS if chosen() == ALWAYS else None
        self._own = _OWN if stream.isatty() else coloured

    def write(self, text: str) -> int:
        parts = self._own.split(text) if self._own else [text]
        parts[::2] = [printable(part, keep="\n\t") for part in parts[::2]]
        self._stream.write("".join(parts))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def lose_output() -> None:
    """Drop the buffered output: it would fail once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape everything that is printed in the block."""
    before = sys.stdout
    sys.stdout = cast(TextIO, _Printable(before))
    try:
        yield
    finally:
        sys.stdout = before
