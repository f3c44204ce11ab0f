# SPDX-License-Identifier: Apache-2.0
"""The last result of a function."""

import pytest

from ec2net.core.runtime.remembered import Remembered


def test_a_function_is_called_again_only_for_other_inputs() -> None:
    calls: list[tuple[int, ...]] = []

    def added(*numbers: int) -> int:
        calls.append(numbers)
        return sum(numbers)

    remembered = Remembered(added)
    assert [remembered(1, 2), remembered(1, 2), remembered(3), remembered(1, 2)] == [3, 3, 3, 3]
    assert calls == [(1, 2), (3,), (1, 2)]


def test_a_function_that_fails_is_called_again() -> None:
    remembered = Remembered(lambda text: int(text))
    assert remembered("1") == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            remembered("one")
