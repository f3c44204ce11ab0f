# SPDX-License-Identifier: Apache-2.0
"""The word that a user probably meant."""

from collections.abc import Iterable

_LONGEST = 60
"""Characters of a word that are shown, and for which a suggestion is searched."""


def no_command(word: str, known: Iterable[str]) -> str:
    """The error for the name of a command that does not exist."""
    return f"there is no command '{word[:_LONGEST]}'{suggestion(word, known)}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'status'?`` for the known word that is most like it; empty without one."""
    from difflib import get_close_matches  # costs 5 ms, after a mistake only

    close = get_close_matches(word, list(known), 1) if len(word) <= _LONGEST else []
    return f"; did you mean '{close[0]}'?" if close else ""
