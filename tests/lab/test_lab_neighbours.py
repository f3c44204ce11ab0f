# SPDX-License-Identifier: Apache-2.0
"""With Docker, a VPN, static routes and keepalived, on hosts with a real network manager.

The scenarios of tests/netns (published_port, ways, vips), on the host of docs/routing.md; the tests
share one boot, and foreign objects stay.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from containers import (
    CONTAINER,
    PUBLISHED,
    docker0,
    inside,
    publish,
    who_answers,
)
from instance import FAILING
from keepalived import ROUTED, keepalived, lines
from kernel_state import marked
from lab_boot import Boot
from lab_instance import LabInstance
from ways import STATIC, TUNNEL, destinations, measured, told

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.lab


def attach(instance: LabInstance) -> None:
    vpc = instance.vpc
    vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    for number in (2, 3):
        subnet = vpc.add_subnet(f"10.0.{number}.0/24", f"2001:db8:0:1{number}::/64")
        vpc.attach(subnet, ipv4=2, ipv6=2)


@pytest.fixture(scope="module")
def beside_docker(boot: Boot) -> Iterator[LabInstance]:
    """Three ENIs, docker0 with one container, and its published port."""
    with boot(before=attach) as instance, docker0(instance.vpc):
        publish(instance.vpc.guest)
        yield instance


def all_there(instance: LabInstance) -> None:
    """Nothing to do, and all addresses work."""
    assert instance.refresh() == ""
    assert instance.unreachable() == []


def lost(vpc: SimulatedVpc) -> Counter[tuple[str, str]]:
    """At which links which sources were dropped so far, and how many packets: one is sent again."""
    found: Counter[tuple[str, str]] = Counter()
    for drop in vpc.drops():
        found[drop.port, drop.source] += drop.packets
    return found


def containers_and_host_reach_each_other(vpc: SimulatedVpc) -> None:
    """The container reaches every address of the host; the outside reaches the port on every
    address of the primary."""
    before, main = lost(vpc), vpc.enis[0]
    own = [str(address) for eni in vpc.enis for address in eni.ipv4s]
    assert who_answers(inside(vpc), own, echo.PORT) == own
    outside = str(vpc.outside.ipv4)
    assert who_answers(inside(vpc), [outside], echo.PORT) == [outside]
    found = who_answers(vpc.outside.namespace, main.ipv4s, PUBLISHED)
    assert found == [CONTAINER] * len(main.ipv4s)
    assert lost(vpc).keys() == before.keys()


def test_the_routes_match_the_document(beside_docker: LabInstance) -> None:
    """Main-first: traffic from a secondary's addresses follows a container's, a VPN's and a user's
    static routes in main. A host in another ENI's subnet is answered through the ENI that it
    addressed. No foreign route changes the network manager's connections."""
    vpc, cursor = beside_docker.vpc, beside_docker.host.cursor()
    vpc.guest.ip([*TUNNEL, *STATIC])
    beside_docker.refresh()  # the daemon copies routes of others some seconds later
    rows = destinations(vpc, vpc.enis, CONTAINER)
    main, second, _ = vpc.enis
    assert measured(vpc, (main, second), rows) == [told(3), told(0)]
    all_there(beside_docker)
    assert beside_docker.bounces(cursor) == []


def test_containers_reach_the_host_and_their_port_is_reached_through_the_primary(
    beside_docker: LabInstance,
) -> None:
    containers_and_host_reach_each_other(beside_docker.vpc)
    beside_docker.setting.reload(beside_docker.host)
    beside_docker.host.run(["systemctl", "restart", "ec2net.service"])
    containers_and_host_reach_each_other(beside_docker.vpc)
    all_there(beside_docker)


def test_a_published_port_on_a_secondary_is_reached_with_published_ports(
    beside_docker: LabInstance,
) -> None:
    """Without it the answers leave by the primary, and the VPC drops them."""
    vpc, host = beside_docker.vpc, beside_docker.host
    main, eni, _ = vpc.enis
    before = lost(vpc)
    found = who_answers(vpc.outside.namespace, eni.ipv4s, PUBLISHED, FAILING)
    assert found == [""] * len(eni.ipv4s)
    assert {(main.name, str(address)) for address in eni.ipv4s} <= (lost(vpc) - before).keys()
    host.write("/etc/ec2net/ec2net.toml.d/30-docker.toml", "published_ports = true\n")
    before, peer = lost(vpc), vpc.add_peer(eni.subnet)
    assert "fwmark" in beside_docker.reconfigure()
    for client in (vpc.outside, peer):
        found = who_answers(client.namespace, eni.ipv4s, PUBLISHED)
        assert found == [CONTAINER] * len(eni.ipv4s)
    containers_and_host_reach_each_other(vpc)
    all_there(beside_docker)
    assert lost(vpc).keys() == before.keys()


def test_vips_belong_to_keepalived(beside_docker: LabInstance) -> None:
    """Two addresses that EC2 never assigns, and two that EC2 assigns and moves: on the primary and
    on a secondary. Only keepalived removes them."""
    instance, guest = beside_docker, beside_docker.vpc.guest
    both = {instance.primary: ROUTED, instance.secondary: "192.0.2.201"}
    assigned = {eni: eni.subnet.allot_ipv4() for eni in both}
    vips = [(eni, vip) for eni in both for vip in (both[eni], assigned[eni])]
    without = marked(instance.kernel())
    for eni, vip in vips:
        keepalived(guest, "add", vip, eni)
    held = [lines(guest, vip) for _, vip in vips]

    def all_held() -> bool:
        instance.refresh()
        return held == [lines(guest, vip) for _, vip in vips]

    assert all_held()
    for eni, vip in assigned.items():
        eni.assign_ipv4(vip)
    assert all_held()
    assert instance.unreachable() == []
    instance.setting.reload(instance.host)
    assert all_held()
    instance.setting.restart(instance.host)
    assert all_held()
    for eni, vip in assigned.items():
        eni.unassign_ipv4(vip)
    assert all_held()
    for eni, vip in vips:
        keepalived(guest, "del", vip, eni)
    instance.complete()
    assert [lines(guest, vip) for _, vip in vips] == [[]] * 4
    assert marked(instance.kernel()) == without
