# SPDX-License-Identifier: Apache-2.0
"""Foreign actions on the host: network manager restarted or reloaded, items deleted by hand,
foreign objects."""

import re
import time
from collections.abc import Callable

import pytest
from kernel_state import State, differences, lacking
from lab_instance import LabInstance
from probe import Traffic

pytestmark = pytest.mark.lab

FOREIGN_ADDRESS = "192.0.2.77"
FOREIGN = [
    "rule add priority 500 fwmark 7 lookup 77",
    "rule add priority 10001 from 192.0.2.9 lookup 77",
    "route add 192.0.2.0/24 dev ens5 metric 9",
    "route add 192.0.2.0/24 dev ens6 table 77",
    f"addr add {FOREIGN_ADDRESS}/32 dev ens6",
    "-6 rule add priority 500 fwmark 7 lookup 77",
    "-6 route add 2001:db8:9::/64 dev ens6 table 77",
]


@pytest.fixture(scope="module")
def mixed(pair: LabInstance) -> LabInstance:
    """The pair, with foreign rules, routes and an address."""
    pair.setting.without_hooks(pair.host)
    for line in FOREIGN:
        pair.host.run(["ip", *line.split()])
    pair.refresh()
    return pair


def run(*argv: str) -> Callable[[LabInstance], None]:
    def act(instance: LabInstance) -> None:
        instance.host.run(argv)

    return act


def shell(text: str) -> Callable[[LabInstance], None]:
    return run("sh", "-c", text)


def without_metrics(before: State, after: State) -> list[str]:
    """Ignored differences: at a restart networkd 252 forgets the metric of a leased address, and
    that of the kernel's connected route. Whether networkd or ec2net added the leased IPv6 address
    first may differ too, and so may the order of a foreign address, which ec2net does not move
    behind a new lease."""

    def plain(state: State) -> State:
        metric = re.compile(r'"metric": \d+, ')
        maker = re.compile(r'("dynamic": true, .*)"nodad": true, ')
        own = {
            subject: [maker.sub(r"\1", metric.sub("", line)) for line in state[subject]]
            for subject in ("addresses", "routes 4")
        }
        own["addresses"].sort(key=lambda line: FOREIGN_ADDRESS in line)
        return {**state, **own}

    return differences(plain(before), plain(after))


MANAGER: dict[str, Callable[[LabInstance], None]] = {
    "reload": run("networkctl", "reload"),
    "reload after a foreign file changed": shell(
        "mkdir -p /run/systemd/network && echo '[Match]\nName=dummy9' >"
        " /run/systemd/network/60-dummy9.network && networkctl reload"
    ),
    "reconfigure": run("networkctl", "reconfigure", "ens6"),
    "restart": lambda instance: instance.setting.restart(instance.host),
}

ACTIONS = [
    *(pytest.param(a, marks=pytest.mark.backend("networkd")) for a in MANAGER if a != "restart"),
    "restart",
]


@pytest.mark.parametrize("action", ACTIONS)
def test_the_state_is_complete_a_pass_after_any_command_to_the_network_manager(
    mixed: LabInstance, action: str
) -> None:
    """R4, R8, ENU#96: leases are kept, foreign rules, routes and addresses stay, and one pass
    restores all items of ec2net that the network manager removed."""
    before, cursor = mixed.kernel(), mixed.host.cursor()
    with Traffic(mixed.vpc, mixed.vpc.enis) as traffic:
        MANAGER[action](mixed)
        # Its own state is no help: networkd 257 stays at "configuring" after a reconfiguration that
        # kept the IPv4 lease.
        mixed.until_at_rest()
        mixed.refresh()
        time.sleep(0.1)
    assert without_metrics(mixed.kernel(), before) == []
    assert mixed.unreachable() == []
    lost = [line for line in mixed.bounces(cursor) if "DHCP lease lost" in line]
    assert lost == []
    print(f"{mixed.setting}: {action}: {len(traffic.gaps)} of {traffic.made} connections lost")
    if action.startswith("reload"):
        assert traffic.gaps == []
        assert mixed.bounces(cursor) == []
    elif action == "restart":
        assert [gap for gap in traffic.gaps if "." in gap.destination] == []
    else:
        # A link that is reconfigured on demand has its leased address for an instant not (252).
        leased4 = str(mixed.secondary.ipv4s[0])
        gaps = {gap for gap in traffic.gaps if "." in gap.destination}
        assert [gap for gap in gaps if leased4 not in (gap.source, gap.destination)] == []


BY_HAND = {
    "rules flushed": "ip rule flush; ip rule add lookup main priority 32766 protocol kernel;"
    " ip rule add lookup default priority 32767 protocol kernel; ip rule add priority 500 fwmark 7 lookup 77;"
    " ip rule add priority 10001 from 192.0.2.9 lookup 77",
    "rules of IPv6 deleted": "while ip -6 rule del protocol 236 2>/dev/null; do :; done",
    "table flushed": "ip route flush table 10001; ip -6 route flush table 10001",
    "secondary addresses deleted": "ip addr del {ipv4}/32 dev ens6; ip addr del {ipv6}/128 dev ens6",
    "altnames deleted": "ip link property del dev ens6 altname device-number-1.0",
    "group changed": "ip link set ens6 group 0",
}


@pytest.mark.parametrize("action", list(BY_HAND))
def test_items_deleted_by_hand_are_restored_by_a_pass(mixed: LabInstance, action: str) -> None:
    """R8: and nothing else changes."""
    before, cursor = mixed.kernel(), mixed.host.cursor()
    secondary = mixed.secondary
    command = BY_HAND[action].format(ipv4=secondary.ipv4s[1], ipv6=secondary.ipv6s[1])
    mixed.host.run(["sh", "-c", command])
    if not mixed.setting.resident:  # the daemon may have restored the item already
        changed = mixed.kernel()
        assert any(lacking(before[subject], changed[subject]) for subject in before)
    assert mixed.repaired(cursor) != ""
    assert differences(before, mixed.kernel()) == []
    assert mixed.bounces(cursor) == []
    assert mixed.unreachable() == []
