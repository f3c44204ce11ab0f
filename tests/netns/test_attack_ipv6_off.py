# SPDX-License-Identifier: Apache-2.0
"""Where IPv6 is off, IPv4 works completely; a failed change affects only its dependents.

CIS hardening turns IPv6 off on hosts whose subnets have it.
"""

import json
import socket

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import assert_same

from ec2net.core.kernel import dump, wire
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

MPLS = 28
"""AF_MPLS: a family without rules, as IPv6 is with ipv6.disable=1 on the kernel's command line."""


def _host(vpc: SimulatedVpc) -> tuple[Eni, Eni]:
    first, second = subnets(vpc, 2)
    return primary(vpc, first), vpc.attach(second, device=1, **MANY)


def _switch_ipv6(instance: Instance, eni: Eni, *, off: bool) -> None:
    instance.guest.sysctl({f"net/ipv6/conf/{eni.name}/disable_ipv6": str(int(off))})


def _unreachable_ipv4(instance: Instance, eni: Eni) -> list[object]:
    ticks = instance.vpc.check_out(eni, timeout=3.0) + instance.vpc.check_in(eni, timeout=3.0)
    assert any(tick.address.version == 4 for tick in ticks)
    return [tick for tick in ticks if tick.address.version == 4 and not tick.ok]


def test_a_link_with_ipv6_off_gets_all_of_ipv4_without_a_problem(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """One IPv6 address that could not be added stopped all IPv4 routes."""
    _, eni = _host(vpc)
    _switch_ipv6(instance, eni, off=True)

    instance.refresh()

    assert _unreachable_ipv4(instance, eni) == []
    assert instance.refresh() == []
    instance.ec2net("verify")
    instance.ec2net("start", eni.name)


def test_ipv6_turned_off_and_on_again_is_configured_as_before(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    _, eni = _host(vpc)
    instance.refresh()
    before = instance.kernel()

    _switch_ipv6(instance, eni, off=True)
    new = eni.assign_ipv4()
    instance.refresh()
    assert _unreachable_ipv4(instance, eni) == []

    eni.unassign_ipv4(new)
    _switch_ipv6(instance, eni, off=False)
    instance.refresh()
    assert_same(before, instance.kernel())


def test_required_ipv6_that_fails_does_not_affect_ipv4(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """The error does not report a removed link, which would be no failure at all."""
    _, eni = _host(vpc)
    instance.configure('ipv6 = "on"\n')
    _switch_ipv6(instance, eni, off=True)

    done = instance.ec2net("refresh", status=1)

    assert "IPv6 is off on the link" in done.stderr
    assert _unreachable_ipv4(instance, eni) == []


def test_a_secondary_keeps_ipv6_when_the_primary_gets_a_tiny_mtu(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """Below 1280 bytes the kernel removes IPv6 from a link, so the secondary keeps its own MTU."""
    first, eni = _host(vpc)
    instance.refresh()
    instance.guest.ip([f"link set {first.name} mtu 1000"])

    instance.ec2net("refresh", status=None)

    assert instance.unreachable(eni) == []


def test_a_family_without_rules_has_an_empty_list_of_rules() -> None:
    """With ipv6.disable=1 the kernel answers EAFNOSUPPORT, which made every command fail."""
    dumps = dump.Dumps()
    try:
        assert dumps.read(wire.RULES, repr, family=MPLS) == []
        assert dumps.read(wire.RULES, repr, family=socket.AF_INET)
    finally:
        dumps.close()


def test_a_list_of_links_that_stays_incomplete_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An omitted link would count as removed, and ec2net would remove its configuration."""
    dumps = dump.Dumps()
    try:
        monkeypatch.setattr(dumps, "_once", lambda *_: ([], True))
        with pytest.raises(OSError, match="keeps changing"):
            dumps.read(wire.LINKS, repr)
        assert dumps.read(wire.RULES, repr, family=socket.AF_INET) == []
    finally:
        dumps.close()


def test_status_omits_ipv6_where_it_is_off(vpc: SimulatedVpc, instance: Instance) -> None:
    _, eni = _host(vpc)
    _switch_ipv6(instance, eni, off=True)
    instance.refresh()
    row = json.loads(instance.ec2net("status", "--json").stdout)["enis"][1]
    assert {address.split("/")[1] for address in row["intent"]["base"]} == {"24"}
    assert row["trouble"] == []
