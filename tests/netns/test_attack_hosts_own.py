# SPDX-License-Identifier: Apache-2.0
"""ec2net takes over no route or address of the host, and never gives up its own."""

import json
import sys

import pytest
from instance import MANY, PROGRAM_LIMIT, Instance, environment, primary, subnets
from kernel_state import assert_same

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]

ABROAD = "198.51.100.1"

UNMARKED = """\
import sys
from ec2net.core.kernel import pyroute
pyroute.knows_address_protocol = lambda: False
from ec2net.core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The program with a pyroute2 that cannot mark addresses, as in Debian 12 and 13."""


def _host(vpc: SimulatedVpc, **given: int) -> tuple[Eni, Eni]:
    first, second = subnets(vpc, 2)
    return primary(vpc, first, **given), vpc.attach(second, device=1, **MANY)


def _defaults(instance: Instance) -> list[str]:
    routes = json.loads(instance.guest.run(["ip", "-j", "route", "show", "default"]).stdout)
    return [route.get("dev", "") for route in routes]


@pytest.mark.parametrize(
    "own",
    [
        "default via 10.0.1.1 dev br0 onlink metric 1024",
        "default metric 1024 nexthop via 10.0.1.1 dev ens5 nexthop via 10.0.1.2 dev ens5",
        "blackhole default metric 4000",
    ],
    ids=["bridge", "multipath", "blackhole"],
)
def test_ec2net_does_not_take_precedence_over_a_default_route_elsewhere(
    vpc: SimulatedVpc, instance: Instance, own: str
) -> None:
    """With the default route on a bridge over the primary (metric 1024), ec2net's (513) took over
    the host's traffic.

    A blackhole is a VPN's kill switch.
    """
    _, eni = _host(vpc)
    instance.guest.ip(["link add br0 type bridge", "link set br0 up"])
    instance.guest.ip(["route del default", f"route add {own}"])
    before = _defaults(instance)

    # An error in main is an answer, which no rule suppresses: then no packet leaves at all.
    unreachable = own.startswith("blackhole")
    instance.refresh(status=int(unreachable))

    assert _defaults(instance) == before
    assert instance.way(ABROAD, eni.ipv4s[0]) == ("" if unreachable else eni.name)


def test_ec2nets_default_route_has_less_precedence_than_one_elsewhere(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    _, eni = _host(vpc)
    instance.guest.ip(["link add wg0 type bridge", "link set wg0 up"])
    instance.guest.ip(["route del default", "route add default dev wg0 metric 50"])
    instance.refresh()
    assert _defaults(instance) == ["wg0", eni.name]
    instance.ec2net("verify")


def test_ipv6_addresses_outlive_a_leased_address(vpc: SimulatedVpc, instance: Instance) -> None:
    """DHCPv6 had leased the second address; when its client ended, ec2net withdrew the first."""
    first, _ = _host(vpc, ipv6=2)
    leased, other = first.ipv6s[1], first.ipv6s[0]
    link = ["dev", first.name]
    instance.guest.run(["ip", "addr", "del", f"{other}/128", *link])
    instance.guest.run(["ip", "addr", "add", f"{leased}/128", *link, "nodad"])
    instance.refresh()
    assert instance.unreachable(first) == []

    instance.guest.run(["ip", "addr", "del", f"{leased}/128", *link])
    instance.refresh()
    instance.refresh()

    assert instance.unreachable(first) == []


def _refresh_unmarked(instance: Instance) -> str:
    """The logged changes."""
    _, _, _, *arguments = instance.argv("refresh")
    command = [sys.executable, "-c", UNMARKED, *arguments]
    done = instance.guest.run(command, timeout=PROGRAM_LIMIT, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_addresses_added_with_an_older_pyroute2_are_still_owned(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """The journal lists these addresses. After an upgrade an address that EC2 had moved away stayed
    on the host."""
    _, eni = _host(vpc)
    _refresh_unmarked(instance)
    gone = eni.ipv4s[2]
    eni.unassign_ipv4(gone)

    instance.refresh()

    assert f"{gone}/" not in instance.guest.run(["ip", "-4", "addr"]).stdout
    assert instance.refresh() == []


def test_a_recorded_address_with_another_length_is_foreign(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """With keepalived's 10.0.2.5/24 and ec2net's 10.0.2.5/32, the next pass removed
    keepalived's."""
    _, eni = _host(vpc)
    _refresh_unmarked(instance)
    vip = eni.ipv4s[1]
    instance.guest.ip([f"addr add {vip}/24 dev {eni.name}"])
    before = instance.kernel()
    assert _refresh_unmarked(instance) == ""
    assert_same(before, instance.kernel())
    eni.unassign_ipv4(vip)
    _refresh_unmarked(instance)
    shown = instance.guest.run(["ip", "-4", "addr", "show", "dev", eni.name]).stdout
    assert (f"{vip}/24" in shown, f"{vip}/32" in shown) == (True, False)


def test_routes_with_ec2nets_mark_that_ec2net_never_adds_stay_unchanged(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """pyroute2 cannot delete a route of the type "other": each pass ended in a traceback."""
    first, eni = _host(vpc)
    instance.refresh()
    hops = f"nexthop dev {first.name} nexthop dev {eni.name}"
    instance.guest.ip(
        [
            "route add blackhole 192.0.2.0/26 table 10001 proto 236",
            "route add prohibit 192.0.2.64/26 proto 236",
            f"route add 192.0.2.128/26 table 10001 proto 236 {hops}",
        ]
    )
    before = instance.kernel()
    assert instance.refresh() == []
    assert_same(before, instance.kernel())


def test_an_eni_in_a_bridge_is_unmanaged(vpc: SimulatedVpc, instance: Instance) -> None:
    """The addresses are on the bridge; ec2net's rules led their traffic out of the port, past the
    bridge."""
    _, eni = _host(vpc)
    address = eni.ipv4s[0]
    instance.guest.ip(
        [
            f"link add over address {eni.mac} type bridge",
            f"link set {eni.name} master over",
            f"link set {eni.name} up",
            "link set over up",
            f"addr add {address}/24 dev over",
            "route add default via 10.0.2.1 dev over table 78",
            f"rule add from {address} lookup 78 priority 20000",
        ]
    )
    before = [line for line in instance.kernel()["addresses"] if eni.name in line]
    for command in ("start " + eni.name, "refresh", "verify", "status"):
        instance.ec2net(*command.split())
    assert instance.status()[str(eni.mac)]["reason"].startswith("it is a port of over")
    assert instance.way(ABROAD, address) == "over"
    assert [line for line in instance.kernel()["addresses"] if eni.name in line] == before

    instance.guest.ip([f"link set {eni.name} nomaster", "link del over"])
    instance.ec2net("refresh")
    assert instance.unreachable(eni) == []
