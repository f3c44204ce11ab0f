# SPDX-License-Identifier: Apache-2.0
"""How the demo looks: titles, commands with shortened output, ticks and crosses.

Colour where the user wants it; where the encoding has no tick, words stand for it.
"""

import re
from dataclasses import dataclass
from typing import TextIO

from ec2net.core.runtime.colour import colours

_BOLD, _DIM, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
_DIFF = {"+": _GREEN, "~": _YELLOW, "-": _RED, "!": _RED}


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Which lines of a command's output are shown; how many are not is said at the end."""

    hide: str = r"(?!)"
    """A regular expression: lines in which it is found are left out."""
    first: int = 1000
    """The most lines of the others."""

    def of(self, text: str) -> list[str]:
        """The shown lines, and one that counts the others."""
        lines = text.splitlines()
        shown = [line for line in lines if not re.search(self.hide, line)][: self.first]
        hidden = len(lines) - len(shown)
        return [*shown, f"... and {hidden} more line{'s' * (hidden > 1)}"] if hidden else shown


EVERYTHING = Excerpt()


class Screen:
    """Writes to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = colours(stream)
        try:
            "✔✘".encode(stream.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            self._marks = {True: "ok", False: "FAILED"}
        else:
            self._marks = {True: "✔", False: "✘"}

    def title(self, text: str) -> None:
        self._line(f"\n{self._paint(text, _BOLD)}")

    def say(self, text: str) -> None:
        self._line(f"  {text}")

    def event(self, text: str) -> None:
        self._line(f"  {self._paint(f'# {text}', _DIM)}")

    def command(self, line: str) -> None:
        self._line(f"  $ {self._paint(line, _BOLD)}")

    def output(self, text: str, excerpt: Excerpt) -> None:
        """A command's output, indented; lines of a diff get its colours."""
        for line in excerpt.of(text):
            sign = re.match(r"(?:ec2net: \w+: \S+: |\s+)?([-+~!]) ", line)
            self._line(f"    {self._paint(line, _DIFF[sign[1]]) if sign else line}".rstrip())

    def verdict(self, ok: bool, claim: str, reason: str) -> None:
        """A tick or a cross with the claim; ``reason`` is why not, or what was measured."""
        mark = self.mark(ok)
        if ok:
            self._line(f"  {mark} {claim}{f' ({reason})' if reason else ''}")
        else:
            self._line(f"  {mark} {claim}: {reason or 'the check failed'}")

    def mark(self, ok: bool) -> str:
        return self._paint(self._marks[ok], _GREEN if ok else _RED)

    def detail(self, text: str) -> None:
        """Ticks and crosses inside of a detail are painted and respelt as all others."""
        for ok, sign in ((True, "✔"), (False, "✘")):
            text = text.replace(sign, self.mark(ok))
        self._line(f"      {text}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
