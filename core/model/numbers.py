# SPDX-License-Identifier: Apache-2.0
"""The numbers of an ENI: table, rule priority and metric from network card and device number.

A contract: the VPC CNI and EKS use the same numbers. They never depend on list positions or
ifindex, which change when another ENI is attached or detached.

    n = 100 * network card + device number, 0 to 12799

| number                    | default   | what uses it                                          |
|---------------------------|-----------|-------------------------------------------------------|
| priority base - 1         | 9999      | main-first rules of all ENIs (one per source)         |
| table base - 1            | 9999      | parking: leases' routes of secondaries, never used    |
| priority base + n         | 10000 + n | the ENI's own rules                                   |
| table base + n            | 10000 + n | the ENI's own routes                                  |
| metric base + n           | 512 + n   | the ENI's default route in main                       |
| priority base + 12800     | 22800     | the tree of many sources, up to 29999                 |
| 32762 to 32765            |           | rules of ``ipv4_fast_failure``, last before main's    |
| protocol                  | 236       | mark of owned routes, rules, addresses (IFA_PROTO)    |
| link group                | 236       | links of all ENIs, for the main-first rules           |
| metric of DHCP's routes   | 16384     | ENIs that are attached later, until configured        |
| mark                      | 1 to 4095 | in bits 20 to 31: answers, with ``published_ports``   |

Foreign priorities on EC2 hosts lie below 5300 (VPC CNI, tailscale) or above 30000
(nm-cloud-setup, cloud-netconfig, nodeadm); ec2net's lie between.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ec2net.core.model.objects import Mark

MARK_BITS = 12
MARKS = (1 << MARK_BITS) - 1
"""The number of marks: lower than that of ENI numbers, so marks come from a pool."""

CARDS = 128
DEVICES = 100
"""Network cards 0 to 127, four times what the largest instance type has; device numbers 0 to 99:
more would make two ENIs share an n."""

IPV6_MTU_MIN = 1280
"""Bytes. RFC 8200, section 5: below, the kernel takes IPv6 with all its addresses off the link."""

HIGHEST = CARDS * DEVICES - 1
"""The largest n: every base leaves room for this much above it."""

TREE = 7200
"""Priorities of the tree of many sources: with the default base, all below those of other tools."""

LATER_METRIC = 16384
"""The metric of the routes that DHCP and router advertisements give a later ENI, until ec2net
configures the ENI (systemd/network/80-ec2net-later.network): higher than every ENI's metric."""


@dataclass(frozen=True, order=True, slots=True)
class EniNumber:
    """An ENI's place on the instance. Raises ``ValueError`` out of range."""

    card: int
    device: int

    def __post_init__(self) -> None:
        if not 0 <= self.card < CARDS:
            raise ValueError(f"network card {self.card} (possible: 0 to {CARDS - 1})")
        if not 0 <= self.device < DEVICES:
            raise ValueError(f"device number {self.device} (possible: 0 to {DEVICES - 1})")

    @property
    def n(self) -> int:
        return DEVICES * self.card + self.device

    def __str__(self) -> str:
        return f"card {self.card} device {self.device}"


PRIMARY = EniNumber(card=0, device=0)


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """The bases, from the configuration table ``[numbers]``."""

    table_base: int = 10000
    priority_base: int = 10000
    metric_base: int = 512
    protocol: int = 236
    link_group: int = 236
    mark_shift: int = 20

    @property
    def tables(self) -> range:
        """The tables of all ENIs that there can be."""
        return range(self.table_base, self.table_base + HIGHEST + 1)

    @property
    def priorities(self) -> range:
        """The priorities of all rules that ENIs can have, but those of ``LAST_PRIORITIES``."""
        return range(self.main_first_priority, self.priority_base + HIGHEST + 1)

    @property
    def tree(self) -> range:
        """The priorities of the tree of many sources (``core/decide/rule_tree.py``)."""
        return range(self.priorities.stop, self.priorities.stop + TREE)

    def table(self, number: EniNumber) -> int:
        return self.table_base + number.n

    def priority(self, number: EniNumber) -> int:
        return self.priority_base + number.n

    def metric(self, number: EniNumber) -> int:
        return self.metric_base + number.n

    def marks(self, numbers: Iterable[EniNumber]) -> dict[EniNumber, Mark]:
        """A mark of its own for each; beyond ``MARKS`` of them the highest numbers get none.

        It is n + 1 as long as that fits and a lower number does not have it: so the marks of ENIs
        on the first 40 cards stay, whichever others come and go. None is 0 in its bits, which is
        what an unmarked packet has.
        """
        taken: dict[int, EniNumber] = {}
        for number in sorted(set(numbers))[:MARKS]:
            value = number.n % MARKS
            while value in taken:
                value = (value + 1) % MARKS
            taken[value] = number
        mask = MARKS << self.mark_shift
        return {
            number: Mark((value + 1) << self.mark_shift, mask) for value, number in taken.items()
        }

    @property
    def parking_table(self) -> int:
        return self.table_base - 1

    @property
    def main_first_priority(self) -> int:
        return self.priority_base - 1
