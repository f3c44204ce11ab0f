# SPDX-License-Identifier: Apache-2.0
"""The Markdown of our manual pages as roff (man(7) macros). Pure.

The source has headings of two levels, paragraphs, lists of points, lists of definitions (a line
with the term, then ``: `` and its text), indented samples, `code` and *words* to fill in. Anything
else is text.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator

_INLINE = re.compile(r"`([^`]+)`|\*([^*\n]+)\*")


def page(markdown: str, name: str, section: int, description: str) -> str:
    """A whole page."""
    head = [
        '.\\" SPDX-License-Identifier: Apache-2.0',
        '.\\" Generated from a source in packaging/man by packaging/manual.py: change that.',
        # packaging/release.py fills in the date and the version.
        f'.TH "{name.upper()}" "{section}" "@PUBLISHED@" "ec2net @VERSION@" "ec2net manual"',
        ".SH NAME",
        f"{text(name)} \\- {text(description)}",
    ]
    return "\n".join([*head, *_without_empty_paragraphs(_blocks(markdown))]) + "\n"


def _without_empty_paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """A heading begins a paragraph itself."""
    before = ""
    for line in lines:
        if line != ".PP" or not before.startswith((".SH", ".SS")):
            yield line
        before = line


def text(words: str) -> str:
    """Prose, with its inline markup, on one line that no macro can be mistaken for."""
    parts = []
    end = 0
    for match in _INLINE.finditer(words):
        parts.append(_plain(words[end : match.start()]))
        code, word = match.groups()
        parts.append(f"\\fB{_literal(code)}\\fR" if code else f"\\fI{_literal(word)}\\fR")
        end = match.end()
    return _guarded("".join(parts) + _plain(words[end:]))


def _guarded(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _plain(words: str) -> str:
    return words.replace("\\", "\\e")


def _literal(words: str) -> str:
    """Literal text: hyphens are minus signs, quotes and tildes are not typeset."""
    for sign, escaped in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("~", "\\(ti"),
        ("^", "\\(ha"),
    ):
        words = words.replace(sign, escaped)
    return words


def _blocks(markdown: str) -> Iterator[str]:
    for block in re.split(r"\n{2,}", markdown.strip("\n")):
        lines = block.split("\n")
        if block.startswith("    "):
            yield from (".PP", ".RS 4", ".EX")
            for line in lines:
                shown = _literal(line.removeprefix("    "))
                yield f"\\&{shown}" if shown.startswith((".", "\\(aq")) else shown
            yield from (".EE", ".RE")
        elif match := re.fullmatch(r"(##|###) (.+)", block):
            macro, words = (".SH", match[2].upper()) if match[1] == "##" else (".SS", match[2])
            yield f"{macro} {text(words)}"
        elif len(lines) > 1 and lines[1].startswith(": "):
            yield ".TP"
            yield text(lines[0])
            yield from _joined([lines[1].removeprefix(": "), *lines[2:]])
        elif block.startswith("- "):
            for point in re.split(r"^- ", block, flags=re.MULTILINE)[1:]:
                yield ".IP \\(bu 2"
                yield from _joined(point.strip("\n").split("\n"))
        else:
            yield ".PP"
            yield from _joined(lines)


def _joined(lines: list[str]) -> Iterator[str]:
    """As lines of at most 80 characters; markup may span lines of the source."""
    words = text(" ".join(line.strip() for line in lines))
    for line in textwrap.wrap(words, 78, break_long_words=False, break_on_hyphens=False):
        yield _guarded(line)
