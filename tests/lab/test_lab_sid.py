# SPDX-License-Identifier: Apache-2.0
"""A host with Debian sid: the next systemd, kernel tools and Python before a release has them."""

from collections.abc import Iterator

import pytest
from lab_instance import LabInstance, Mode, Setting, booted
from lab_reach import reach
from lab_root import Release

pytestmark = [
    pytest.mark.lab,
    pytest.mark.exhaustive,
    pytest.mark.xfail(strict=False, reason="Debian sid may be ahead of ec2net (docs/testing.md)"),
]

PACKAGES = "systemd network-manager iproute2 nftables python3 python3-pyroute2 python3-dbus-next"


def two(instance: LabInstance) -> None:
    vpc = instance.vpc
    for subnet, device in ((instance.one, 0), (instance.two, 1)):
        vpc.attach(subnet, device=device, ipv4=2, ipv6=2)
        vpc.add_peer(subnet)


@pytest.fixture(scope="module", params=["networkd", "networkmanager"])
def instance(request: pytest.FixtureRequest) -> Iterator[LabInstance]:
    with booted(Setting(Release.SID, request.param, Mode.RESIDENT), before=two) as found:
        shown = ["dpkg-query", "--show", *PACKAGES.split()]
        print("Debian sid:", ", ".join(found.host.run(shown).stdout.split("\n")).replace("\t", " "))
        yield found


def test_every_address_works_and_ec2net_has_nothing_to_do(instance: LabInstance) -> None:
    found = reach(instance, peers=instance.vpc.peers)
    assert (found.failed, found.wrong_way) == ([], 0)
    assert instance.host.ec2net("verify").returncode == 0
    instance.host.wait_until(lambda: instance.refresh() == "", 60, "an empty plan")


def test_a_later_eni_works_and_its_detachment_leaves_nothing(instance: LabInstance) -> None:
    eni = instance.attach_many()
    assert instance.unreachable() == []
    instance.vpc.detach(eni)
    instance.until_unit(eni.name, "inactive")
    assert (
        eni.name not in instance.host.run(["sh", "-c", "ip rule; ip route show table all"]).stdout
    )


def test_the_host_works_after_a_reboot(instance: LabInstance) -> None:
    instance.host.reboot()
    instance.complete()
    assert instance.host.ec2net("verify").returncode == 0
