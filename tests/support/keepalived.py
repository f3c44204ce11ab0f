# SPDX-License-Identifier: Apache-2.0
"""Virtual addresses that keepalived adds to a link and removes."""

from kernel_state import kernel_state

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

ROUTED = "192.0.2.200"
"""An address of no subnet: EC2 never assigns it."""


def keepalived(guest: Namespace, verb: str, address: object, eni: Eni) -> None:
    """``add`` or ``del``."""
    guest.ip([f"addr {verb} {address}/32 dev {eni.name} label {eni.name}:vip"])


def lines(guest: Namespace, address: object) -> list[str]:
    """All kernel objects of an address, on any link."""
    return [line for line in kernel_state(guest)["addresses"] if f'"{address}"' in line]
