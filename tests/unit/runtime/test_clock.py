# SPDX-License-Identifier: Apache-2.0
"""Times of the wall clock as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.runtime.clock import age, date, seconds_of, utc


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s ago"),
        (59.9, "59 s ago"),
        (60.0, "1 min ago"),
        (3_599.0, "59 min ago"),
        (3_600.0, "1 h ago"),
        (86_399.0, "23 h ago"),
        (86_400.0 * 40, "40 d ago"),
    ],
)
def test_an_age_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_date_names_its_zone() -> None:
    assert date("2026-11-22T06:59:57Z") == "2026-11-22 06:59 UTC"
    assert date(None) == "-"


@given(st.integers(0, 2**33))
def test_a_time_as_text_reads_back(seconds: int) -> None:
    assert seconds_of(utc(seconds)) == seconds
