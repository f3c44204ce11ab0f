# SPDX-License-Identifier: Apache-2.0
"""The word that was probably meant."""

import pytest

from ec2net.core.cli.suggestion import suggestion


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("stauts", "; did you mean 'status'?"),
        ("refesh", "; did you mean 'refresh'?"),
        ("frobnicate", ""),
        ("status" * 100, ""),
        ("", ""),
    ],
)
def test_the_closest_word_is_suggested(word: str, expected: str) -> None:
    assert suggestion(word, ("refresh", "remove", "status")) == expected
