# SPDX-License-Identifier: Apache-2.0
"""The numbers are a contract: the VPC CNI and EKS use the same ones."""

import pytest

from ec2net.core.model.numbers import PRIMARY, EniNumber, NumberPlan


@pytest.mark.parametrize(
    ("card", "device", "table", "metric"),
    [
        (0, 0, 10000, 512),
        (0, 1, 10001, 513),
        (0, 99, 10099, 611),
        (1, 0, 10100, 612),
        (1, 1, 10101, 613),
        (31, 99, 13199, 3711),
    ],
)
def test_the_numbers_of_a_place(card: int, device: int, table: int, metric: int) -> None:
    """R37: EKS hard-codes 10101 and 613 for card 1 device 1."""
    plan, number = NumberPlan(), EniNumber(card, device)
    assert (plan.table(number), plan.priority(number), plan.metric(number)) == (
        table,
        table,
        metric,
    )


def test_main_first_rules_go_before_those_of_every_eni() -> None:
    assert NumberPlan().main_first_priority == NumberPlan().priority(PRIMARY) - 1 == 9999


@pytest.mark.parametrize(
    ("card", "device", "problem"),
    [
        (-1, 0, "network card -1 is not in 0..31"),
        (32, 0, "network card 32 is not in 0..31"),
        (0, -1, "device number -1 is not in 0..99"),
        (0, 100, "device number 100 is not in 0..99"),
    ],
)
def test_a_place_that_would_share_numbers_does_not_exist(
    card: int, device: int, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        EniNumber(card, device)


def test_a_place_for_people() -> None:
    assert str(EniNumber(1, 2)) == "card 1 device 2"
