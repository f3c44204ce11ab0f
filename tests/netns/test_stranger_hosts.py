# SPDX-License-Identifier: Apache-2.0
"""Five commands about hosts whose author knew the documents only: no silence, no false alarm."""

from collections.abc import Callable

import pytest
from instance import Instance
from stranger_hosts import STRANGERS, Stranger, asked, host

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

ROWS = [
    pytest.param(row, id=row.name, marks=() if row.quick else pytest.mark.exhaustive)
    for row in STRANGERS
]


@pytest.mark.parametrize("row", ROWS)
def test_each_command_says_what_the_documents_promise(
    row: Stranger, install: Callable[[SimulatedVpc], Instance]
) -> None:
    with SimulatedVpc(prefix="stranger-", seed=None) as vpc:
        instance = install(vpc)
        instance.configure(row.config)
        host(vpc, instance)
        assert asked(instance, row) == []
