# SPDX-License-Identifier: Apache-2.0
"""Broken and healthy hosts: for each a script that makes it, and the words of four commands about it.

The expected words were written from the documents (docs/doctor.md, docs/troubleshooting.md,
docs/commands.md) before the program was asked.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import pytest
from instance import Instance, below_run, environment

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds_faults import Delay, Effect, Hang, Status

Around = Callable[[Instance], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Said:
    """A command's exit status, and what its output has: each a text, or a word in brackets that
    stands for a check of ``doctor``."""

    status: int
    words: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    """Texts that its output must not have."""

    @property
    def checks(self) -> set[str]:
        return {word[1:-1] for word in self.words if word.startswith("[")}

    @property
    def texts(self) -> list[str]:
        return [word for word in self.words if not word.startswith("[")]


def said(status: int, *words: str, never: tuple[str, ...] = ()) -> Said:
    return Said(status, words, never)


WELL = Said(0)


@dataclass(frozen=True, slots=True)
class Row:
    """A host. ``script`` is for sh in the guest; ``around`` what no script in the guest can make."""

    name: str
    kind: str
    script: str = ""
    status: Said = WELL
    verify: Said = WELL
    doctor: Said = WELL
    explain: Said = WELL
    about: str = "ens6"
    """The argument of ``explain``."""
    config: str = ""
    """The configuration when the script runs."""
    passes: bool = True
    """Whether a pass runs after the script. It ends as ``status`` does."""
    around: Around = lambda _: nullcontext()
    enis: int = 2
    quick: bool = False
    """Whether CI runs it."""

    @property
    def commands(self) -> dict[str, Said]:
        return commands_of(self)


class _Commands(Protocol):
    """The expected words of a row."""

    @property
    def status(self) -> Said: ...
    @property
    def verify(self) -> Said: ...
    @property
    def doctor(self) -> Said: ...
    @property
    def explain(self) -> Said: ...


def commands_of(row: _Commands) -> dict[str, Said]:
    """By the names of the commands."""
    return {
        "status": row.status,
        "verify": row.verify,
        "doctor": row.doctor,
        "explain": row.explain,
    }


_UNCHANGED = re.compile(r"(?:would change|left unchanged \(.*\)):\n  nothing")


def silence(command: str, output: str) -> list[str]:
    """Lines of a command's output by which a healthy host would not be left in peace."""
    lines = output.splitlines()
    if command == "explain":
        heads = ("which is wrong", "problems", "repairs are limited", "changes on hold")
        bad = [line for line in lines if line.startswith(heads)]
        return bad + ([] if _UNCHANGED.search(output) else ["a refresh would change something"])
    return [line for line in lines if line.startswith(("!", "- note"))]


def checks_of(output: str) -> set[str]:
    return set(re.findall(r"^\S+ \w+ \[([a-z-]+)\]", output, re.MULTILINE))


def wrong(command: str, expected: Said, status: int, output: str) -> list[str]:
    """How the answer of a command differs from what is expected."""
    found = [] if status == expected.status else [f"exit {status}, not {expected.status}"]
    found += [f"not said: {text}" for text in expected.texts if text not in output]
    found += [f"said: {text}" for text in expected.never if text in output]
    if command == "doctor":
        checks = checks_of(output)
        found += [f"not found: {check}" for check in sorted(expected.checks - checks)]
        found += [f"false alarm: {check}" for check in sorted(checks - expected.checks)]
    elif not expected.words:
        found += [f"false alarm: {line}" for line in silence(command, output)]
    return [f"{command}: {one}" for one in found]


# What a script in the guest cannot make


def imds(effect: Effect) -> Around:
    return lambda instance: instance.imds.fault(effect)


@contextmanager
def silent_gateway(instance: Instance) -> Iterator[None]:
    """The router of the secondary's subnet answers no ARP."""
    instance.vpc.router.nft(
        "table arp quiet {\n chain asked {\n  type filter hook input priority 0\n"
        "  arp daddr ip 10.0.2.1 drop\n }\n}\n"
    )
    yield


@contextmanager
def hop_limit_of_one(instance: Instance) -> Iterator[None]:
    instance.vpc.router.sysctl({"net/ipv4/ip_default_ttl": "1"})
    yield


def _told(instance: Instance, eni: Eni, keys: Mapping[str, str]) -> None:
    tree = instance.imds.tree()
    for key in ("network", "interfaces", "macs", str(eni.mac)):
        tree = tree[key]  # type: ignore[assignment]
    instance.imds.put_interface(str(eni.mac), {**tree, **keys})


def told(**keys: str) -> Around:
    """IMDS says this of the secondary."""

    @contextmanager
    def change(instance: Instance) -> Iterator[None]:
        _told(instance, instance.vpc.enis[1], {k.replace("_", "-"): v for k, v in keys.items()})
        yield

    return change


@contextmanager
def not_listed(instance: Instance) -> Iterator[None]:
    """EC2 has detached the secondary, and its link is still there."""
    instance.vpc.unregister(instance.vpc.enis[1])
    yield


@contextmanager
def unplugged(instance: Instance) -> Iterator[None]:
    """The link is gone, and EC2 still lists the ENI."""
    instance.vpc.unplug(instance.vpc.enis[1])
    yield


def tool(path: str) -> Around:
    return lambda _: below_run(path, target="1")


_FILTER = """
nft -f - <<'END'
table inet fw {{
    chain {chain} {{
        type filter hook {chain} priority 0; policy accept;
        {rule}
    }}
}}
END
"""


def nft(chain: str, rule: str) -> str:
    return _FILTER.format(chain=chain, rule=rule)


_TAILSCALE = """
ip link add tailscale0 type bridge; ip addr add 100.100.1.2/32 dev tailscale0
ip link set tailscale0 up
ip route add {route} dev tailscale0 table 52
ip rule add priority 5210 fwmark 0x80000/0xff0000 lookup main
ip rule add priority 5230 fwmark 0x80000/0xff0000 lookup default
ip rule add priority 5250 fwmark 0x80000/0xff0000 unreachable
ip rule add priority 5270 lookup 52
"""

_WIREGUARD = """
ip link add wg0 type bridge; ip addr add 10.200.0.2/32 dev wg0; ip link set wg0 mtu 1420 up
ip route add default dev wg0 table 51820
ip rule add not fwmark 51820 table 51820
ip rule add table main suppress_prefixlength 0
"""

BROKEN = (
    # Foreign objects
    Row(
        "a foreign rule takes a source",
        "foreign rule",
        "ip rule add from 10.0.2.4 lookup main priority 100",
        status=said(1, "10.0.2.4", "rule 100", "ens5"),
        verify=said(4, "10.0.2.4", "rule 100: from 10.0.2.4 lookup main", "ip rule del priority"),
        doctor=said(1, "[routing]", "rule 100", "ip rule del priority 100 from 10.0.2.4"),
        explain=said(0, "degraded", "which is wrong", "rule 100", "ip rule del priority 100"),
        quick=True,
    ),
    Row(
        "a foreign rule discards a source",
        "foreign rule",
        "ip rule add from 10.0.2.4 priority 500 blackhole",
        status=said(1, "10.0.2.4", "rule 500"),
        verify=said(4, "rule 500: from 10.0.2.4 blackhole", "ip rule del priority 500"),
        doctor=said(1, "[routing]", "rule 500", "ip rule del priority 500"),
        explain=said(0, "degraded", "which is wrong", "rule 500"),
    ),
    Row(
        "a foreign route in the ENI's table leads elsewhere",
        "foreign route",
        "ip route add 198.51.100.0/24 via 10.0.1.1 dev ens5 table 10001",
        status=said(1, "198.51.100.0/24", "ens5"),
        verify=said(4, "198.51.100.0/24", "ens5"),
        doctor=said(1, "[routing]", "ip route del 198.51.100.0/24"),
        explain=said(0, "degraded", "which is wrong", "198.51.100.0/24"),
    ),
    Row(
        "a foreign route in the ENI's table discards packets",
        "foreign route",
        "ip route add blackhole 198.51.100.0/24 table 10001",
        status=said(1, "198.51.100"),
        verify=said(4, "198.51.100.1", "the kernel discards the packets"),
        doctor=said(1, "[routing]", "198.51.100.0/24"),
        explain=said(0, "degraded", "which is wrong", "198.51.100.1"),
    ),
    Row(
        "the ENI's default route is replaced by another one",
        "foreign table",
        "ip route replace default via 10.0.1.1 dev ens5 table 10001",
        status=said(1, "default"),
        verify=said(4, "default", "ens5"),
        doctor=said(1, "[routing]", "[conflict]", "ip route del default"),
        explain=said(0, "degraded", "which is wrong", "default"),
    ),
    Row(
        "a rule sends all traffic to a table of another maker",
        "foreign table",
        "ip route add default via 10.0.1.1 dev ens5 table 77; ip rule add priority 77 table 77",
        status=said(1, "rule 77"),
        verify=said(4, "rule 77: from all lookup 77", "ip rule del priority 77"),
        doctor=said(1, "[routing]", "rule 77", "ip rule del priority 77"),
        explain=said(0, "degraded", "which is wrong", "rule 77"),
    ),
    Row(
        "an address that EC2 does not assign",
        "foreign address",
        "ip addr add 10.0.2.99/24 dev ens6",
        doctor=said(1, "[unassigned-address]", "10.0.2.99", "assign-private-ip-addresses"),
        about="10.0.2.99",
        explain=said(1, "EC2 does not assign it", "aws ec2 assign-private-ip-addresses"),
    ),
    Row(
        "an address of the secondary on the primary",
        "foreign address",
        "ip addr add 10.0.2.4/32 dev ens5",
        doctor=said(1, "[duplicate-address]", "10.0.2.4 is on", "ip address del 10.0.2.4/32"),
    ),
    Row(
        "an address of the secondary on a link that is no ENI",
        "foreign address",
        "ip link add d0 type bridge; ip link set d0 up; ip addr add 10.0.2.5/32 dev d0",
        doctor=said(0, "[duplicate-address]", "10.0.2.5 is on"),
    ),
    Row(
        "a filter drops what an address sends",
        "foreign filter",
        nft("output", "ip saddr 10.0.2.4 drop"),
        doctor=said(1, "[filter]", "10.0.2.4", "table inet fw", "chain output"),
        quick=True,
    ),
    Row(
        "a filter drops what arrives for an address",
        "foreign filter",
        nft("input", "ip6 daddr 2001:db8:0:2::/64 drop"),
        doctor=said(1, "[filter]", "[gateway]", "2001:db8:0:2::", "table inet fw", "chain input"),
    ),
    Row(
        "a filter drops everything on a link",
        "foreign filter",
        nft("output", 'oifname "ens6" reject'),
        doctor=said(1, "[filter]", "[imds]", "[gateway]", "ens6", "table inet fw"),
    ),
    Row(
        "an MTU that another program set",
        "MTU",
        "ip link set ens6 mtu 1400",
        passes=False,
        verify=said(4, "mtu"),
        doctor=said(0, "[mtu]", "[drift]", "1400", "ens5"),
        explain=said(0, "degraded", "would change", "mtu"),
    ),
    Row(
        "an MTU below the minimum of IPv6",
        "MTU",
        "ip link set ens6 mtu 1200",
        passes=False,
        verify=said(4, "mtu"),
        doctor=said(1, "[mtu]", "[drift]", "1200", "IPv6"),
        explain=said(0, "degraded", "would change", "mtu"),
    ),
    Row(
        "a strict reverse path filter",
        "sysctl",
        "sysctl -qw net.ipv4.conf.ens6.rp_filter=1",
        doctor=said(0, "[rp-filter]", "sysctl -w net.ipv4.conf.ens6.rp_filter=2"),
    ),
    Row(
        "IPv6 is off, and EC2 assigns IPv6 addresses",
        "sysctl",
        "sysctl -qw net.ipv6.conf.ens6.disable_ipv6=1",
        doctor=said(0, "[eni]", "disable_ipv6", "sysctl -w net.ipv6.conf.ens6.disable_ipv6=0"),
        about="2001:db8:0:2::5",
        explain=said(0, "IPv6 is off on ens6"),
    ),
    Row(
        "forwarding hides router advertisements",
        "sysctl",
        "sysctl -qw net.ipv6.conf.ens5.forwarding=1",
        doctor=said(0, "[forwarding]", "accept_ra"),
    ),
    Row(
        "a wrong neighbour entry of the gateway",
        "neighbour",
        "ip neigh replace 10.0.2.1 lladdr 02:00:00:00:00:99 dev ens6 nud permanent",
        doctor=said(0, "[gateway]", "10.0.2.1", "ip neigh del 10.0.2.1 dev ens6"),
    ),
    Row(
        "a gateway that does not answer",
        "gateway",
        around=silent_gateway,
        doctor=said(1, "[gateway]", "10.0.2.1", "does not answer ARP"),
    ),
    # Missing objects, before a pass restores them
    Row(
        "a rule is missing",
        "missing rule",
        "ip rule del from 10.0.2.4/30 priority 10001",
        passes=False,
        verify=said(4, "from 10.0.2.4", "is missing"),
        doctor=said(1, "[drift]", "[routing]", "ec2net refresh"),
        explain=said(0, "degraded", "would change", "+ rule 10001: from 10.0.2.4"),
        quick=True,
    ),
    Row(
        "a route is missing",
        "missing route",
        "ip route del default table 10001",
        passes=False,
        verify=said(4, "default", "is missing"),
        doctor=said(1, "[drift]", "[routing]", "[default-route]", "ec2net refresh"),
        explain=said(0, "degraded", "would change", "default"),
    ),
    Row(
        "an address is missing",
        "missing address",
        "ip addr del 10.0.2.5/32 dev ens6",
        passes=False,
        verify=said(4, "address 10.0.2.5", "is missing"),
        doctor=said(1, "[drift]", "[routing]", "ec2net refresh"),
        explain=said(0, "degraded", "would change", "address 10.0.2.5"),
    ),
    Row(
        "the primary has lost its lease",
        "missing lease",
        "ip -4 addr flush dev ens5",
        passes=False,
        verify=said(4, "10.0.1.4"),
        doctor=said(1, "[lease]", "[routing]", "[drift]", "renew", "ens5"),
        explain=said(0, "10.0.1.4"),
        about="ens5",
    ),
    Row(
        "the state directory is lost",
        "missing file",
        "rm -r $RUN_DIR",
        passes=False,
        status=said(1, "there is no status yet", "ec2net refresh"),
    ),
    # Links
    Row(
        "the link is down",
        "link down",
        "ip link set ens6 down",
        passes=False,
        verify=said(4, "ens6"),
        doctor=said(1, "[link-down]", "[drift]", "ip link set ens6 up"),
        explain=said(0, "which is wrong"),
    ),
    Row(
        "the link is in another namespace",
        "link moved",
        "ip link add v0 type veth peer name v1; ip netns add away$$; ip link set ens6 netns away$$",
        status=said(0, "absent"),
        doctor=said(0, "[eni]", "netns"),
        about="MAC",
        explain=said(0, "absent"),
    ),
    Row(
        "the link has another name since the last pass",
        "link renamed",
        "ip link set ens6 down; ip link set ens6 name lan6; ip link set lan6 up",
        passes=False,
        verify=said(4, "lan6"),
        doctor=said(1, "[default-route]", "[routing]", "[drift]", "lan6"),
        explain=said(0, "degraded", "would change"),
        about="lan6",
    ),
    Row(
        "the link is a port of a bridge",
        "link enslaved",
        "ip link add br0 type bridge; ip link set br0 up; ip link set ens6 master br0",
        status=said(0, "ignored", "br0"),
        doctor=said(0, "[eni]", "br0"),
        explain=said(0, "ignored", "br0"),
    ),
    # Configuration
    Row(
        "a broken configuration",
        "configuration broken",
        "echo 'mtu = \"x' > $CONFIG",
        status=said(2, "configuration", "ec2net.toml"),
        verify=said(2, "ec2net.toml"),
        doctor=said(1, "[configuration]", "ec2net.toml", "ec2net config --check"),
        explain=said(2, "ec2net.toml"),
    ),
    Row(
        "a backend that does not exist",
        "configuration broken",
        "echo 'backend = \"netwrkd\"' > $CONFIG",
        status=said(1, "netwrkd"),
        verify=said(1, "netwrkd"),
        doctor=said(1, "[eni]", "netwrkd", "networkd"),
        explain=said(0, "netwrkd"),
    ),
    Row(
        "a section without effect",
        "configuration without effect",
        "printf '[[eni]]\\nmatch = { device = 7 }\\nmtu = 1500\\n' > $CONFIG",
        doctor=said(0, "[configuration]", "matches no ENI", "device = 7"),
    ),
    Row(
        "a section of another host",
        "configuration of another host",
        "printf '[[eni]]\\nmatch = { id = \"eni-0304feb62015b7959\" }\\n' > $CONFIG",
        doctor=said(0, "[configuration]", "matches no ENI", "eni-0304feb62015b7959"),
    ),
    # IMDS
    Row(
        "IMDS is turned off",
        "IMDS off",
        around=imds(Status(403)),
        status=said(1, "403"),
        verify=said(1, "403"),
        doctor=said(1, "[imds-disabled]", "--http-endpoint enabled"),
        explain=said(0, "403", "last known"),
    ),
    Row(
        "IMDS is slow",
        "IMDS slow",
        around=imds(Delay(4.0)),
        status=said(1, "IMDS"),
        verify=said(1, "IMDS"),
        doctor=said(1, "[imds]"),
        explain=said(0, "IMDS"),
    ),
    Row(
        "IMDS never answers",
        "IMDS off",
        around=imds(Hang()),
        status=said(1, "IMDS"),
        verify=said(1, "IMDS"),
        doctor=said(1, "[imds]"),
        explain=said(0, "IMDS"),
    ),
    Row(
        "IMDS contradicts itself",
        "IMDS wrong",
        around=told(local_ipv4s="192.0.2.1"),
        status=said(1, "refused", "192.0.2.1"),
        verify=said(1, "refused", "192.0.2.1"),
        doctor=said(1, "[eni]", "192.0.2.1"),
        explain=said(0, "refused", "192.0.2.1"),
    ),
    Row(
        "a hop limit of one on a host with containers",
        "IMDS hop limit",
        "sysctl -qw net.ipv4.ip_forward=1",
        config="published_ports = true\n",
        around=hop_limit_of_one,
        doctor=said(0, "[hop-limit]", "--http-put-response-hop-limit 2"),
    ),
    Row(
        "a route hides IMDS",
        "IMDS off",
        "ip route add blackhole 169.254.169.254; ip -6 route add blackhole fd00:ec2::254",
        status=said(1, "169.254.169.254"),
        verify=said(4, "169.254.169.254", "the kernel discards the packets"),
        doctor=said(1, "[imds]", "[routing]", "ip route get"),
    ),
    Row(
        "a filter hides IMDS",
        "foreign filter",
        nft("output", "ip daddr 169.254.169.254 drop; ip6 daddr fd00:ec2::254 drop"),
        status=said(1, "IMDS"),
        verify=said(1, "IMDS"),
        doctor=said(1, "[imds]", "[filter]", "table inet fw"),
        explain=said(0, "IMDS"),
    ),
    # EC2
    Row(
        "EC2 assigns an address to no ENI",
        "EC2 not assigning",
        about="10.0.2.99",
        explain=said(1, "EC2 assigns it to no ENI", "aws ec2 assign-private-ip-addresses"),
    ),
    Row(
        "EC2 has not detached the ENI",
        "EC2 not detached",
        around=unplugged,
        status=said(0, "absent"),
        doctor=said(0, "[eni]", "no link"),
        about="MAC",
        explain=said(0, "absent"),
    ),
    Row(
        "EC2 does not list the ENI of a link",
        "EC2 not detached",
        around=not_listed,
        doctor=said(
            0, "[eni]", "IMDS does not list the ENI any more", "describe-network-interfaces"
        ),
        explain=said(0, "last known"),
    ),
    Row(
        "an ENI in the wrong subnet",
        "wrong subnet",
        "rm -r $RUN_DIR",
        around=told(subnet_ipv4_cidr_block="10.0.3.0/24"),
        status=said(1, "10.0.3.0/24"),
        verify=said(1, "10.0.3.0/24"),
        doctor=said(1, "[eni]", "10.0.3.0/24"),
        explain=said(0, "10.0.3.0/24"),
    ),
    # Other programs
    Row(
        "a VPN takes all traffic before ec2net's rules",
        "VPN",
        _TAILSCALE.format(route="default"),
        status=said(1, "tailscale0", "rule 5270"),
        verify=said(4, "tailscale0", "rule 5270", "tailscale"),
        doctor=said(1, "[routing]", "tailscale"),
        explain=said(0, "degraded", "which is wrong", "tailscale"),
        quick=True,
    ),
    Row(
        "a VPN gives its rules no priority, so they come before ec2net's",
        "VPN",
        _WIREGUARD,
        status=said(1, "wg0", "wg-quick"),
        verify=said(4, "10.0.2.4", "wg0", "wg-quick"),
        doctor=said(1, "[routing]", "wg0", "wg-quick"),
        explain=said(0, "degraded", "which is wrong", "wg-quick"),
    ),
    Row(
        "a CNI plugin routes an address that the host has",
        "CNI",
        "ip route add default via 10.0.2.1 dev ens6 table 2\n"
        "ip rule add to 10.0.2.5 lookup main priority 512\n"
        "ip rule add from 10.0.2.5 lookup 3 priority 1536\n"
        "ip route add default via 10.0.1.1 dev ens5 table 3",
        status=said(1, "10.0.2.5", "rule 1536"),
        verify=said(4, "10.0.2.5", "rule 1536", "VPC CNI"),
        doctor=said(1, "[routing]", "VPC CNI"),
        explain=said(0, "degraded", "which is wrong", "VPC CNI"),
    ),
    Row(
        "another tool configures the same ENI",
        "other tool",
        around=tool("systemd/units/invocation:policy-routes@ens6.service"),
        status=said(1, "amazon-ec2-net-utils"),
        verify=said(1, "amazon-ec2-net-utils"),
        doctor=said(1, "[other-tool]", "ec2net migrate --from amazon-ec2-net-utils"),
        explain=said(0, "refused", "amazon-ec2-net-utils"),
    ),
)

_PUBLISH = """
sysctl -qw net.ipv4.ip_forward=1
ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
nft -f - <<'END'
table ip docker {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        fib daddr type local tcp dport 8080 dnat to 172.17.0.2:80
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "docker0" accept
    }
}
END
"""

_FIREWALL = """
nft -f - <<'END'
table inet filter {
    set blocked { type ipv4_addr; elements = { 192.0.2.7 } }
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        iif != lo ip daddr 127.0.0.0/8 drop
        ct state established,related accept
        ct state invalid drop
        ip saddr @blocked drop
        ip saddr 10.0.2.4 iifname "ens5" drop
        ip daddr 10.0.2.4 tcp dport 23 drop
        meta l4proto { icmp, icmpv6 } accept
        tcp dport { 22, 443 } accept
        limit rate 5/second log prefix "drop: "
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
    }
    chain output {
        type filter hook output priority 0; policy accept;
        meta skuid 65534 drop
    }
}
END
"""

HEALTHY = (
    Row("two ENIs", "healthy", quick=True),
    Row("one ENI", "healthy", about="ens5", enis=1),
    Row(
        "IPv6 is off by hardening",
        "healthy",
        "sysctl -qw net.ipv6.conf.ens6.disable_ipv6=1",
        config='ipv6 = "off"\n',
    ),
    Row("containers", "healthy", _PUBLISH, config="published_ports = true\n"),
    Row("a VPN for its own network", "healthy", _TAILSCALE.format(route="100.64.0.0/10")),
    Row("a firewall", "healthy", _FIREWALL),
    Row(
        "an ENI that is only observed",
        "healthy",
        "printf '[[eni]]\\nmatch = { device = 1 }\\nmanage = \"observe\"\\n' > $CONFIG",
    ),
    Row(
        "an ENI that is ignored",
        "healthy",
        "ip rule add from 10.0.2.4 lookup main priority 100",
        config='[[eni]]\nmatch = { device = 1 }\nmanage = "ignore"\n',
    ),
    Row(
        "Kubernetes",
        "healthy",
        "sysctl -qw net.ipv4.ip_forward=1\n"
        "ip link add enipod type bridge; ip link set enipod up\n"
        "ip route add 10.0.2.5 dev enipod scope link\n"
        "ip rule add to 10.0.2.5 lookup main priority 512\n"
        "ip rule add from 10.0.2.5 lookup 2 priority 1536\n"
        "ip route add default via 10.0.2.1 dev ens6 table 2",
        config='profile = "kubernetes"\npublished_ports = true\n',
    ),
    Row("routing is off", "healthy", config='routing = "off"\n'),
    Row(
        "routes and rules of an administrator",
        "healthy",
        "ip route add 192.0.2.0/24 via 10.0.1.1 dev ens5\n"
        "ip rule add to 203.0.113.0/24 lookup main priority 50\n"
        "ip addr add 192.0.2.200/32 dev lo",
    ),
    Row(
        "the link has another name",
        "healthy",
        "ip link set ens6 down; ip link set ens6 name lan6; ip link set lan6 up",
        about="lan6",
    ),
    Row(
        "a host that forgot its state",
        "healthy",
        "rm -r $RUN_DIR",
    ),
)


@dataclass(frozen=True, slots=True)
class LabRow:
    """A host with systemd. ``undo`` restores it; the scripts are for sh."""

    name: str
    kind: str
    script: str
    undo: str
    status: Said = WELL
    verify: Said = WELL
    doctor: Said = WELL
    explain: Said = WELL
    until: str = ""
    """Words of ``status`` to wait for."""
    backend: str = ""
    """The only network manager that the row is for."""

    @property
    def commands(self) -> dict[str, Said]:
        return commands_of(self)

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        return [pytest.mark.backend(self.backend)] if self.backend else []


_DROP_IN = "/run/systemd/system/ec2net.service.d/broken.conf"

BROKEN_UNITS = (
    LabRow(
        "the service is stopped",
        "service stopped",
        "systemctl stop ec2net.service",
        "systemctl start ec2net.service",
        status=said(1, "ec2net.service is stopped", "systemctl start ec2net.service"),
        doctor=said(1, "[service]", "is stopped", "last pass"),
    ),
    LabRow(
        "the service has failed",
        "service failed",
        f"mkdir -p {_DROP_IN.rpartition('/')[0]}\n"
        f"printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {_DROP_IN}\n"
        "systemctl daemon-reload; systemctl restart ec2net.service || true",
        f"rm {_DROP_IN}; systemctl daemon-reload; systemctl reset-failed ec2net.service\n"
        "systemctl start ec2net.service",
        status=said(1, "ec2net.service", "nothing keeps the ENIs in line with EC2"),
        doctor=said(1, "[service]", "journalctl -b -u ec2net.service"),
    ),
    LabRow(
        "the service is disabled",
        "service disabled",
        "systemctl disable ec2net.service",
        "systemctl enable ec2net.service",
        status=said(1, "ec2net.service", "disabled", "after the next boot"),
        doctor=said(0, "[service]", "systemctl enable ec2net.service"),
    ),
    LabRow(
        "the service is masked",
        "service masked",
        "systemctl mask --now ec2net.service",
        "systemctl unmask ec2net.service; systemctl enable --now ec2net.service",
        status=said(1, "ec2net.service is masked", "systemctl unmask"),
        doctor=said(1, "[unit-masked]", "systemctl unmask ec2net.service"),
    ),
    *(
        LabRow(
            f"{name} is {state}",
            f"manager {state}",
            f"systemctl {verb} {units}",
            f"systemctl unmask {units}; systemctl start {units}",
            verify=verify,
            doctor=said(1, "[manager]", f"{name}.service", "nothing renews the leases", "start"),
            explain=explain,
            backend=backend,
        )
        for name, backend, units in (
            ("systemd-networkd", "networkd", "systemd-networkd.socket systemd-networkd.service"),
            ("NetworkManager", "networkmanager", "NetworkManager.service"),
        )
        for state, verb in (("dead", "stop"), ("masked", "mask --now"))
        # ec2net itself configures the links of a NetworkManager that is masked.
        for verify, explain in (
            [(WELL, WELL)]
            if (backend, state) == ("networkmanager", "masked")
            else [(said(1, "is not running"), said(0, "is not running"))]
        )
    ),
    LabRow(
        "networkd's file of ec2net is missing",
        "missing file",
        "mv /usr/lib/systemd/networkd.conf.d/80-ec2net.conf /root/kept.conf",
        "mv /root/kept.conf /usr/lib/systemd/networkd.conf.d/80-ec2net.conf",
        doctor=said(0, "[manager]", "ManageForeignRoutes", "80-ec2net.conf"),
        backend="networkd",
    ),
    LabRow(
        "a user disconnected the ENI from NetworkManager",
        "link down",
        "nmcli device disconnect ens6; ec2net refresh || true",
        "nmcli device connect ens6",
        status=said(0, "ignored", "a user disconnected it"),
        doctor=said(0, "[eni]", "a user disconnected it"),
        explain=said(0, "ignored", "a user disconnected it"),
        backend="networkmanager",
    ),
    LabRow(
        "another program removes ec2net's rules again and again",
        "manager fighting",
        "systemd-run --unit=fight sh -c 'while :; do ip rule del priority 10001; sleep 0.1; done'",
        "systemctl stop fight.service",
        until="repairs are limited",
        status=said(1, "repairs are limited", "another program"),
        verify=said(4, "is missing"),
        doctor=said(1, "[drift]", "[routing]"),
        explain=said(0, "repairs are limited"),
    ),
)


KINDS = """
    foreign rule, foreign route, foreign table, foreign address, foreign filter, MTU, sysctl,
    neighbour, gateway, missing rule, missing route, missing address, missing file, missing lease,
    link down, link moved, link renamed, link enslaved, configuration broken,
    configuration without effect, configuration of another host, IMDS off, IMDS slow, IMDS wrong,
    IMDS hop limit, EC2 not assigning, EC2 not detached, wrong subnet, VPN, CNI, other tool,
    manager dead, manager masked, manager fighting, service stopped, service failed,
    service disabled, service masked
"""
"""The classes of broken hosts."""


def environment_of(instance: Instance) -> dict[str, str]:
    """The environment of a row's script."""
    config = instance.config_root / "etc/ec2net/ec2net.toml"
    variables = {"RUN_DIR": str(instance.run_dir), "CONFIG": str(config)}
    return {**environment(instance.source), **variables}


def run_script(instance: Instance, script: str) -> None:
    """The script of a row, in the guest."""
    if script:
        done = instance.guest.run(["sh", "-euc", script], env=environment_of(instance))
        assert done.returncode == 0, done.stderr


def make(instance: Instance, row: Row) -> None:
    """Run the script of the row, and the pass after it."""
    run_script(instance, row.script)
    if row.passes:
        instance.ec2net("refresh", status=row.status.status)


def asked(instance: Instance, row: Row) -> list[str]:
    """All answers that are not what the row expects; prints them all."""
    found: list[str] = []
    mac = str(instance.vpc.enis[-1].mac)
    about = mac if row.about == "MAC" else row.about
    for command, expected in row.commands.items():
        found += answer(instance, [command, about] if command == "explain" else [command], expected)
    return found


def answer(instance: Instance, arguments: list[str], expected: Said) -> list[str]:
    """How the answer of a command differs from what is expected; prints it."""
    done = instance.ec2net(*arguments, status=None)
    output = done.stdout + done.stderr
    print(f"$ ec2net {' '.join(arguments)} -> {done.returncode}\n{output}")
    return wrong(arguments[0], expected, done.returncode, output)


def kinds() -> set[str]:
    return {row.kind for row in BROKEN} | {row.kind for row in BROKEN_UNITS}
