# SPDX-License-Identifier: Apache-2.0
"""With a CNI plugin that uses ENIs and secondary addresses, on hosts with a real network
manager."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

import cni
import pytest
from kernel_state import assert_same, marked
from lab_boot import Boot
from lab_instance import MANY, LabInstance
from lab_watch import monitor
from probe import Probe

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.lab

REFRESHES = 20

DEFAULTS = "/run/NetworkManager/conf.d/80-ec2net.conf"

FILES = {
    # A file of the plugin's package.
    "/usr/lib/ec2net/ec2net.toml.d/50-cni.toml": (
        'profile = "kubernetes"\nipv4_prefix_mode = "local"\n'
    ),
    "/usr/lib/NetworkManager/conf.d/50-cni.conf": (
        "[keyfile]\nunmanaged-devices=interface-name:ens9\n"
    ),
}


def attach(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, **MANY)
    instance.vpc.attach(instance.two, **MANY)


def end_of_boot(instance: LabInstance) -> None:
    """Later ENIs do not belong to the boot: its seconds are over."""
    path = "/run/ec2net/at-boot.json"
    record = json.loads(instance.host.read(path))
    instance.host.write(path, json.dumps({**record, "until": 0}))


def until_configured(instance: LabInstance, *enis: Eni) -> None:
    for eni in enis:
        instance.until_unit(eni.name, "active")


def test_pods_keep_their_addresses_and_their_traffic_throughout(boot: Boot) -> None:
    """Pods on addresses of the primary, of a boot ENI and of the plugin's ENI. Every 20 ms the test
    connects in both directions, during a hotplug, 20 refreshes, a restart of the network manager
    and of ec2net. The host's local table never contains a pod's address, and no rule of ec2net is
    for one."""
    with boot(before=attach, files=FILES, complete=False) as instance, ExitStack() as stack:
        vpc, main, eni = instance.vpc, instance.primary, instance.secondary
        until_configured(instance, main, eni)
        instance.until_at_rest(main, eni)
        end_of_boot(instance)
        events = stack.enter_context(monitor(vpc))
        cni.add_table(vpc, eni)
        pods = cni.three_pods(stack, vpc, main, eni)
        assert cni.dead(vpc, pods) == []
        with pods_traffic(vpc, pods) as probes:
            later = instance.attach("ens9", **MANY)
            until_configured(instance, later)  # the ENI is ignored
            cni.set_up(vpc, later)
            address = later.ipv4s[1]
            inside = stack.enter_context(cni.pod(vpc, address, later, "four"))
            assert cni.dead(vpc, {address: inside}) == []
            with pods_traffic(vpc, {address: inside}) as more:
                before = instance.kernel()
                for _ in range(REFRESHES):
                    assert instance.refresh() == ""
                assert_same(before, instance.kernel())
                if instance.setting.backend == "networkmanager":
                    assert str(later.mac) not in instance.host.read(DEFAULTS)
                instance.setting.restart(instance.host)
                instance.host.run(["systemctl", "restart", "ec2net.service"])
                until_configured(instance, main, eni, later)
                instance.refresh()
        assert [gap for probe in (*probes, *more) for gap in probe.gaps] == []
        assert min(probe.made for probe in (*probes, *more)) > 50
        assert vpc.dropped() == 0
        assert instance.kernel()["rules 4"] == before["rules 4"]
        assert marked(instance.kernel()) == marked(before)
        pods_own = [a for one in vpc.enis for a in (*one.ipv4s[1:], *one.ipv6s[1:])]
        pods_own += [prefix[n] for one in vpc.enis for prefix in one.prefixes() for n in (0, 7)]
        assert cni.taken(vpc.guest, *pods_own) == []
        came = [line.split()[1] for _, line in events.lines if line.startswith("local ")]
        assert str(later.ipv4s[0]) in came
        assert set(came).isdisjoint(map(str, pods_own))
        works = instance.vpc.check_in(main, eni)
        firsts = {address for one in (main, eni) for address in (one.ipv4s[0], one.ipv6s[0])}
        assert {tick.address for tick in works if tick.ok} >= firsts


@contextmanager
def pods_traffic(vpc: SimulatedVpc, pods: Mapping[IPv4Address, Namespace]) -> Iterator[list[Probe]]:
    """From and to each pod."""
    outside = vpc.outside.ipv4
    with ExitStack() as stack:
        probes = [Probe(vpc.outside.namespace, [(outside, address) for address in pods])]
        probes += [Probe(inside, [(address, outside)]) for address, inside in pods.items()]
        for probe in probes:
            stack.enter_context(probe)
        yield probes
