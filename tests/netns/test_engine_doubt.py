# SPDX-License-Identifier: Apache-2.0
"""In doubt nothing changes: which link an ENI has, a single answer of IMDS, the owner of a rule."""

import json

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import assert_same, marked

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.imds_faults import Fault, Garbage, Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


def settled(vpc: SimulatedVpc, instance: Instance) -> tuple[Eni, Eni]:
    """A primary and a secondary with everything, configured."""
    first, second = subnets(vpc, 2)
    enis = primary(vpc, first), vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    assert instance.refresh() == []
    return enis


def indices(instance: Instance) -> dict[str, int]:
    links = json.loads(instance.guest.run(["ip", "-j", "link"]).stdout)
    return {link["ifname"]: link["ifindex"] for link in links}


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_second_link_with_the_mac_of_an_eni_removes_nothing_from_it(
    vpc: SimulatedVpc, instance: Instance, order: str
) -> None:
    """Independent of the lower index: the ENI is refused, with an error, and loses nothing."""
    instance.guest.ip(["link add gap type bridge"])
    _, eni = settled(vpc, instance)
    files = instance.files()
    taken = indices(instance)
    instance.guest.ip(["link del gap"])
    index = taken["gap"] if order == "before" else max(taken.values()) + 100
    assert (index < taken[eni.name]) is (order == "before")
    before = instance.kernel()
    instance.guest.ip([f"link add twin index {index} address {eni.mac} type veth peer index 999"])
    beside = instance.kernel()
    for _ in range(2):
        done = instance.ec2net("refresh", status=1)
        assert "several links have its MAC" in done.stderr
        assert_same(beside, instance.kernel())
    assert instance.unreachable(*vpc.enis) == []
    instance.guest.ip(["link del twin"])
    assert instance.refresh() == []
    assert_same(before, instance.kernel())
    assert {name for name in files if "token" not in name} <= set(instance.files())


def test_rules_of_a_flushed_table_stay_while_imds_is_unreachable(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """Without the state no file identifies their owner; they were removed as those of a detached
    ENI."""
    settled(vpc, instance)
    before = instance.kernel()
    instance.forget()
    instance.guest.ip(["link set ens6 down", "link set ens6 up"])
    flushed = instance.kernel()
    with instance.imds.fault(Status(503)):
        instance.ec2net("refresh", status=1)
        assert_same(flushed, instance.kernel())
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    for subject in ("rules 4", "rules 6"):
        assert sorted(instance.kernel()[subject]) == sorted(before[subject])


def test_rules_of_a_detached_eni_stay_until_the_number_of_a_new_one_is_known(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    _, eni = settled(vpc, instance)
    new = vpc.attach(
        vpc.subnets[1], "ens9", device=2, propagation=Propagation(settled=None), ipv4=2
    )
    instance.ec2net("refresh")
    vpc.detach(eni)
    instance.ec2net("refresh")
    assert marked(instance.kernel()) != []
    vpc.imds.settle(str(new.mac))
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    assert not [line for line in marked(instance.kernel()) if '"10001"' in line]


@pytest.mark.parametrize("command", [["refresh"], ["start", "--primary"]], ids=" ".join)
def test_one_wrong_answer_about_the_primary_is_corrected(
    vpc: SimulatedVpc, instance: Instance, command: list[str]
) -> None:
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    eni = vpc.attach(second, **MANY)
    wrong = Garbage(str(eni.mac).encode())
    with instance.imds.fault(Fault(wrong, "/meta-data/mac$", count=1)) as fault:
        instance.ec2net(*command)
        assert fault.hits == 1
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    assert instance.refresh() == []


def test_a_constant_wrong_answer_mistakes_no_eni_for_another(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    before = instance.kernel()
    with instance.imds.fault(Fault(Garbage(str(eni.mac).encode()), "/meta-data/mac$")):
        done = instance.ec2net("refresh", status=1)
        assert "as the primary ENI, but its device-number is 1" in done.stderr
        assert_same(before, instance.kernel())
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []


def test_a_list_of_addresses_that_is_short_once_removes_nothing(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """The list is well-formed, so an older version believed it at once."""
    _, eni = settled(vpc, instance)
    before = instance.kernel()
    short = {"local-ipv4s": eni.ipv4s[0], "ipv6s": eni.ipv6s[0]}
    for key, address in short.items():
        with instance.imds.fault(
            Fault(Garbage(str(address).encode()), f"{eni.mac}/{key}$", count=1)
        ):
            assert instance.refresh() == []
        assert_same(before, instance.kernel())
    # One more request, and only in a pass that removes something.
    eni.unassign_ipv4(eni.ipv4s[-1])
    for asked in (2, 1):
        instance.imds.clear_log()
        assert (instance.refresh() != []) is (asked == 2)
        assert instance.imds.count(f"{eni.mac}/local-ipv4s") == asked
