# SPDX-License-Identifier: Apache-2.0
"""The plan for commands that change nothing: it ends with its deadline, whatever the host holds.

A pass without time still stores what IMDS said (``Engine.apply``), so that the next one need not ask
again. A command that only shows has nothing to store: between any two steps that compute long it
checks its deadline. On the largest host, 64 ENIs with 100 addresses each, no step takes 0.5 s of CPU.
"""

from collections.abc import Mapping

from ec2net.core.engine.engine import Engine
from ec2net.core.engine.imds_reading import ImdsReading
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.deadline import Deadline


def inspect(
    engine: Engine,
    deadline: Deadline,
    *,
    snapshot: Snapshot | None = None,
    attached: Mapping[Mac, Attached] | None = None,
    reading: ImdsReading | None = None,
) -> View:
    """As ``Engine.plan``. Raises ``DeadlineExceeded``."""
    with engine.kernel.checked(deadline.check):
        view = engine.plan(
            deadline,
            snapshot=snapshot,
            attached=attached,
            reading=reading,
            check=deadline.check,
        )
    deadline.check()
    return view
