# SPDX-License-Identifier: Apache-2.0
"""Text that a terminal only shows."""

import re

_UNUSUAL = re.compile(r"[^\x20-\x7e]")


def printable(text: str, keep: str = "") -> str:
    """``text`` with every character escaped that a terminal may act upon, but for those in ``keep``.

    Control characters, those that change the direction of text, and bytes that are not UTF-8.
    """
    return _UNUSUAL.sub(lambda found: _escaped(found[0], keep), text)


def _escaped(char: str, keep: str) -> str:
    if char in keep or char.isprintable():
        return char
    if 0xDC80 <= (code := ord(char)) <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
