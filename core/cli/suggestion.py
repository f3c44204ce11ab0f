# SPDX-License-Identifier: Apache-2.0
"""The word that a user probably meant."""

from collections.abc import Iterable

_LONGEST = 60
"""Characters of a word for which a suggestion is searched."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'status'?`` for the known word that is most like it; empty without one."""
    from difflib import get_close_matches  # costs 5 ms, after a mistake only

    close = get_close_matches(word, list(known), 1) if len(word) <= _LONGEST else []
    return f"; did you mean '{close[0]}'?" if close else ""
