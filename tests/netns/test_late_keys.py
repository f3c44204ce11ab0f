# SPDX-License-Identifier: Apache-2.0
"""Keys of a new ENI that IMDS publishes one after the other, on the real kernel."""

import time
from collections.abc import Callable

import pytest
from histories import KEYS
from instance import MANY, Instance, primary, subnets
from kernel_state import KernelEvents, assert_same
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

IGNORE_CARD_1 = '[[eni]]\nmatch = { card = 1 }\nmanage = "ignore"\n'


def withheld(vpc: SimulatedVpc, key: str) -> Eni:
    """A new ENI on device 1 of card 1 of which IMDS does not list this key yet."""
    propagation = Propagation(withheld={key: None})
    return vpc.attach(vpc.subnets[1], "ens9", card=1, device=1, propagation=propagation, **MANY)


def complete(instance: Instance, eni: Eni) -> bool:
    """Whether each address of the ENI leaves by it, and each prefix has a rule."""
    rules = [
        line
        for f in ("-4", "-6")
        for line in instance.guest.run(["ip", f, "rule"]).stdout.splitlines()
    ]
    outside, table = instance.vpc.outside, 10000 + 100 * eni.card + eni.device
    return all(
        instance.way(outside.address(one.version), one) == eni.name for one in eni.addresses()
    ) and all(
        any(f"from {prefix} lookup {table}" in rule for rule in rules) for prefix in eni.prefixes()
    )


@pytest.mark.parametrize("key", KEYS)
def test_a_late_key_is_applied_without_a_poll(
    install: Callable[[SimulatedVpc], Instance], key: str
) -> None:
    """The next test has the delay: two seconds on an idle host."""
    with SimulatedVpc(cards=2) as vpc:
        instance = install(vpc)
        instance.configure("[resident]\npoll = 3600\n")
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        established = vpc.attach(second, device=1, **MANY)
        with managed(instance) as manager:
            manager.until_configured(2)
            before = instance.kernel()
            eni = withheld(vpc, key)
            assert vpc.imds.wait_for(f"{eni.mac}/$", times=4, timeout=20)
            assert manager.states()[str(established.mac)] == "configured"
            vpc.settle(eni, key)
            took = manager.until(lambda: complete(instance, eni), what="ens9 complete")
            print(f"{key}: complete {took:.2f} s after it was listed")
            assert instance.unreachable(eni) == []
            manager.until_configured(3)
            assert instance.status()[str(eni.mac)]["intent"]["table"] == 10101
            assert instance.unreachable() == []
            vpc.detach(eni)
            manager.until_configured(2)
            assert_same(before, instance.kernel())


WITHIN = 2.0
"""Seconds from a key in IMDS to an address that works, without the seconds of the test's own check."""


@pytest.mark.serial
@pytest.mark.exhaustive
def test_each_late_key_is_applied_within_two_seconds(
    install: Callable[[SimulatedVpc], Instance],
) -> None:
    """Each key in turn, and the listing of the ENI itself; the table is printed."""
    rows: list[tuple[str, float, float]] = []
    with SimulatedVpc(cards=2) as vpc:
        instance = install(vpc)
        instance.configure("[resident]\npoll = 3600\n")
        # The VPC gives no prefix a second time.
        first, second = subnets(vpc, 1)[0], vpc.add_subnet("10.0.32.0/20", "2001:db8:0:32::/64")
        primary(vpc, first, **MANY)
        vpc.attach(second, device=1, **MANY)
        vpc.imds.remove("mac")
        with managed(instance, ready=False) as manager:
            assert vpc.imds.wait_for("meta-data/mac$", times=4, timeout=20)
            vpc.imds.put("mac", str(vpc.enis[0].mac))
            took = manager.until(lambda: _whole(instance, vpc.enis[1]), what="mac")
            rows.append(("mac", took, _check(instance, vpc.enis[1])))
            manager.hear("READY=1")
            for key in ("(listing)", *KEYS):
                manager.until_configured(2)
                eni = withheld(vpc, key) if key in KEYS else _unlisted(vpc)
                path = f"{eni.mac}/$" if key in KEYS else "interfaces/macs/$"
                vpc.imds.clear_log()
                assert vpc.imds.wait_for(path, times=4, timeout=20)
                vpc.settle(eni, *[key] * (key in KEYS))
                took = manager.until(lambda: _whole(instance, eni), what=key)  # noqa: B023
                rows.append((key, took, _check(instance, eni)))
                vpc.detach(eni)
    print(
        "| key that comes late | seconds until it works | of them the check |\n| --- | --- | --- |"
    )
    print("\n".join(f"| {key} | {took:.2f} | {check:.2f} |" for key, took, check in rows))
    assert [row for row in rows if row[1] > WITHIN + row[2]] == []


def _unlisted(vpc: SimulatedVpc) -> Eni:
    """As ``withheld``, but IMDS does not list the ENI at all."""
    hidden = Propagation(listed=None)
    return vpc.attach(vpc.subnets[1], "ens9", card=1, device=1, propagation=hidden, **MANY)


def _whole(instance: Instance, eni: Eni) -> bool:
    named = instance.guest.run(["ip", "link", "show", str(eni.eni_id)])
    return named.returncode == 0 and complete(instance, eni)


def _check(instance: Instance, eni: Eni) -> float:
    """Seconds that it takes to see that an ENI works; it must."""
    began = time.monotonic()
    assert _whole(instance, eni)
    took = time.monotonic() - began
    assert instance.unreachable(eni) == []
    return took


@pytest.mark.parametrize("resident", [False, True], ids=["on-demand", "resident"])
def test_an_eni_that_a_late_key_ignores_is_never_changed(
    install: Callable[[SimulatedVpc], Instance], resident: bool
) -> None:
    with SimulatedVpc(cards=2) as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        vpc.attach(second, device=1, **MANY)
        instance.configure(IGNORE_CARD_1)
        instance.ec2net("refresh")
        if not resident:
            eni = withheld(vpc, "network-card")
            with KernelEvents(vpc.guest) as events:
                assert instance.refresh() == []
                vpc.settle(eni, "network-card")
                instance.ec2net("start", "ens9")
                assert instance.refresh() == []
                assert events.taken() == []
            assert instance.status()[str(eni.mac)]["standing"] == "ignored"
            return
        with managed(instance) as manager:
            manager.until_configured(2)
            eni = withheld(vpc, "network-card")
            before = instance.kernel()
            assert vpc.imds.wait_for(f"{eni.mac}/$", times=4, timeout=20)
            assert manager.states()[str(eni.mac)] == "pending"
            vpc.settle(eni, "network-card")
            manager.until(lambda: manager.states()[str(eni.mac)] == "ignored")
            assert_same(before, instance.kernel())


def test_start_waits_for_the_network_card(install: Callable[[SimulatedVpc], Instance]) -> None:
    """The ENI is read alone: the primary's keys show that the host has network cards."""
    with SimulatedVpc(cards=2) as vpc:
        instance = install(vpc)
        primary(vpc, subnets(vpc, 2)[0], **MANY)
        eni = withheld(vpc, "network-card")
        with instance.running("start", "ens9") as start:
            assert vpc.imds.wait_for(f"{eni.mac}/$", times=3, timeout=20)
            assert start.poll() is None
            vpc.settle(eni, "network-card")
            assert start.wait(20) == 0
        assert instance.status()[str(eni.mac)]["intent"]["table"] == 10101
        assert instance.unreachable(eni) == []
