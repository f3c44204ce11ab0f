# SPDX-License-Identifier: Apache-2.0
"""Every command of ip(8) that a message suggests does its work in a real kernel."""

from ipaddress import ip_address, ip_network

import pytest
import suggestions
from instance import Instance, primary, subnets

from ec2net.core.engine.causes import deletion
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.objects import LinkRef, Route, RouteKind, Rule, RuleAction

pytestmark = pytest.mark.netns

PREPARED = (
    "link set ens6 up",
    "addr add 192.0.2.1/32 dev ens6",
    "addr add 192.0.2.2/32 dev ens6",
    "addr add 192.0.2.3/32 dev ens6",
    "addr add 198.18.0.1/24 dev ens6",
    "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev ens6 nud permanent",
)
NO_LINK = LinkRef(0, "")


def rules_and_routes(instance: Instance) -> list[list[str]]:
    """Except the kernel's own, which appear with IPv6 link-local addresses."""
    state = instance.kernel()
    found = [state[f"{kind} {version}"] for kind in ("rules", "routes") for version in (4, 6)]
    return [[line for line in lines if "fe80::/64" not in line] for lines in found]


def test_ip_accepts_every_suggested_command(instance: Instance) -> None:
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    instance.vpc.attach(second)
    instance.guest.ip(PREPARED)
    for words in suggestions.of("ip"):
        if "netns" in words:
            continue  # enters every namespace of this machine
        done = instance.guest.run(words)
        assert (done.returncode, done.stderr) == (0, ""), " ".join(words)


def test_a_deletion_that_doctor_suggests_deletes_the_object(instance: Instance) -> None:
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    instance.vpc.attach(second)
    instance.guest.ip(PREPARED)
    guest = instance.guest
    link = LinkRef(guest.call(_index), "ens6")
    items = (
        Rule(ip_network("10.0.1.4/32"), 10001, 10001),
        Rule(ip_network("2001:db8::4/128"), 10001, 10001),
        Rule(ip_network("0.0.0.0/0"), 10009, 254, suppress_prefixlength=0),
        Rule(ip_network("10.0.1.0/24"), 10003, 77, destination=ip_network("10.9.0.0/16")),
        Route(ip_network("0.0.0.0/0"), 10001, 512, link, ip_address("198.18.0.9")),
        Route(ip_network("::/0"), 10001, 512, link, ip_address("fe80::1")),
        Route(ip_network("10.9.0.0/16"), 10001, 0, link, source=ip_address("198.18.0.1")),
        Route(ip_network("2001:db8:9::/48"), 10001, 1024, link),
    )
    for item in items:

        def make(item: Rule | Route = item) -> None:
            with Kernel(99) as kernel:
                kernel.add(item)

        before = rules_and_routes(instance)
        guest.call(make)
        assert rules_and_routes(instance) != before
        done = guest.run(deletion(item).split())
        assert (done.returncode, done.stderr) == (0, ""), deletion(item)
        assert rules_and_routes(instance) == before, deletion(item)


def _index() -> int:
    import socket

    return socket.if_nametoindex("ens6")


@pytest.mark.parametrize(
    "item",
    [
        Route(ip_network("::/0"), 10001, 1024, NO_LINK, kind=RouteKind.OTHER),
        Route(ip_network("0.0.0.0/0"), 10001, 0, NO_LINK, kind=RouteKind.UNREACHABLE),
        Rule(ip_network("10.0.1.4/32"), 10001, 0, action=RuleAction.UNREACHABLE),
    ],
)
def test_an_object_that_no_command_identifies_gets_no_suggestion(item: Rule | Route) -> None:
    """doctor printed 'ip -6 route del other default dev 0 ...' before."""
    assert deletion(item) == ""
