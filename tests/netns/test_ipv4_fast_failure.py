# SPDX-License-Identifier: Apache-2.0
"""IPv4 on a host in an IPv6-only subnet: nothing answers, so nothing shall wait for it (R33)."""

import errno
import socket

import pytest
from containers import docker0
from instance import Instance, primary
from ways import way_of

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

ABROAD = "198.51.100.1"
CONFIGURATION = "ipv4_fast_failure = true\n"


def ipv6_only(vpc: SimulatedVpc) -> Eni:
    """The primary, with DHCPv4's leftovers in such a subnet: a link-local address, a default
    route."""
    eni = primary(vpc, vpc.add_subnet(None, "2001:db8:0:1::/64"))
    gateway, mac = "169.254.0.1", eni.subnet.gateway_mac
    vpc.guest.ip(
        [
            f"addr add 169.254.77.5/32 dev {eni.name}",
            f"route add {gateway} dev {eni.name} scope link",
            f"neigh replace {gateway} lladdr {mac} dev {eni.name} nud permanent",
            f"route add default via {gateway} dev {eni.name} metric 512",
        ]
    )
    return eni


def connecting(vpc: SimulatedVpc, address: str) -> int:
    """The error of connect(2) before any packet; EINPROGRESS: the call waits."""

    def attempt() -> int:
        with socket.socket() as tcp:
            tcp.setblocking(False)
            return tcp.connect_ex((address, 80))

    return vpc.guest.call(attempt)


def test_a_connection_outwards_fails_at_once(instance: Instance) -> None:
    vpc = instance.vpc
    eni = ipv6_only(vpc)
    instance.refresh()
    assert connecting(vpc, ABROAD) == errno.EINPROGRESS
    instance.configure(CONFIGURATION)
    assert [text.split(":")[0] for text in instance.refresh()] == [
        f"add rule {priority}" for priority in (32762, 32763, 32764, 32765)
    ]
    assert connecting(vpc, ABROAD) == errno.ENETUNREACH
    # no route leads to the gateway any more, and ec2net does not report that
    assert instance.refresh() == []
    assert instance.unreachable(eni) == []


def test_every_other_use_of_ipv4_still_works(instance: Instance) -> None:
    """EC2's services, containers, a route of the user's, a VPN's default route."""
    vpc = instance.vpc
    eni = ipv6_only(vpc)
    instance.configure(CONFIGURATION)
    with docker0(vpc) as container:
        vpc.guest.ip(
            [
                f"route add 192.0.2.0/24 via 169.254.0.1 dev {eni.name}",
                "link add vpn0 type bridge",
                "addr add 10.99.0.1/24 dev vpn0",
                "link set vpn0 up",
            ]
        )
        instance.refresh()
        assert way_of(vpc.guest, "169.254.169.254") == way_of(vpc.guest, "192.0.2.7") == eni.name
        assert (way_of(vpc.guest, container), way_of(vpc.guest, "10.99.0.7")) == ("docker0", "vpn0")
        assert way_of(vpc.guest, ABROAD) == ""
        vpc.guest.ip(["route add default via 10.99.0.2 dev vpn0 metric 50"])
        assert way_of(vpc.guest, ABROAD) == "vpn0"
        assert instance.refresh() == []


def test_a_pass_for_another_eni_keeps_the_failing_until_ipv4_exists(
    instance: Instance,
) -> None:
    vpc = instance.vpc
    ipv6_only(vpc)
    second = vpc.attach(vpc.add_subnet(None, "2001:db8:0:2::/64"), ipv6=1)
    instance.configure(CONFIGURATION)
    instance.refresh()
    for command in ("start", "remove"):
        instance.ec2net(command, second.name)
        assert connecting(vpc, ABROAD) == errno.ENETUNREACH
    third = vpc.attach(vpc.add_subnet("10.0.3.0/24", "2001:db8:0:3::/64"))
    instance.ec2net("start", third.name)
    assert way_of(vpc.guest, ABROAD) != ""
    instance.refresh()
    vpc.detach(third)
    assert "drift: " not in instance.ec2net("refresh").stderr
    assert connecting(vpc, ABROAD) == errno.ENETUNREACH


@pytest.mark.parametrize("end", ["setting", "IPv4"])
def test_the_failing_ends_with_the_setting_or_with_the_first_ipv4(
    instance: Instance, end: str
) -> None:
    vpc = instance.vpc
    eni = ipv6_only(vpc)
    instance.configure(CONFIGURATION)
    instance.refresh()
    if end == "setting":
        instance.configure()
    else:
        vpc.attach(vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64"))
    instance.refresh()
    assert way_of(vpc.guest, ABROAD) == eni.name
    assert "32765" not in str(instance.kernel()["rules 4"])
