# SPDX-License-Identifier: Apache-2.0
"""Which streams get colour, by the option, by NO_COLOR and by the stream."""

import io
from collections.abc import Iterator

import pytest

from ec2net.core.runtime import colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = colour.chosen()
    yield
    colour.choose(before)


@pytest.mark.parametrize(
    ("when", "stream", "no_color", "expected"),
    [
        ("auto", Terminal(), None, True),
        ("auto", Terminal(), "", True),
        ("auto", Terminal(), "1", False),
        ("auto", io.StringIO(), None, False),
        ("always", io.StringIO(), "1", True),
        ("never", Terminal(), None, False),
    ],
)
def test_which_stream_gets_colour(
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    stream: io.StringIO,
    no_color: str | None,
    expected: bool,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    colour.choose(when)
    assert colour.colours(stream) is expected
