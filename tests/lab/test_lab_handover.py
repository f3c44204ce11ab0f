# SPDX-License-Identifier: Apache-2.0
"""ENIs change from one backend to another: settings of the former backend are removed, addresses
stay."""

import pytest
from lab_boot import Boot, assert_ends_as
from lab_instance import MANY, LabInstance
from probe import Traffic

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkmanager")]

CONF = "/run/NetworkManager/conf.d/80-ec2net.conf"


def test_a_change_of_backend_leaves_no_gap(pair: LabInstance) -> None:
    """To the backend without a network manager, and back: the former backend's settings are
    removed, addresses stay."""
    config = "/etc/ec2net/ec2net.toml.d/30-backend.toml"
    before = pair.kernel()
    with Traffic(pair.vpc, pair.vpc.enis) as traffic:
        pair.host.write(config, 'backend = "netlink"\n')
        pair.reconfigure()
        assert CONF not in pair.files()
        assert pair.refresh() == ""
        assert pair.unreachable() == []
        pair.host.run(["rm", config])
        pair.reconfigure()
        assert CONF in pair.files()
        assert pair.refresh() == ""
    assert traffic.gaps == []
    assert_ends_as(pair, before)


CHANGE_OF_MANAGER = """\
set -e
cd /etc/systemd/system
rm systemd-networkd.service systemd-networkd.socket
systemctl daemon-reload
systemctl disable --now NetworkManager.service
ec2net early
systemctl enable --now systemd-networkd.service
"""


def test_a_change_of_the_network_manager_leaves_no_gap(boot: Boot) -> None:
    """From NetworkManager to networkd, by an administrator's commands: the addresses stay, the
    leases are networkd's, and the defaults for profiles are removed."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        instance.vpc.attach(instance.two, **MANY)

    with boot(before=enis) as instance:
        assert CONF in instance.files()
        with Traffic(instance.vpc, instance.vpc.enis) as traffic:
            instance.host.run(["sh", "-c", CHANGE_OF_MANAGER])
            instance.host.wait_until(
                lambda: all(
                    instance.host.networkctl(link)["State"] == "routable (configured)"
                    for link in ("ens5", "ens6")
                ),
                60,
                "networkd has both links",
            )
            instance.refresh()
        assert "systemd-networkd manages ens6" in instance.host.ec2net("backends").stdout
        files = instance.files()
        assert CONF not in files
        assert "/run/systemd/network/70-ens6.network" in files
        assert traffic.gaps == []
        assert instance.unreachable() == []
        assert instance.refresh() == ""
