# SPDX-License-Identifier: Apache-2.0
"""Whether the router that ec2net expects in an ENI's IPv6 subnet exists there.

No pass waits for the answer. The kernel solicits three times in three seconds; a later pass sees the
result in the neighbour table.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from ipaddress import IPv6Address

from ec2net.core.decide.ipv6_router import other_routers
from ec2net.core.decide.routing import IPV6_GATEWAY
from ec2net.core.kernel.neighbours import Neighbours
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.snapshot import Snapshot


def found_routers(
    snapshot: Snapshot, links: Mapping[Mac, tuple[Link, ...]], protocol: int
) -> dict[Mac, IPv6Address]:
    """The routers to use instead of ``fe80:ec2::1``; solicits that one where the kernel has no
    entry for it."""
    with ExitStack() as stack:
        neighbours: list[Neighbours] = []

        def answers(link: int) -> bool | None:
            if not neighbours:
                neighbours.append(stack.enter_context(Neighbours()))
            known = neighbours[0].has_answered(link, IPV6_GATEWAY)
            if known is None:
                neighbours[0].ask(link, IPV6_GATEWAY)
            return known

        return other_routers(snapshot, links, protocol, answers)
