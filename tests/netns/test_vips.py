# SPDX-License-Identifier: Apache-2.0
"""Virtual addresses that keepalived moves between hosts are keepalived's (keepalived#836).

Some live outside the VPC's subnets, behind a route table of the VPC; others are assigned to
whichever ENI has them by a script that calls the EC2 API, and then IMDS lists them as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from instance import Instance, primary, subnets
from keepalived import ROUTED, keepalived, lines
from kernel_state import assert_same, marked
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.netns

Pass = Callable[[], object]


@contextmanager
def passes(instance: Instance, resident: bool) -> Iterator[Pass]:
    """The process that runs a pass: a separate one, or the daemon."""
    if not resident:
        yield lambda: instance.ec2net("refresh")
        return
    with managed(instance) as manager:
        yield manager.poke


@pytest.fixture(params=["primary", "secondary"])
def eni(request: pytest.FixtureRequest, instance: Instance) -> Eni:
    where = subnets(instance.vpc, 2)
    both = {"primary": primary(instance.vpc, where[0]), "secondary": instance.vpc.attach(where[1])}
    return both[request.param]


@pytest.mark.parametrize("resident", [False, True], ids=["on-demand", "resident"])
def test_keepalived_adds_and_removes_a_vip_that_ec2_does_not_know(
    instance: Instance, eni: Eni, resident: bool
) -> None:
    with passes(instance, resident) as run_pass:
        run_pass()
        without = instance.kernel()
        keepalived(instance.guest, "add", ROUTED, eni)
        held = instance.kernel()
        for _ in range(2):
            run_pass()
            assert_same(held, instance.kernel())
            keepalived(instance.guest, "del", ROUTED, eni)
            run_pass()
            assert_same(without, instance.kernel())
            keepalived(instance.guest, "add", ROUTED, eni)


@pytest.mark.parametrize("resident", [False, True], ids=["on-demand", "resident"])
def test_a_vip_that_ec2_assigns_belongs_to_keepalived_and_works(
    instance: Instance, eni: Eni, resident: bool
) -> None:
    vip = eni.subnet.allot_ipv4()
    with passes(instance, resident) as run_pass:
        run_pass()
        without = instance.kernel()
        for _ in range(2):
            keepalived(instance.guest, "add", vip, eni)
            held = lines(instance.guest, vip)
            run_pass()
            assert lines(instance.guest, vip) == held
            eni.assign_ipv4(vip)
            run_pass()
            assert lines(instance.guest, vip) == held
            assert instance.unreachable(eni) == []
            # Another host has it now. Here it stays until keepalived removes it.
            eni.unassign_ipv4(vip)
            run_pass()
            assert lines(instance.guest, vip) == held
            keepalived(instance.guest, "del", vip, eni)
            run_pass()
            assert_same(without, instance.kernel())


def test_a_vip_that_imds_lists_first_is_removed_with_its_listing(
    instance: Instance, eni: Eni
) -> None:
    """ec2net had added it: nothing of it may be left on a host that has lost the address."""
    vip = eni.subnet.allot_ipv4()
    instance.ec2net("refresh")
    without = instance.kernel()
    eni.assign_ipv4(vip)
    instance.ec2net("refresh")
    assert len(lines(instance.guest, vip)) == 1
    eni.unassign_ipv4(vip)
    instance.ec2net("refresh")
    assert_same(without, instance.kernel())


def test_a_vip_that_imds_lists_for_another_eni_stays_where_keepalived_put_it(
    instance: Instance,
) -> None:
    where = subnets(instance.vpc, 1) * 2
    first, second = primary(instance.vpc, where[0]), instance.vpc.attach(where[1])
    vip = second.subnet.allot_ipv4()
    keepalived(instance.guest, "add", vip, first)
    (held,) = lines(instance.guest, vip)
    second.assign_ipv4(vip)
    instance.ec2net("refresh")
    assert held in lines(instance.guest, vip)
    assert len(lines(instance.guest, vip)) == 2
    second.unassign_ipv4(vip)
    instance.ec2net("refresh")
    assert lines(instance.guest, vip) == [held]
    for eni in (second, first):
        instance.ec2net("remove", eni.name, "--force")
    assert lines(instance.guest, vip) == [held]
    assert marked(instance.kernel()) == []
