# SPDX-License-Identifier: Apache-2.0
"""Whether every address of a host works: both ways, and for hosts of every subnet."""

from collections.abc import Iterable
from contextlib import suppress

from containers import who_answers
from lab_host import HostError
from lab_instance import CHECK_LIMIT, COMPLETE_LIMIT, LabInstance
from neighbour_table import Tried, counted

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.hosts import Host

SETTLED = 10.0
"""Seconds that a host without ec2net has until its addresses work; some of them never do."""

ROUND = 3.0
"""Seconds for one round of connections on a busy machine."""


def reach(instance: LabInstance, *enis: Eni, peers: Iterable[Host] = ()) -> Tried:
    """Connections from each address outwards, and to each address from outside and from ``peers``."""
    vpc = instance.vpc
    wanted = enis or tuple(vpc.enis)
    own = [str(address) for eni in wanted for address in eni.addresses()]
    with counted(vpc) as tried:
        for way in (vpc.check_in, vpc.check_out):
            for tick in way(*wanted, timeout=3.0):
                tried.add(f"{way.__name__} {tick.address}", tick.ok)
        for peer in peers:
            for address, answer in zip(
                own, who_answers(peer.namespace, own, echo.PORT, 3.0), strict=True
            ):
                tried.add(f"from {peer.ipv4} to {address}", answer == address)
    return tried


def until_works(instance: LabInstance, limit: float = 2 * COMPLETE_LIMIT) -> None:
    """Wait until every address works, and ec2net has configured every ENI.

    The first address of an ENI may be a secondary one: cloud-init's fixed addresses come before the
    lease, and ec2net moves no foreign address.
    """
    until_reached(instance, limit)
    for eni in instance.vpc.enis:
        instance.until_unit(eni.name, "active", limit)


def until_reached(instance: LabInstance, limit: float, *enis: Eni) -> None:
    """Wait until every address works. The message of ``HostError`` has the state of the host."""
    host = instance.host
    try:
        host.wait_until(lambda: not instance.unreachable(*enis, limit=ROUND), limit)
    except HostError as error:
        bad = instance.unreachable(*enis)
        shown = host.run(["sh", "-c", "ip addr; ip rule; ip -6 rule; ip route show table all"])
        raise HostError(f"{error}: {bad}\n{shown.stdout}\n{instance.story()}") from None


def until_up(instance: LabInstance) -> None:
    """Wait until every address works on a host without ec2net, as far as it ever does."""
    with suppress(HostError):
        instance.host.wait_until(lambda: not instance.unreachable(limit=CHECK_LIMIT), SETTLED)
