# SPDX-License-Identifier: Apache-2.0
"""The numbers are a contract: the VPC CNI and EKS use the same ones."""

import re

import pytest
from checkout import TOP
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.model.numbers import (
    CARDS,
    DEVICES,
    HIGHEST,
    LATER_METRIC,
    MARKS,
    PRIMARY,
    EniNumber,
    NumberPlan,
)
from ec2net.core.model.objects import LAST_PRIORITIES, LOCAL_TABLE, MAIN_TABLE


@pytest.mark.parametrize(
    ("card", "device", "table", "metric"),
    [
        (0, 0, 10000, 512),
        (0, 1, 10001, 513),
        (0, 99, 10099, 611),
        (1, 0, 10100, 612),
        (1, 1, 10101, 613),
        (31, 99, 13199, 3711),
        (127, 99, 22799, 13311),
    ],
)
def test_card_and_device_give_the_numbers(card: int, device: int, table: int, metric: int) -> None:
    """R37: EKS hard-codes 10101 and 613 for card 1 device 1."""
    plan, number = NumberPlan(), EniNumber(card, device)
    assert (plan.table(number), plan.priority(number), plan.metric(number)) == (
        table,
        table,
        metric,
    )


def test_main_first_rules_precede_those_of_every_eni() -> None:
    assert NumberPlan().main_first_priority == NumberPlan().priority(PRIMARY) - 1 == 9999


@pytest.mark.parametrize(
    ("card", "device", "problem"),
    [
        (-1, 0, "network card -1 (possible: 0 to 127)"),
        (128, 0, "network card 128 (possible: 0 to 127)"),
        (0, -1, "device number -1 (possible: 0 to 99)"),
        (0, 100, "device number 100 (possible: 0 to 99)"),
    ],
)
def test_a_device_that_would_share_numbers_is_invalid(card: int, device: int, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        EniNumber(card, device)


@given(st.sets(st.tuples(st.integers(0, CARDS - 1), st.integers(0, DEVICES - 1))))
def test_every_eni_has_its_own_mark_in_twelve_bits(places: set[tuple[int, int]]) -> None:
    numbers = [EniNumber(*place) for place in places]
    marks = NumberPlan().marks(numbers)
    assert set(marks) == set(numbers)
    assert len({mark.value for mark in marks.values()}) == len(numbers)
    for number, mark in marks.items():
        assert mark.mask == 0xFFF00000
        assert mark.value & ~mark.mask == 0 < mark.value
        if number.n < MARKS:  # as before the pool existed, whatever other ENIs there are
            assert mark.value >> 20 == number.n + 1


def test_without_a_free_mark_the_last_enis_have_none() -> None:
    numbers = [EniNumber(n // DEVICES, n % DEVICES) for n in range(HIGHEST + 1)]
    marks = NumberPlan().marks(reversed(numbers))
    assert list(marks) == numbers[:MARKS]


def test_the_derived_numbers_do_not_overlap() -> None:
    """Foreign priorities and the kernel's tables begin where ec2net's end."""
    numbers, highest = NumberPlan(), EniNumber(CARDS - 1, DEVICES - 1)
    assert highest.n == HIGHEST
    assert numbers.priorities == range(9999, 22800)
    assert numbers.priority(highest) == numbers.priorities[-1] < 30000 < LAST_PRIORITIES.start
    assert numbers.tree == range(22800, 30000)
    assert numbers.tables == range(10000, 22800)
    assert numbers.table(highest) == numbers.tables[-1]
    assert {numbers.parking_table, MAIN_TABLE, LOCAL_TABLE}.isdisjoint(numbers.tables)
    assert numbers.metric(highest) < LATER_METRIC


def test_a_later_eni_has_a_worse_metric_until_it_is_configured() -> None:
    file = TOP / "systemd/network/80-ec2net-later.network"
    metrics = [line for line in file.read_text().splitlines() if line.startswith("RouteMetric=")]
    assert metrics == [f"RouteMetric={LATER_METRIC}"] * 2


def test_card_and_device_are_shown_as_text() -> None:
    assert str(EniNumber(1, 2)) == "card 1 device 2"
