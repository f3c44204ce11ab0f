# SPDX-License-Identifier: Apache-2.0
"""Broken and healthy hosts by an author who knew the documents only.

He read README.md, docs/ (without testing.md and architecture.md), the commented configuration, the
manual pages and ``--help``, and no line of the source. He asked no command about these hosts before.
The scripts are his. The expected words were his, too; 19 rows were changed after a first run.
``judged`` says where the program's author has another opinion than he had, and why.

The host: ens5 (primary, 10.0.1.4), ens6 (10.0.2.4, .5 and .21; 2001:db8:0:2::4 and ::5), ens7
(10.0.3.4 and .5, no IPv6). No daemon runs. ``status`` is asked after the script, and once more after
a pass; the other commands before that pass.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from broken_hosts import (
    WELL,
    Said,
    answer,
    hop_limit_of_one,
    imds,
    run_script,
    said,
    silent_gateway,
    told,
)
from instance import Instance, primary

from ec2net.core.simulation.vpc.imds_faults import Delay, Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

LAST_PASS = said(0, "ens5", "ens6", "ens7", "configured")
"""``status`` before a pass: the last one found nothing wrong."""
ALL_WELL = said(0, "OK: all 9 addresses on 3 ENIs use the right interface.")


@dataclass(frozen=True, slots=True)
class Stranger:
    """A host. ``script`` is for sh in the guest; ``around`` what no script in the guest can make."""

    name: str
    kind: str
    script: str = ""
    status: Said = LAST_PASS
    after: Said = WELL
    """``status`` after a further pass."""
    verify: Said = WELL
    doctor: Said = WELL
    explain: Said = WELL
    about: str = "10.0.2.5"
    """The argument of ``explain``."""
    connect: Said | None = None
    """``verify --connect``."""
    config: str = ""
    """The configuration before the script."""
    around: Callable[[Instance], AbstractContextManager[object]] = lambda _: nullcontext()
    quick: bool = False
    """Whether CI runs it."""
    judged: str = ""

    @property
    def questions(self) -> Iterator[tuple[list[str], Said]]:
        yield ["status"], self.status
        yield ["verify"], self.verify
        if self.connect is not None:
            yield ["verify", "--connect"], self.connect
        yield ["doctor"], self.doctor
        yield ["explain", self.about], self.explain


def host(vpc: SimulatedVpc, instance: Instance) -> None:
    """The host that every row begins with."""
    first, second, third = (
        vpc.add_subnet(f"10.0.{n}.0/24", f"2001:db8:0:{n}::/64" if n < 3 else None)
        for n in (1, 2, 3)
    )
    primary(vpc, first)
    vpc.attach(second, device=1, ipv4=2, ipv6=2).assign_ipv4(IPv4Address("10.0.2.21"))
    vpc.attach(third, device=2, ipv4=2)
    instance.refresh_twice()


def asked(instance: Instance, row: Stranger) -> list[str]:
    """All answers that are not what the row expects; prints them all."""
    found: list[str] = []
    with row.around(instance):
        run_script(instance, row.script.replace("/etc/ec2net/ec2net.toml", "$CONFIG"))
        for arguments, expected in row.questions:
            found += answer(instance, arguments, expected)
        done = instance.ec2net("refresh", status=None)
        print(f"$ ec2net refresh -> {done.returncode}\n{done.stdout}{done.stderr}")
        found += [f"after a pass, {one}" for one in answer(instance, ["status"], row.after)]
    return found


@contextmanager
def unassigned(instance: Instance) -> Iterator[None]:
    instance.vpc.enis[1].unassign_ipv4(IPv4Address("10.0.2.21"))
    yield


@contextmanager
def delegated(instance: Instance) -> Iterator[None]:
    instance.vpc.enis[1].assign_ipv4_prefix(IPv4Network("10.0.2.224/28"))
    instance.ec2net("refresh")
    yield


@contextmanager
def forgotten_gateway(instance: Instance) -> Iterator[None]:
    """It answers no more, and the host has no entry of it."""
    with silent_gateway(instance):
        instance.guest.ip(["neigh flush dev ens6"])
        yield


WG0 = "ip tuntap add dev wg0 mode tun; ip addr add 10.99.0.1/24 dev wg0; ip link set wg0 up\n"
BROKEN_CONFIG = {"status": said(2, "configured", "ec2net.toml")}

STRANGERS = (
    Stranger(
        "rule-to-main",
        "foreign rule",
        "ip rule add pref 5000 from 10.0.2.5 lookup main",
        after=said(1, "ens6", "rule 5000", "10.0.2.5", "ens5", "degraded", never=("10.0.2.4,",)),
        verify=said(4, "10.0.2.5", "ens5", "ens6", "rule 5000: from 10.0.2.5 lookup main"),
        doctor=said(1, "[routing]", "ens6", "10.0.2.5", "rule 5000", "ip rule del"),
        explain=said(0, "which is wrong", "rule 5000", "ip rule del"),
    ),
    Stranger(
        "rule-blackhole",
        "foreign rule",
        "ip rule add pref 100 blackhole from 10.0.2.21",
        after=said(1, "ens6", "10.0.2.21", "rule 100", "blackhole"),
        verify=said(4, "10.0.2.21", "rule 100", "blackhole", never=("Invalid argument",)),
        doctor=said(1, "[routing]", "10.0.2.21", "ip rule del", "from 10.0.2.21 blackhole"),
        about="10.0.2.21",
        explain=said(0, "which is wrong", "rule 100", "blackhole"),
    ),
    Stranger(
        "rule-wrong-table",
        "foreign rule",
        "ip rule add pref 6000 from 10.0.2.4 lookup 10002",
        after=said(1, "ens6", "rule 6000", "10.0.2.4", "ens7"),
        verify=said(4, "10.0.2.4", "ens7", "ens6", "rule 6000", "10002"),
        doctor=said(1, "[routing]", "ens6", "rule 6000", "10002", "ip rule del"),
        about="10.0.2.4",
        explain=said(0, "which is wrong", "ens7", "rule 6000"),
    ),
    Stranger(
        "rule-v6-to-main",
        "foreign rule",
        "ip -6 rule add pref 5000 from 2001:db8:0:2::5 lookup main",
        after=said(1, "ens6", "2001:db8:0:2::5", "rule 5000"),
        verify=said(4, "2001:db8:0:2::5", "rule 5000", never=("2001:db8:0:2::4 ", "10.0.2")),
        doctor=said(1, "[routing]", "ip -6 rule del"),
        about="2001:db8:0:2::5",
        explain=said(0, "which is wrong", "rule 5000", "ip -6 rule del"),
    ),
    Stranger(
        "vpn-wg-quick-later",
        "VPN",
        WG0 + "ip route add default dev wg0 table 51820\n"
        "ip rule add not fwmark 51820 table 51820\n"
        "ip rule add table main suppress_prefixlength 0\n",
        after=said(1, "ens6", "ens7", "rule 9998", "51820", "wg0"),
        verify=said(4, "wg0", "rule 9998", "51820"),
        doctor=said(1, "[routing]", "rule 9998", "wg0", "wg-quick"),
        explain=said(0, "which is wrong", "wg0", "rule 9998"),
        judged="The double answers by IPv6, too, so the host's own routes lead to IMDS.",
    ),
    Stranger(
        "vpn-def1-halves",
        "VPN",
        WG0 + "ip route add 0.0.0.0/1 dev wg0\nip route add 128.0.0.0/1 dev wg0\n",
        after=said(1, "ens6", "ens7", "wg0"),
        verify=said(4, "wg0", "128.0.0.0/1"),
        doctor=said(1, "[routing]", "[drift]", "wg0", "128.0.0.0/1"),
        explain=said(0, "wg0", "128.0.0.0/1"),
        judged="As for vpn-wg-quick-later. The routes also end what main showed of the subnets: drift.",
    ),
    Stranger(
        "main-route-by-other-eni",
        "foreign route",
        "ip route add 203.0.113.0/24 via 10.0.3.1 dev ens7 onlink",
        after=said(0, "configured"),
        verify=said(4, "203.0.113.0/24"),
        doctor=said(1, "[drift]", "[routing]", "ec2net refresh"),
        about="10.0.1.4",
        explain=said(0, "would change", "203.0.113.0/24", "rule"),
    ),
    Stranger(
        "gateway-replaced",
        "foreign route",
        "ip route replace default via 10.0.2.99 dev ens6 table 10001 src 10.0.2.4 onlink",
        after=said(1, "ens6", "a foreign object is in its place", "10.0.2.99"),
        verify=said(4, "10001", "10.0.2.99"),
        doctor=said(1, "[conflict]", "10.0.2.99", "10001", "ip route del"),
        explain=said(0, "10.0.2.99"),
    ),
    Stranger(
        "table-foreign-content",
        "foreign route",
        "ip route add 203.0.113.0/24 via 10.0.3.1 dev ens7 table 10001 onlink proto static",
        quick=True,
        after=said(1, "ens6", "203.0.113.0/24"),
        verify=said(4, "203.0.113.0/24", "10001", "ens7"),
        doctor=said(1, "[routing]", "203.0.113.0/24", "ens7", "10001", "ip route del"),
        explain=said(0, "which is wrong", "203.0.113.0/24"),
    ),
    Stranger(
        "other-tool-table",
        "other tool",
        WG0 + "ip route add 192.0.2.0/24 dev wg0 table 10001 proto static\n"
        "ip rule add pref 20000 fwmark 0x7 lookup 10001\n",
        after=said(1, "10001"),
        verify=said(4, "192.0.2.0/24", "10001", "wg0"),
        doctor=said(1, "[routing]", "192.0.2.0/24", "ip route del"),
        explain=said(0, "192.0.2.0/24"),
        judged="A rule for marked packets does not touch what an ENI sends, and may be meant so.",
    ),
    Stranger(
        "default-route-missing",
        "missing route",
        "ip route del default table 10001",
        after=said(0, "configured"),
        verify=said(4, "default", "10001", "is missing", "ens5"),
        doctor=said(1, "[default-route]", "[drift]", "[routing]", "ec2net refresh"),
        explain=said(0, "+ route default", never=("ip rule del",)),
        judged="Rule 32766 is where the packets go now, and is not called the cause.",
    ),
    Stranger(
        "rule-missing",
        "missing rule",
        "ip rule del pref 10001 from 10.0.2.21",
        after=said(0, "configured"),
        verify=said(4, "10.0.2.21", "rule 10001: from 10.0.2.21/32 lookup 10001", "is missing"),
        doctor=said(1, "[routing]", "[drift]", "10.0.2.21", "ec2net refresh"),
        about="10.0.2.21",
        explain=said(0, "+ rule 10001: from 10.0.2.21/32 lookup 10001"),
    ),
    Stranger(
        "address-missing",
        "missing address",
        "ip addr del 10.0.2.21/32 dev ens6",
        status=said(0, "5/5"),
        after=said(0, "5/5"),
        verify=said(4, "address 10.0.2.21/32 dev ens6 is missing"),
        doctor=said(1, "[drift]", "[routing]", "10.0.2.21", "ec2net refresh"),
        about="10.0.2.21",
        explain=said(0, "+ address 10.0.2.21/32 dev ens6"),
    ),
    Stranger(
        "first-address-missing",
        "missing address",
        "ip addr del 10.0.2.4/24 dev ens6",
        after=said(0, "5/5", "configured"),
        verify=said(4, "10.0.2.4/24 dev ens6 is missing"),
        doctor=said(1, "[drift]", "[routing]", "10.0.2.4", "ec2net refresh", never=("lease",)),
        about="10.0.2.4",
        explain=said(0, "+ address 10.0.2.4/24 dev ens6"),
    ),
    Stranger(
        "address-foreign",
        "foreign address",
        "ip addr add 10.0.2.99/32 dev ens6",
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(1, "[unassigned-address]", "10.0.2.99", "assign-private-ip-addresses"),
        about="10.0.2.99",
        explain=said(1, "EC2 does not assign it to", "ens6"),
    ),
    Stranger(
        "address-other-subnet",
        "wrong subnet",
        "ip addr add 10.0.3.77/32 dev ens6",
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(1, "[unassigned-address]", "10.0.3.77", "ens6", "eni-00000000000000003"),
        about="10.0.3.77",
        explain=said(1, "ens6", "eni-00000000000000003", "EC2 does not assign it"),
    ),
    Stranger(
        "address-duplicate",
        "foreign address",
        "ip addr add 10.0.2.5/32 dev ens7",
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(1, "[duplicate-address]", "ens6", "ens7", "10.0.2.5/32 dev ens7"),
        explain=said(0, "ens6"),
    ),
    Stranger(
        "prefix-length",
        "foreign address",
        "ip addr del 10.0.2.5/32 dev ens6; ip addr add 10.0.2.5/16 dev ens6",
        after=said(0, "configured"),
        verify=said(4, "10.0.0.0/16", "ens6", "10.0.2.5"),
        doctor=said(1, "[drift]", "[routing]", "10.0.0.0/16"),
        explain=said(0, "would change"),
        judged="An address counts with each length; only the route that it brings is wrong.",
    ),
    Stranger(
        "v6-tentative",
        "foreign address",
        "sysctl -qw net.ipv6.conf.ens6.dad_transmits=600 net.ipv6.conf.ens6.accept_dad=1\n"
        "ip -6 addr del 2001:db8:0:2::5/128 dev ens6\n"
        "ip -6 addr add 2001:db8:0:2::5/128 dev ens6",
        verify=said(4, "2001:db8:0:2::5"),
        doctor=said(
            1, "[duplicate-address]", "[routing]", "[drift]", "2001:db8:0:2::5", "tentative"
        ),
        about="2001:db8:0:2::5",
        explain=said(0, "2001:db8:0:2::5"),
        judged="verify and explain are about routing; the foreign address also brings a route.",
    ),
    Stranger(
        "ec2-unassigns",
        "EC2 not assigning",
        around=unassigned,
        status=said(0, "5/5"),
        after=said(0, "4/4", "configured"),
        verify=said(4, "10.0.2.21", "is left over"),
        doctor=said(0, "[drift]", "ec2net refresh"),
        about="10.0.2.21",
        explain=said(1, "EC2 does not assign it to", "ec2net refresh"),
    ),
    Stranger(
        "imds-wrong-subnet",
        "wrong subnet",
        around=told(local_ipv4s="10.0.2.4\n10.0.2.5\n10.0.9.4"),
        after=said(1, "refused", "10.0.9.4", "which is outside the ENI's subnet"),
        verify=said(1, "refused", "10.0.9.4", "10.0.2.0/24"),
        doctor=said(1, "[eni]", "ens6", "10.0.9.4", "10.0.2.0/24"),
        explain=said(0, "refused", "10.0.9.4"),
    ),
    Stranger(
        "nft-drop-source",
        "foreign filter",
        "nft add table inet fw\n"
        "nft 'add chain inet fw out { type filter hook output priority 0; }'\n"
        "nft add rule inet fw out ip saddr 10.0.2.5 drop",
        after=said(0, "configured"),
        verify=ALL_WELL,
        connect=said(4, "10.0.2.5"),
        doctor=said(1, "[filter]", "10.0.2.5", "inet fw", "out"),
    ),
    Stranger(
        "nft-raw-prerouting",
        "foreign filter",
        "nft add table inet fw\n"
        "nft 'add chain inet fw early { type filter hook prerouting priority raw; }'\n"
        "nft add rule inet fw early iifname ens7 drop",
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(1, "[filter]", "[imds]", "ens7", "inet fw", "early"),
        about="10.0.3.5",
    ),
    Stranger(
        "mtu-too-small",
        "MTU",
        "ip link set ens6 mtu 1200",
        after=said(0, "5/5"),
        verify=said(4, "2001:db8:0:2::4", "1200", never=("10.0.2.4",)),
        doctor=said(1, "[mtu]", "[drift]", "ens6", "1200", "IPv6"),
        about="2001:db8:0:2::5",
        explain=said(0, "1200"),
    ),
    Stranger(
        "mtu-route",
        "MTU",
        "ip route replace default via 10.0.2.1 dev ens6 table 10001 src 10.0.2.4 onlink proto 236"
        " mtu 576",
        after=said(0, "configured"),
        verify=said(4, "default", "10001", "differs"),
        doctor=said(0, "[drift]", "ec2net refresh"),
        explain=said(0, "~ route default"),
    ),
    Stranger(
        "rp-filter-strict",
        "sysctl",
        WG0 + "ip route add 192.168.77.0/24 dev wg0\nsysctl -qw net.ipv4.conf.ens6.rp_filter=1",
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(0, "[rp-filter]", "ens6", "sysctl -w net.ipv4.conf.ens6.rp_filter=2"),
    ),
    Stranger(
        "disable-ipv6",
        "sysctl",
        "sysctl -qw net.ipv6.conf.ens6.disable_ipv6=1",
        after=said(0, "3/3"),
        verify=said(4, "2001:db8:0:2::4", "is left over"),
        doctor=said(0, "[eni]", "[drift]", "ens6", "sysctl -w net.ipv6.conf.ens6.disable_ipv6=0"),
        about="2001:db8:0:2::5",
        explain=said(0, "IPv6 is off on ens6"),
        judged="Many hosts are hardened so, and ec2net follows them. doctor notes it.",
    ),
    Stranger(
        "ip-forward-off",
        "sysctl",
        "ip link add br0 type bridge; ip addr add 10.0.2.225/32 dev br0; ip link set br0 up\n"
        "ip route add 10.0.2.224/28 dev br0\n"
        "sysctl -qw net.ipv4.ip_forward=0",
        around=delegated,
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(0, "[forwarding]", "10.0.2.224/28", "br0", "sysctl -w net.ipv4.ip_forward=1"),
        about="10.0.2.225",
        explain=said(0, "10.0.2.224/28", "rule 10001"),
    ),
    Stranger(
        "neigh-permanent-wrong",
        "neighbour",
        "ip neigh replace 10.0.2.1 lladdr 02:00:00:00:00:99 nud permanent dev ens6",
        after=said(0, "configured"),
        verify=ALL_WELL,
        connect=said(4, "10.0.2.4"),
        doctor=said(0, "[gateway]", "10.0.2.1", "ip neigh del 10.0.2.1 dev ens6"),
    ),
    Stranger(
        "gateway-silent",
        "gateway",
        around=forgotten_gateway,
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(1, "[gateway]", "ens6", "10.0.2.1", never=("fe80:ec2::1",)),
    ),
    Stranger(
        "link-down",
        "link down",
        "ip link set ens7 down",
        after=said(0, "configured"),
        verify=said(4, "ens7 up"),
        doctor=said(1, "[link-down]", "[drift]", "ens7", "ip link set ens7 up"),
        about="10.0.3.5",
        explain=said(0, "~ link ens7 up"),
    ),
    Stranger(
        "link-renamed",
        "link renamed",
        "ip link set ens6 down; ip link set ens6 name lan0; ip link set lan0 up",
        after=said(0, "lan0", "configured", "5/5"),
        verify=said(4, "lan0"),
        doctor=said(1, "[drift]", "[default-route]", "[routing]", "lan0"),
        explain=said(0, "lan0", "would change"),
    ),
    Stranger(
        "link-in-bridge",
        "link enslaved",
        "ip link add br0 type bridge; ip link set ens7 master br0; ip link set br0 up",
        after=said(0, "ignored", "- ens7: it is a port of br0"),
        verify=said(0, "OK: all 7 addresses on 2 ENIs use the right interface."),
        doctor=said(0, "[eni]", "ens7", "port of br0"),
        about="10.0.3.5",
        explain=said(0, "ignored", "port of br0"),
    ),
    Stranger(
        "link-in-netns",
        "link moved",
        "ip netns add pod$$; ip link set ens7 netns pod$$",
        after=said(0, "absent", "no link has its MAC"),
        verify=said(4, "10.0.3.4/31", "is left over"),
        doctor=said(0, "[eni]", "[drift]", "ec2net refresh"),
        about="10.0.3.5",
        explain=said(2, "10.0.3.5", "without a link"),
        judged="ec2net does not read the addresses of an ENI that has no link.",
    ),
    Stranger(
        "config-syntax",
        "configuration broken",
        "echo 'mtu = ' > /etc/ec2net/ec2net.toml",
        status=said(2, "configured", "ec2net.toml"),
        after=said(2, "configured", "ec2net.toml"),
        verify=said(2, "ec2net.toml", "line 1"),
        doctor=said(1, "[configuration]", "ec2net.toml", "ec2net config --check"),
        explain=said(2, "ec2net.toml"),
    ),
    Stranger(
        "config-unknown-key",
        "configuration broken",
        'printf \'[[eni]]\\nmatch = { name = "ens6" }\\nmanege = "ignore"\\n\' >'
        " /etc/ec2net/ec2net.toml",
        status=said(2, "configured", "manege"),
        after=said(2, "configured", "manege"),
        verify=said(2, "manege", "manage"),
        doctor=said(1, "[configuration]", "manege", "manage", "ec2net config --check"),
        explain=said(2, "manege"),
    ),
    Stranger(
        "config-other-host",
        "configuration of another host",
        'printf \'[[eni]]\\nmatch = { name = "ens6" }\\nsources = ["10.0.3.5"]\\n\' >'
        " /etc/ec2net/ec2net.toml",
        after=said(1, "refused", "10.0.3.5", 'the setting "sources" contains'),
        verify=said(1, "refused", "10.0.3.5", "sources"),
        doctor=said(1, "[eni]", "10.0.3.5", "sources"),
        about="10.0.3.5",
        explain=said(0, "ens7"),
    ),
    Stranger(
        "config-no-match",
        "configuration without effect",
        'printf \'[[eni]]\\nmatch = { id = "eni-0deadbeefdeadbeef" }\\nmanage = "ignore"\\n\' >'
        " /etc/ec2net/ec2net.toml",
        after=said(0, "configured"),
        verify=ALL_WELL,
        doctor=said(0, "[configuration]", "eni-0deadbeefdeadbeef"),
    ),
    Stranger(
        "imds-off",
        "IMDS off",
        around=imds(Status(403)),
        after=said(1, "403", "5/5"),
        verify=said(1, "403"),
        doctor=said(1, "[imds-disabled]", "403", "--http-endpoint enabled"),
        explain=said(0, "last known", "403"),
    ),
    Stranger(
        "imds-401",
        "IMDS wrong",
        around=imds(Status(401)),
        after=said(1, "401", "5/5"),
        verify=said(1, "401"),
        doctor=said(1, "[imds]", "401", never=("no route", "turned off")),
        explain=said(0, "last known", "401"),
    ),
    Stranger(
        "imds-slow",
        "IMDS slow",
        around=imds(Delay(4.0)),
        after=said(1, "IMDS", "5/5"),
        verify=said(1, "IMDS"),
        doctor=said(1, "[imds]", never=("403",)),
        explain=said(0, "last known"),
    ),
    Stranger(
        "vpn-some-networks",
        "healthy",
        WG0 + "ip route add 192.168.77.0/24 dev wg0",
        after=said(0, "configured"),
        verify=ALL_WELL,
    ),
    Stranger(
        "vpn-everywhere-fixed",
        "healthy",
        WG0 + "ip route add 169.254.169.254/32 via 10.0.1.1 dev ens5\n"
        "ip route add default dev wg0 table 51820\n"
        "ip rule add pref 32000 table main suppress_prefixlength 0\n"
        "ip rule add pref 32001 not fwmark 51820 table 51820",
        config="primary_rules = true\n",
        status=said(0, "10000", "configured"),
        after=said(0, "configured"),
        verify=said(0, "OK: all 9 "),
        about="10.0.1.4",
    ),
    Stranger(
        "docker-hop-limit",
        "healthy",
        "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0\n"
        "ip link set docker0 up; sysctl -qw net.ipv4.ip_forward=1",
        around=hop_limit_of_one,
        after=said(0, "configured"),
        verify=said(0, "OK: all 9 "),
        doctor=said(0, "[hop-limit]", "[published-ports]"),
    ),
    Stranger(
        "prefix-without-user",
        "healthy",
        around=delegated,
        status=said(0, "5/5", "configured"),
        after=said(0, "configured"),
        verify=said(0, "OK: all 9 "),
        about="10.0.2.230",
        explain=said(0, "10.0.2.224/28", "rule 10001", never=("Network is unreachable",)),
    ),
    Stranger(
        "cni-profile",
        "healthy",
        "ip link add vethp type macvlan link ens5 2>/dev/null || ip link add vethp type bridge\n"
        "ip link set vethp up\n"
        "ip route add 10.0.2.5 dev vethp scope link\n"
        "ip rule add pref 512 to 10.0.2.5 lookup main\n"
        "ip route add default via 10.0.2.1 dev ens6 onlink table 2\n"
        "ip rule add pref 1536 from 10.0.2.5 lookup 2",
        config='profile = "kubernetes"\n',
        status=said(0, "2/2"),
        after=said(0, "configured"),
        verify=said(0, "OK: all "),
        explain=said(0, "ens6"),
    ),
    Stranger(
        "ordinary-firewall",
        "healthy",
        "nft add table inet host\n"
        "nft 'add chain inet host input { type filter hook input priority 0; policy drop; }'\n"
        "nft add rule inet host input ct state established,related accept\n"
        "nft add rule inet host input iif lo accept\n"
        "nft add rule inet host input meta l4proto '{ icmp, ipv6-icmp }' accept\n"
        "nft add rule inet host input tcp dport 22 accept\n"
        "sysctl -qw net.ipv4.conf.ens6.accept_local=1\n"
        "ip rule add pref 5000 from 10.0.2.5 lookup 10001\n"
        "ip rule add pref 20000 from 172.31.0.0/16 lookup 77",
        after=said(0, "configured"),
        verify=ALL_WELL,
    ),
)
