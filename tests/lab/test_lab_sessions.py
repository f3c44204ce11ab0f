# SPDX-License-Identifier: Apache-2.0
"""Connections from every address live through restarts of the programs below ec2net, and its upgrade."""

from collections.abc import Callable

import lab_package
import pytest
from lab_host import LabHost
from lab_instance import LabInstance
from lab_sessions import Sessions
from neighbour_table import counted

pytestmark = [pytest.mark.lab, pytest.mark.mode("resident"), pytest.mark.exhaustive]


def restarted(*units: str) -> Callable[[LabInstance], None]:
    def act(instance: LabInstance) -> None:
        instance.host.run(["systemctl", "restart", *units], timeout=120)

    return act


def reexecuted(instance: LabInstance) -> None:
    instance.host.run(["systemctl", "daemon-reexec"])


def managers_restarted(instance: LabInstance) -> None:
    instance.setting.restart(instance.host)


def dbus_restarted(instance: LabInstance) -> None:
    """NetworkManager 1.42 ends with D-Bus, and no unit starts it again; systemd-networkd 252 loses its
    connection to D-Bus until it is restarted."""
    instance.host.run(["systemctl", "restart", "dbus.service"])
    instance.setting.restart(instance.host)


def reinstalled(instance: LabInstance) -> None:
    instance.host.install(lab_package.built())


ACTIONS: dict[str, Callable[[LabInstance], None]] = {
    "systemd": reexecuted,
    "udevd": restarted("systemd-udevd.service"),
    "resolved": restarted("systemd-resolved.service"),
    "ec2net": restarted("ec2net.service"),
    "network manager": managers_restarted,
    "package": reinstalled,
    "dbus": dbus_restarted,
}


def nothing_left(host: LabHost) -> bool:
    return host.ec2net("refresh", check=False).stderr == ""


@pytest.mark.parametrize("action", ACTIONS)
def test_connections_from_every_address_live_through_a_restart(
    pair: LabInstance, action: str
) -> None:
    """No packet leaves through another ENI, and afterwards ec2net has nothing to change."""
    host = pair.host
    host.run(["systemctl", "reset-failed", "ec2net.service"], check=False)
    with counted(pair.vpc) as tried, Sessions(pair.vpc, pair.vpc.enis) as sessions:
        assert len(sessions) > 6
        ACTIONS[action](pair)
        assert sessions.broken() == []
        pair.complete()
        host.wait_until(lambda: nothing_left(host), 60, "an empty plan")
        assert sessions.broken() == []
    assert tried.wrong_way == 0, pair.vpc.drops()
