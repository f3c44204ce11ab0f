# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/containers.md, with the objects that each tool makes."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address

import pytest
from checkout import TOP
from containers import seen_sources
from instance import FAILING, HANGS, MANY, Instance, primary, subnets
from manager import managed

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = [pytest.mark.netns, pytest.mark.exhaustive]

DOCUMENT = (TOP / "docs/containers.md").read_text()


@pytest.fixture
def eni(instance: Instance) -> Eni:
    """A secondary in a separate subnet."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first, **MANY)
    return instance.vpc.attach(second, **MANY)


@contextmanager
def served(namespace: Namespace) -> Iterator[None]:
    with closing(EchoService()) as service:
        service.listen(namespace)
        yield


def outside(instance: Instance) -> IPv4Address:
    found = instance.vpc.outside.ipv4
    assert found is not None
    return found


def routed_nic(instance: Instance, eni: Eni, address: IPv4Address) -> Namespace:
    """``nictype: routed`` with ``parent``, as LXD's and incus's device/nic_routed.go make it: a veth,
    a host route, a proxy neighbour entry at the parent."""
    made, guest = instance.vpc.namespace("routed"), instance.guest
    guest.sysctl({"net/ipv4/ip_forward": "1"})
    guest.ip(
        [
            f"link add veth1 type veth peer name eth0 netns {made.name}",
            "addr add 169.254.0.1/32 dev veth1",
            "link set veth1 up",
            f"route add {address} dev veth1 proto boot scope link",
            f"neigh add proxy {address} dev {eni.name}",
        ]
    )
    made.ip(
        [
            "link set lo up",
            "link set eth0 up",
            f"addr add {address}/32 dev eth0",
            "route add default via 169.254.0.1 dev eth0 onlink",
        ]
    )
    return made


def test_a_routed_nic_of_lxd_or_incus_works_with_the_setting_routed(
    instance: Instance, eni: Eni
) -> None:
    """Without the setting, the host has the address, and answers instead of the container."""
    mine = eni.ipv4s[-1]
    instance.ec2net("refresh")
    container = routed_nic(instance, eni, mine)
    assert "nictype: routed" in DOCUMENT
    with served(container):
        assert f" {mine}/32 " in instance.guest.run(["ip", "addr", "show", eni.name]).stdout
        instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nrouted = ["{mine}"]\n')
        instance.ec2net("refresh")
        out, into = Attempt(mine, outside(instance), echo.PORT), Attempt(None, mine, echo.PORT)
        assert seen_sources(container, out) == [str(mine)]
        client = instance.vpc.outside.namespace
        assert seen_sources(client, into) == [str(outside(instance))]
        proxies = instance.guest.run(["ip", "neigh", "show", "proxy"]).stdout
        assert str(mine) in proxies
    assert instance.vpc.dropped() == 0


def test_a_macvlan_on_an_eni_gets_no_answer_since_the_vpc_knows_only_the_mac_of_the_eni(
    instance: Instance, eni: Eni
) -> None:
    mine = eni.ipv4s[-1]
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nrouted = ["{mine}"]\n')
    instance.ec2net("refresh")
    container, gateway = instance.vpc.namespace("macvlan"), eni.subnet.gateway_ipv4
    instance.guest.ip(
        [
            f"link add mac0 link {eni.name} type macvlan mode bridge",
            f"link set mac0 netns {container.name}",
        ]
    )
    container.ip(
        [
            "link set lo up",
            "link set mac0 up",
            f"addr add {mine}/32 dev mac0",
            f"neigh add {gateway} lladdr {eni.subnet.gateway_mac} dev mac0 nud permanent",
            f"route add default via {gateway} dev mac0 onlink",
        ]
    )
    attempt = Attempt(mine, outside(instance), echo.PORT)
    (found,) = connect_all(container, [attempt], FAILING)
    assert not isinstance(found, Answer)
    (link,) = json.loads(container.run(["ip", "-s", "-j", "link", "show", "mac0"]).stdout)
    assert link["stats64"]["tx"]["packets"] > 0
    assert instance.vpc.dropped() == 0  # so the packet left, and its answer got lost
    assert instance.unreachable(instance.vpc.enis[0]) == []


def test_the_host_device_plug_in_takes_the_whole_eni_and_returns_it(
    instance: Instance, eni: Eni
) -> None:
    """tests/lab/test_lab_cni.py runs the real plug-in."""
    pod, guest = instance.vpc.namespace("pod"), instance.guest
    with managed(instance) as manager:
        manager.until_configured(2)
        guest.ip([f"link set {eni.name} netns {pod.name}"])
        manager.until(lambda: "absent" in manager.states().values(), HANGS, "absent")
        assert instance.unreachable(instance.vpc.enis[0]) == []
        pod.ip([f"link set {eni.name} netns {guest.name}"])
        manager.until_configured(2)
        assert instance.unreachable() == []
