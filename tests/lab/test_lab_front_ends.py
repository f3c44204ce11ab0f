# SPDX-License-Identifier: Apache-2.0
"""Netplan alone, and dhcpcd as the DHCP client of every ENI, on a host with ec2net and on one without."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest
from lab_boot import Boot
from lab_cloud_init import without_ec2net
from lab_instance import LabInstance
from lab_manager import mask_networkd
from lab_reach import reach, until_up, until_works
from lab_side import Side

pytestmark = [pytest.mark.lab, pytest.mark.mode("resident"), pytest.mark.exhaustive]


class FrontEnd(Enum):
    """The program that configures the links."""

    NETPLAN = "netplan"
    DHCPCD = "dhcpcd"


_NETPLAN = """\
network:
  version: 2
  renderer: {renderer}
  ethernets:
    ens5: {{dhcp4: true, dhcp6: true}}
    ens6:
      dhcp4: true
      dhcp6: true
      dhcp4-overrides: {{route-metric: 200}}
      dhcp6-overrides: {{route-metric: 200}}
"""
_RENDERERS = {"networkd": "networkd", "networkmanager": "NetworkManager"}

_DHCPCD = """\
[Unit]
Before=network.target
Wants=network.target
[Service]
ExecStart=/usr/sbin/dhcpcd --nobackground ens5 ens6
[Install]
WantedBy=multi-user.target
"""
_AGAIN = {
    FrontEnd.NETPLAN: ["netplan", "apply"],
    FrontEnd.DHCPCD: ["systemctl", "restart", "dhcpcd.service"],
}


def two(instance: LabInstance) -> None:
    vpc = instance.vpc
    for subnet, device in ((instance.one, 0), (instance.two, 1)):
        vpc.attach(subnet, device=device, ipv4=2, ipv6=2)
        vpc.add_peer(subnet)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(FrontEnd.NETPLAN, marks=pytest.mark.backend("networkd", "networkmanager")),
        pytest.param(FrontEnd.DHCPCD, marks=pytest.mark.backend("networkd")),
    ],
    ids=lambda front_end: front_end.value,
)
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    found: FrontEnd = request.param
    return found


@pytest.fixture(scope="module", params=[True, False], ids=["with ec2net", "without ec2net"])
def side(
    request: pytest.FixtureRequest, boot: Boot, front_end: FrontEnd, setting: object
) -> Iterator[Side]:
    ec2net: bool = request.param
    renderer = _RENDERERS[setting.backend]  # type: ignore[attr-defined]
    files = {
        FrontEnd.NETPLAN: {"/etc/netplan/50-own.yaml": _NETPLAN.format(renderer=renderer)},
        FrontEnd.DHCPCD: {"/etc/systemd/system/dhcpcd.service": _DHCPCD},
    }[front_end]

    def prepare(root: Path) -> None:
        for path in root.glob("etc/netplan/*"):
            path.chmod(0o600)  # netplan warns otherwise
        if front_end is FrontEnd.DHCPCD:
            mask_networkd(root)
        if not ec2net:
            without_ec2net(root)

    with boot(
        before=two, neighbours=True, files=files, prepare=prepare, complete=False
    ) as instance:
        (until_works if ec2net else until_up)(instance)
        yield Side(instance, ec2net)


@pytest.mark.parametrize("again", [False, True], ids=["at boot", "when it is applied again"])
def test_every_address_works_also_for_hosts_of_every_subnet(
    side: Side, front_end: FrontEnd, again: bool
) -> None:
    when = "after a restart or apply" if again else "after the boot"
    if again:
        side.host.run(_AGAIN[front_end], timeout=180)
        (until_works if side.ec2net else until_up)(side.instance)
    found = reach(side.instance, peers=side.vpc.peers)
    name = f"{front_end.value} alone" if front_end is FrontEnd.NETPLAN else front_end.value
    side.judge(name, f"every address works {when}, also for hosts of every subnet", found)
    side.leave()
