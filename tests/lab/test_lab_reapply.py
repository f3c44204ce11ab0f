# SPDX-License-Identifier: Apache-2.0
"""A hundred times the changes that other tools make by Reapply, and the changes that ec2net makes
by Reapply."""

import pytest
from kernel_state import assert_same
from lab_boot import mtus
from lab_instance import LabInstance
from lab_nmcli import no_hook
from lab_sessions import Sessions

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkmanager")]

REAPPLIES = 100


def dhcp_messages(instance: LabInstance) -> list[int]:
    return [len(instance.vpc.dhcp_messages(eni)) for eni in instance.vpc.enis]


def test_connections_survive_a_hundred_reapplies(pair: LabInstance) -> None:
    """Reapply by ec2net, on every ENI: the MTU in the applied connection, back and forth. No
    address, lease or connection is lost."""
    script = f"""
from ec2net.backends.networkmanager.apply import set_mtu
from ec2net.backends.networkmanager.bus import Bus
from ec2net.backends.networkmanager.client import NetworkManager
from ec2net.core.runtime.deadline import Deadline
limit = Deadline(110, "test")
with Bus() as bus:
    manager = NetworkManager(bus)
    for link in ("ens5", "ens6"):
        device = manager.device(link, limit)
        for number in range({REAPPLIES}):
            set_mtu(device.path, None if number % 2 else 8900, manager, limit)
        print(manager.device(link, limit).version - device.version)
"""
    before, messages = pair.kernel(), dhcp_messages(pair)
    # The hook would run a pass for each reapply, which this test does not check.
    with no_hook(pair), Sessions(pair.vpc, pair.vpc.enis) as sessions:
        assert len(sessions) > 6
        done = pair.host.run(["python3", "-c", script])
        assert sessions.broken() == []
    # The versions of all devices are counted as one.
    assert [int(count) >= REAPPLIES for count in done.stdout.split()] == [True, True]
    assert dhcp_messages(pair) == messages
    assert_same(before, pair.kernel())


def test_connections_survive_a_hundred_changes(pair: LabInstance) -> None:
    """Other tools use Reapply for changes that ec2net makes live: an address of each family is
    assigned or unassigned, a pass follows, fifty times on each ENI; no DHCP message is sent."""
    messages, cursor = dhcp_messages(pair), pair.host.cursor()
    with Sessions(pair.vpc, pair.vpc.enis) as sessions:
        for _ in range(REAPPLIES // 4):
            for eni in pair.vpc.enis:
                ipv4, ipv6 = eni.assign_ipv4(), eni.assign_ipv6()
                assert pair.refresh().count("+ address") == 2
                eni.unassign_ipv4(ipv4)
                eni.unassign_ipv6(ipv6)
                assert pair.refresh().count("- address") == 2
        assert sessions.broken() == []
    assert dhcp_messages(pair) == messages
    assert pair.bounces(cursor) == []


MTU = "/etc/ec2net/ec2net.toml.d/30-mtu.toml"


def until_mtu(instance: LabInstance, value: int) -> None:
    """NetworkManager may have answered before it sets it."""
    wanted = {"ens5": value, "ens6": value}
    instance.host.wait_until(lambda: mtus(instance, wanted) == wanted, 60, f"MTU {value}")


def test_an_mtu_is_set_by_reapply_and_restored(pair: LabInstance) -> None:
    """NetworkManager sets its MTU with each change, so it needs the configured value."""
    pair.host.write(MTU, "mtu = 1500\n")
    said = pair.reconfigure()
    assert "MTU 1500 in the applied connection of ens6" in said
    until_mtu(pair, 1500)
    assert pair.refresh() == ""
    pair.host.run(["rm", MTU])
    pair.reconfigure()
    until_mtu(pair, 9001)
    assert pair.unreachable() == []
    assert pair.refresh() == ""
