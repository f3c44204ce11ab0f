# SPDX-License-Identifier: Apache-2.0
"""The read part of main, and which ENIs' links are in the link group. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from ec2net.core.config.settings import Manage
from ec2net.core.decide.intent import EniOutcome
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import AnyNetwork, Route
from ec2net.core.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Main:
    """The main table of one pass. ``applied`` are the ENIs whose changes the pass makes."""

    snapshot: Snapshot
    numbers: NumberPlan
    applied: Collection[Mac]

    def way(self, network: AnyNetwork, without: Collection[int]) -> Route | None:
        """Main's way to all of ``network`` by what others made, but through none of these links."""
        for length in range(network.prefixlen, -1, -1):
            around = network.supernet(new_prefix=length)
            for found in self.snapshot.main_by_destination.get(around, ()):
                if found.protocol != self.numbers.protocol and (way := _part(found.item, without)):
                    return way
        return None

    def in_group(self, eni: EniOutcome) -> bool:
        """Whether its link is in the link group of ENIs, or joins it in this pass."""
        link = self.snapshot.link(eni.link.index) if eni.link is not None else None
        if link is None:
            return False
        intent = eni.intent
        joins = intent is not None and intent.manage is not Manage.OBSERVE
        joins = joins and eni.mac in self.applied
        return link.group == self.numbers.link_group or (joins and link.group == 0)


def _part(route: Route, without: Collection[int]) -> Route | None:
    """The part of ``route`` that leads through none of these links."""
    return route.through({link.index for link in route.links} - set(without))
