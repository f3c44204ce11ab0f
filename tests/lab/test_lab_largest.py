# SPDX-License-Identifier: Apache-2.0
"""The largest instance with systemd-networkd: 64 ENIs with addresses at random, by the packaged daemon."""

import ipaddress
import re
import threading
import time
from typing import Any

import pytest
from lab_boot import Boot
from lab_instance import LabInstance

from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.subnet import Subnet

pytestmark = [pytest.mark.lab, pytest.mark.exhaustive]

ENIS = 64
HELD: dict[str, Any] = {"ipv4": 50, "ipv6": 50}
LIMIT = 600.0
"""Seconds: no verdict, the end of a hang."""


def subnet(instance: LabInstance, number: int) -> Subnet:
    return instance.vpc.add_subnet(f"10.{number}.0.0/16", f"2001:db8:0:{number}::/64")


def attach_all(instance: LabInstance) -> None:
    """Two ENIs on each network card, as EC2's largest instances have them."""
    instance.vpc.cards = ENIS // 2
    instance.vpc.ipv4 = ipaddress.IPv4Network("10.0.0.0/8")
    first, others = subnet(instance, 16), subnet(instance, 17)
    for number in range(ENIS):
        card, device = divmod(number, 2)
        instance.vpc.attach(others if number else first, card=card, device=device, **HELD)


def missing(vpc: VpcWithDhcp, *enis: Eni) -> int:
    """Addresses that are on no link of the host."""
    shown = vpc.guest.run(["ip", "-oneline", "address"]).stdout
    there = set(re.findall(r"inet6? ([0-9a-f.:]+)/", shown))
    return sum(str(address) not in there for eni in enis for address in eni.addresses())


class Watch:
    """Records when all addresses of the ENIs exist, from before the boot on."""

    def __init__(self) -> None:
        self.complete = threading.Event()
        self.seconds = 0.0

    def begin(self, instance: LabInstance) -> None:
        attach_all(instance)
        threading.Thread(target=self._watch, args=(instance.vpc,), daemon=True).start()

    def _watch(self, vpc: VpcWithDhcp) -> None:
        enis, end = tuple(vpc.enis), time.monotonic() + LIMIT
        while time.monotonic() < end:
            if missing(vpc, *enis) == 0:
                self.seconds = time.monotonic()
                self.complete.set()
                return
            self.complete.wait(0.3)


def started(instance: LabInstance) -> float:
    """When the daemon's process was started, in seconds of CLOCK_MONOTONIC."""
    name = "ExecMainStartTimestampMonotonic"
    shown = instance.host.run(["systemctl", "show", "-P", name, "ec2net.service"]).stdout
    return int(shown) / 1e6


def peak(instance: LabInstance) -> int:
    """MiB that the daemon's process had at most (VmHWM)."""
    shown = instance.host.run(["systemctl", "show", "-P", "MainPID", "ec2net.service"]).stdout
    status = instance.host.run(["cat", f"/proc/{shown.strip()}/status"]).stdout
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def limit(instance: LabInstance) -> int:
    """MiB that the packaged unit allows."""
    shown = instance.host.run(["systemctl", "show", "-P", "MemoryMax", "ec2net.service"]).stdout
    return int(shown) >> 20


@pytest.mark.backend("networkd")
@pytest.mark.first_setting
def test_the_largest_instance_is_configured_within_the_memory_limit_of_the_unit(boot: Boot) -> None:
    """It failed before: each pass ended at its deadline, and none of its results were kept."""
    watch = Watch()
    with boot(before=watch.begin, complete=False, timer=True) as instance:
        assert watch.complete.wait(LIMIT), instance.story()
        first = watch.seconds - started(instance)
        print(f"{ENIS} ENIs: all {ENIS * 100} addresses {first:.1f} s after the daemon's start")
        began = time.monotonic()
        eni = instance.vpc.attach(instance.vpc.subnets[1], card=ENIS // 2, device=0, **HELD)
        instance.host.wait_until(
            lambda: missing(instance.vpc, eni) == 0, LIMIT, f"all addresses of {eni.name}"
        )
        print(f"a hotplug: all 100 addresses after {time.monotonic() - began:.1f} s")
        used = peak(instance)
        print(f"the daemon: {used} MiB at most, MemoryMax {limit(instance)} MiB")
        assert used < limit(instance)
        restarts = instance.host.run(["systemctl", "show", "-P", "NRestarts", "ec2net.service"])
        assert restarts.stdout.strip() == "0"
        instance.complete(eni)
