# SPDX-License-Identifier: Apache-2.0
"""One of the two hosts of a comparison: the same host with ec2net and without."""

from lab_foreign import changed_by_ec2net
from lab_instance import LabInstance
from neighbour_table import Tried, record

from ec2net.core.simulation.vpc.hosts import Host


class Side:
    """One of the two hosts."""

    def __init__(self, instance: LabInstance, ec2net: bool) -> None:
        self.instance = instance
        self.ec2net = ec2net
        self.host = instance.host
        self.vpc = instance.vpc

    @property
    def clients(self) -> list[Host]:
        return [self.vpc.outside, *self.vpc.peers]

    def judge(self, neighbour: str, expectation: str, tried: Tried) -> None:
        """Keep a row of the table, while the neighbour is active. With ec2net all must be as expected,
        and ec2net must change nothing foreign when it ends, is removed and starts again."""
        setting = self.instance.setting
        host = f"{setting.release.value}, {setting.backend}"
        if self.ec2net:
            tried.foreign = changed_by_ec2net(self.instance)
        record(neighbour, expectation, host, self.ec2net, tried)
        if self.ec2net:
            assert (tried.failed, tried.wrong_way, tried.foreign) == ([], 0, [])

    def leave(self) -> None:
        """After a neighbour has ended, every address works, and ec2net has nothing to do."""
        if self.ec2net:
            assert self.instance.unreachable() == []
            self.host.wait_until(lambda: self.instance.refresh() == "", 60, "an empty plan")
