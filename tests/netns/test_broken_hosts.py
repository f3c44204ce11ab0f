# SPDX-License-Identifier: Apache-2.0
"""Four commands about each broken host name its cause, and are silent about each healthy host."""

from collections.abc import Callable

import pytest
from broken_hosts import BROKEN, HEALTHY, KINDS, Row, asked, kinds, make
from instance import MANY, Instance, primary, subnets

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

ROWS = [
    pytest.param(row, id=row.name, marks=() if row.quick else pytest.mark.exhaustive)
    for row in (*BROKEN, *HEALTHY)
]


@pytest.mark.parametrize("row", ROWS)
def test_each_command_says_what_is_so(
    row: Row, install: Callable[[SimulatedVpc], Instance]
) -> None:
    with SimulatedVpc(prefix="broken-", seed=None) as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first)
        if row.enis > 1:
            vpc.attach(second, device=1, **MANY)
        instance.configure(row.config)
        instance.ec2net("refresh")
        with row.around(instance):
            make(instance, row)
            assert asked(instance, row) == []


def test_each_kind_of_fault_has_a_row() -> None:
    assert {kind.strip() for kind in KINDS.split(",")} <= kinds()
