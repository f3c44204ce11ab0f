# SPDX-License-Identifier: Apache-2.0
"""Random events that tests which replay from a seed have in common."""

import random
from collections.abc import Callable, Sequence

from ec2net.core.simulation.vpc.eni import Eni


def assign(chance: random.Random, enis: Sequence[Eni]) -> str:
    """Assign or unassign an address or a prefix; returns a description of the change."""
    eni = chance.choice(enis)
    kinds: list[Callable[[], object]] = [
        eni.assign_ipv4,
        eni.assign_ipv6,
        eni.assign_ipv4_prefix,
        eni.assign_ipv6_prefix,
    ]
    return f"assign {chance.choice(kinds)()} to {eni.name}"
