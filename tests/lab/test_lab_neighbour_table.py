# SPDX-License-Identifier: Apache-2.0
"""Podman, CNI plugins, HAProxy and chrony of Debian, on a host with ec2net and on one without.

Each test states what a user expects. On the host without ec2net a test only measures: what fails
there is not ec2net's. ``tests/support/neighbour_table.py`` prints the table.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from lab_boot import Boot
from lab_cloud_init import without_ec2net
from lab_cni import Pod, bridged
from lab_docker import PUBLISHED, Podman
from lab_instance import LabInstance
from lab_reach import reach, until_up
from lab_side import Side
from neighbour_table import Tried, counted

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = [
    pytest.mark.lab,
    pytest.mark.backend("networkd"),
    pytest.mark.mode("resident"),
    pytest.mark.exhaustive,
]

LIMIT = 3.0
"""Seconds for a connection; a packet that is lost makes it fail after 1 s."""


def two(instance: LabInstance) -> None:
    vpc = instance.vpc
    for subnet, device in ((instance.one, 0), (instance.two, 1)):
        vpc.attach(subnet, device=device, ipv4=2, ipv6=2)
        vpc.add_peer(subnet)


@pytest.fixture(scope="module", params=[True, False], ids=["with ec2net", "without ec2net"])
def side(request: pytest.FixtureRequest, boot: Boot) -> Iterator[Side]:
    ec2net: bool = request.param
    prepare = None if ec2net else without_ec2net
    with boot(before=two, neighbours=True, prepare=prepare, complete=ec2net) as instance:
        if not ec2net:
            until_up(instance)
        yield Side(instance, ec2net)


@contextmanager
def left_as_found(side: Side) -> Iterator[None]:
    yield
    side.leave()


def asked(
    tried: Tried, client: Namespace, destinations: Iterable[object], port: int, expected: object
) -> None:
    """Try a connection to each destination; the far end must have the address ``expected``."""
    attempts = [Attempt(None, ip_address(str(one)), port) for one in destinations]
    for attempt, found in zip(attempts, connect_all(client, attempts, LIMIT), strict=True):
        ok = isinstance(found, Answer) and str(found.local) == str(expected or found.local)
        tried.add(f"{client.name} to {attempt.destination}: {found}", ok)


def published(side: Side, neighbour: str, inside: Namespace, address: str) -> None:
    """Three rows: a published port of the primary and of the secondary ENI, and the way out."""
    vpc = side.vpc
    with counted(vpc) as tried:
        for client in side.clients:
            asked(tried, client.namespace, vpc.enis[0].ipv4s[:1], PUBLISHED, address)
    side.judge(neighbour, "published port of the primary ENI, hosts of every subnet", tried)
    with counted(vpc) as tried:
        asked(tried, inside, [client.ipv4 for client in side.clients], echo.PORT, None)
        asked(tried, inside, [eni.ipv4s[0] for eni in vpc.enis], echo.PORT, None)
    side.judge(neighbour, "out of the container, to hosts of every subnet and to the host", tried)


_STORAGE = """\
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""
"""The lab's root file system is an overlay, which Podman's own driver refuses."""


def test_a_container_of_podman_is_reached_and_reaches_everything(side: Side) -> None:
    with left_as_found(side):
        side.host.write("/etc/containers/storage.conf", _STORAGE)
        # The lab has no pids controller.
        side.host.write("/etc/containers/containers.conf", "[containers]\npids_limit = 0\n")
        podman = Podman(side.host)
        podman.run("box", f"--publish={PUBLISHED}:{echo.PORT}")
        with podman.serving("box") as (inside, address):
            published(side, "podman", inside, address)
        side.host.run(["podman", "rm", "--force", "--time=0", "box"], timeout=60)


def test_a_pod_behind_cni_bridge_and_portmap_is_reached_and_reaches_everything(side: Side) -> None:
    with (
        left_as_found(side),
        bridged(side.host, "pod", {PUBLISHED: echo.PORT}) as (pod, address),
        pod.serving() as inside,
    ):
        published(side, "CNI bridge and portmap", inside, address)


def test_an_eni_that_cni_moves_into_a_pod_and_back_works_again(side: Side) -> None:
    """The plugin host-device: meanwhile the other ENIs work."""
    host, vpc = side.host, side.vpc
    expectation = "the other ENIs work while the pod has the ENI"
    with left_as_found(side):
        third = vpc.attach(vpc.add_subnet("10.0.2.0/24"), ipv4=2)
        if side.ec2net:
            side.instance.complete()
        else:
            until_up(side.instance)
        before = reach(side.instance, third)
        pod, config = Pod(host, "pod"), {"type": "host-device", "device": third.name}
        pod.call("ADD", config, "eth0")
        side.judge("CNI host-device", expectation, reach(side.instance, *vpc.enis[:2]))
        pod.call("DEL", config, "eth0")
        pod.delete()
        if side.ec2net:
            side.instance.complete()
        else:
            host.run(["ip", "link", "set", third.name, "up"])
            until_up(side.instance)
        after = reach(side.instance, third)
        side.judge("CNI host-device", "the ENI works after its return", after)
        assert after.made >= before.made
        vpc.detach(third)


_HAPROXY = """
global
    stats socket /run/haproxy.sock
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen transparent
    bind 0.0.0.0:{port}
    source 0.0.0.0 usesrc clientip
    server pod {address}:{inner}
"""
_DIVERT = """
table ip divert {
    chain prerouting {
        type filter hook prerouting priority mangle
        meta l4proto tcp socket transparent 1 meta mark set 1 accept
    }
}
"""


@contextmanager
def haproxy(side: Side, address: str) -> Iterator[None]:
    """A transparent proxy in front of a pod, with the two commands that its documentation gives."""
    host = side.host
    text = _HAPROXY.format(port=9090, address=address, inner=echo.PORT)
    host.write("/etc/haproxy/haproxy.cfg", text)
    host.run(["nft", "-f", "-"], input=_DIVERT)
    host.run(["ip", "rule", "add", "fwmark", "1", "lookup", "100"])
    host.run(["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100"])
    host.run(["systemctl", "start", "haproxy.service"], timeout=60)
    try:
        yield
    finally:
        host.run(["systemctl", "stop", "haproxy.service"], timeout=60)
        host.run(["ip", "route", "flush", "table", "100"])
        host.run(["ip", "rule", "del", "fwmark", "1", "lookup", "100"])
        host.run(["nft", "delete", "table", "ip", "divert"])


def test_a_transparent_proxy_shows_its_backend_the_address_of_the_client(side: Side) -> None:
    """HAProxy's ``usesrc clientip``: the pod's replies to the client return to the proxy by a rule
    for marked packets."""
    with (
        left_as_found(side),
        bridged(side.host, "pod", {}) as (pod, address),
        pod.serving(),
        haproxy(side, address),
    ):
        with counted(side.vpc) as tried:
            for client in side.clients:
                for eni in side.vpc.enis:
                    attempt = Attempt(client.ipv4, eni.ipv4s[0], 9090)
                    (found,) = connect_all(client.namespace, [attempt], LIMIT)
                    ok = isinstance(found, Answer) and found.seen == client.ipv4
                    tried.add(f"{client.ipv4} by {eni.name}: {found}", ok)
        side.judge("HAProxy with TPROXY", "the backend sees each client, by every ENI", tried)


def test_chrony_answers_hosts_of_every_subnet_from_the_address_that_they_asked(side: Side) -> None:
    """A service of unconnected UDP sockets, which names the source of each answer (IP_PKTINFO)."""
    host, vpc = side.host, side.vpc
    with left_as_found(side):
        host.write("/etc/chrony/chrony.conf", "local stratum 8\nallow all\ncmdport 0\n")
        host.run(["sh", "-c", "mkdir -p /run/chrony; chronyd -x -f /etc/chrony/chrony.conf"])
        own = [address for eni in vpc.enis for address in eni.addresses()]
        with counted(vpc) as tried:
            for client in side.clients:
                for address in own:
                    answered = client.namespace.call(lambda to=str(address): ask_time(to))  # type: ignore[misc]
                    tried.add(f"{client.ipv4} asks {address}: {answered}", answered == str(address))
        expectation = "an answer from each address that a host of any subnet asks"
        side.judge("chrony", expectation, tried)
        host.run(["sh", "-c", "kill $(cat /run/chrony/chronyd.pid)"])


def ask_time(address: str) -> str:
    """The address from which an NTP server answers; empty if it does not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1.0)
        try:
            asking.sendto(bytes([0x23, *bytes(47)]), (address, 123))
            return str(asking.recvfrom(512)[1][0])
        except OSError:
            return ""
