# SPDX-License-Identifier: Apache-2.0
"""MTUs that a device refuses: ec2net reports the reason, and configures everything else of the
ENI."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from instance import MANY, Instance, environment, primary, subnets

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import LinkRef, LinkSetting, Setting
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

PLUGIN = """\
from dataclasses import replace
from ec2net.core.plugins.api import hookimpl

@hookimpl
def ec2net_adjust_intent(intent, facts):
    return None if intent.primary else replace(intent, mtu=70000)
"""
"""An MTU above the maximum of a veth, 65535, which is the largest that the configuration takes."""


def mtu_of(instance: Instance, link: str) -> int:
    (found,) = (x for x in map(json.loads, instance.kernel()["links"]) if x["ifname"] == link)
    return int(found["mtu"])


def test_an_mtu_above_the_device_maximum_is_never_set_and_is_reported(
    instance: Instance, tmp_path: Path
) -> None:
    """Each refresh sent it, failed with EINVAL and did not verify the ENI."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first, **MANY)
    instance.vpc.attach(second, **MANY)
    (tmp_path / "ec2net_huge.py").write_text(PLUGIN)
    metadata = tmp_path / "ec2net_huge-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ec2net-huge\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[ec2net]\nhuge = ec2net_huge\n")
    env = {"PYTHONPATH": f"{environment()['PYTHONPATH']}:{tmp_path}"}
    instance.configure('[plugins]\nenabled = ["huge"]\n')
    for _ in range(2):
        done = instance.ec2net("refresh", status=1, env=env)
        assert "EINVAL" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "mtu" in line]
        assert "ens6" in line
        assert "the device accepts at most 65535, so the MTU stays 9001" in line
        assert 'set mtu to 65535 or less, or to "keep"' in line
    assert instance.unreachable() == []
    planned = json.loads(instance.ec2net("plan", "--json", env=env).stdout)
    assert planned["changes"] == []
    assert len(planned["conflicts"]) == 1
    told = instance.ec2net("doctor", status=None, env=env).stdout
    assert "mtu = 70000 is configured, and the device accepts at most 65535" in told
    assert "conflict" not in told


def test_a_refusal_of_the_kernel_is_reported_in_its_words(instance: Instance) -> None:
    eni = primary(instance.vpc, *subnets(instance.vpc, 1))

    def ask() -> str:
        with Kernel(236) as kernel:
            link = next(link for link in kernel.links() if link.name == eni.name)
            with pytest.raises(KernelError) as refused:
                kernel.replace(LinkSetting(LinkRef(link.index, link.name), Setting.MTU, 70000))
            return str(refused.value)

    told = instance.guest.call(ask)
    assert told.endswith('Invalid argument (EINVAL), "mtu greater than device maximum"')


def test_an_mtu_that_the_kernel_refuses_affects_nothing_else_of_the_eni(
    vpc: SimulatedVpc, install: Callable[[SimulatedVpc], Instance]
) -> None:
    """A macvlan has a maximum of 65535 and refuses an MTU above that of its lower link."""
    instance = install(vpc)
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    vpc.guest.ip(
        [
            f"link delete {eni.name}",
            "link add below mtu 1500 type bridge",
            "link set below up",
            f"link add {eni.name} link below address {eni.mac} type macvlan",
        ]
    )
    instance.configure("mtu = 9001\n")
    drivers = instance.config_root / "etc/ec2net/ec2net.toml.d/10-macvlan.toml"
    drivers.write_text('[links]\ndrivers = ["veth", "macvlan"]\n')
    done = instance.ec2net("refresh", status=1)
    refused = [line for line in done.stderr.splitlines() if "EINVAL" in line]
    assert len(refused) == 1, done.stderr
    assert f"link {eni.name} mtu 9001" in refused[0]
    assert mtu_of(instance, eni.name) == 1500
    (change,) = instance.plan()["changes"]
    assert change["text"] == f"link {eni.name} mtu 9001"
    assert len(instance.status()[str(eni.mac)]["trouble"]) == 1
    addresses = str(instance.kernel()["addresses"])
    assert all(f'"{address}"' in addresses for address in eni.addresses())


def test_an_mtu_that_already_removed_ipv6_is_refused(instance: Instance) -> None:
    """The ENI silently had no IPv6. An MTU of an administrator who turned IPv6 off is not
    refused."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    eni = instance.vpc.attach(second, **MANY)
    instance.guest.ip([f"link set {eni.name} mtu 600"])
    instance.configure("[[eni]]\nmatch = { device = 1 }\nmtu = 600\n")
    done = instance.ec2net("refresh", status=1)
    assert "mtu = 600 would remove IPv6 from the link" in done.stderr
    instance.guest.sysctl({"net/ipv6/conf/default/disable_ipv6": "1"})
    instance.ec2net("refresh")
    assert mtu_of(instance, eni.name) == 600
