# SPDX-License-Identifier: Apache-2.0
"""With real programs from Debian: Docker, WireGuard, keepalived, BIRD, FRR, firewalld, ufw.

Each test states what a user expects of the host. The tests of a module share one boot, and each one
reverts its changes.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from checkout import TOP
from containers import who_answers
from lab_boot import Boot
from lab_docker import PUBLISHED, Docker
from lab_host import LabHost
from lab_instance import LabInstance

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd"), pytest.mark.mode("resident")]


def attach(instance: LabInstance) -> None:
    vpc = instance.vpc
    vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    # The second is where Docker's own pools begin behind 172.17.0.0/16.
    for ipv4, ipv6 in (
        ("10.0.2.0/24", "2001:db8:0:12::/64"),
        ("172.18.0.0/24", "2001:db8:0:13::/64"),
    ):
        vpc.attach(vpc.add_subnet(ipv4, ipv6), ipv4=2, ipv6=2)


@pytest.fixture(scope="module")
def instance(boot: Boot) -> Iterator[LabInstance]:
    with boot(before=attach, neighbours=True) as booted:
        yield booted


def lost(vpc: SimulatedVpc) -> Counter[tuple[str, str]]:
    """Packets with a source that the ENI does not own, by link and source."""
    found: Counter[tuple[str, str]] = Counter()
    for drop in vpc.drops():
        found[drop.port, drop.source] += drop.packets
    return found


@contextmanager
def none_lost(instance: LabInstance) -> Iterator[None]:
    """No packet leaves through the wrong ENI, every address works afterwards, and soon ec2net has
    no changes."""
    before = lost(instance.vpc)
    yield
    assert instance.unreachable() == []
    assert lost(instance.vpc) - before == Counter()
    instance.host.wait_until(lambda: instance.refresh() == "", 60, "an empty plan")


@contextmanager
def started(host: LabHost, *units: str) -> Iterator[None]:
    host.run(["systemctl", "start", *units], timeout=120)
    try:
        yield
    finally:
        host.run(["systemctl", "stop", *units], timeout=120)


def restart(host: LabHost, unit: str) -> None:
    """Any number of times: systemd counts the starts of ten minutes."""
    host.run(["systemctl", "reset-failed", "ec2net.service"], check=False)
    host.run(["systemctl", "restart", unit], timeout=120)


@contextmanager
def docker(instance: LabInstance) -> Iterator[Docker]:
    with started(instance.host, "docker.socket", "docker.service"):
        try:
            yield Docker(instance.host)
        finally:
            clean = "docker rm -f $(docker ps -aq); docker network prune -f"
            instance.host.run(["sh", "-c", clean], timeout=60)


@pytest.mark.exhaustive
def test_a_docker_container_is_reached_and_reaches_everything(instance: LabInstance) -> None:
    """Through a published port of the primary's addresses, from hosts of every subnet; outwards; and
    to the host's own addresses. The same after a restart of either program."""
    vpc, host = instance.vpc, instance.host
    clients = [vpc.outside, *(vpc.add_peer(eni.subnet) for eni in vpc.enis)]
    own = [str(address) for eni in vpc.enis for address in eni.ipv4s]
    with docker(instance) as real, none_lost(instance):
        real.run("box", "--restart=always", f"--publish={PUBLISHED}:{echo.PORT}")
        for unit in ("docker.service", "ec2net.service"):
            with real.serving("box") as (container, address):
                for client in clients:
                    found = who_answers(client.namespace, instance.primary.ipv4s, PUBLISHED)
                    assert found == [address] * 2
                assert who_answers(container, own, echo.PORT) == own
                outside = [str(vpc.outside.ipv4)]
                assert who_answers(container, outside, echo.PORT) == outside
            restart(host, unit)
            host.wait_until(lambda: real.runs("box"), 60, "the container")


@pytest.mark.exhaustive
def test_a_published_port_is_reached_on_a_secondary_with_published_ports(
    instance: LabInstance,
) -> None:
    vpc, host = instance.vpc, instance.host
    setting = "/etc/ec2net/ec2net.toml.d/30-docker.toml"
    clients = [vpc.outside, *(vpc.add_peer(eni.subnet) for eni in vpc.enis)]
    with docker(instance) as real:
        real.run("box", f"--publish={PUBLISHED}:{echo.PORT}")
        host.write(setting, "published_ports = true\n")
        instance.reconfigure()
        with none_lost(instance), real.serving("box") as (_, address):
            for client in clients:
                for eni in vpc.enis:
                    found = who_answers(client.namespace, eni.ipv4s, PUBLISHED)
                    assert found == [address] * 2
        host.run(["rm", setting])
        instance.reconfigure()


def test_docker_uses_no_network_of_an_eni(instance: LabInstance) -> None:
    names = [f"n{number}" for number in range(10)]
    with docker(instance) as real, none_lost(instance):
        chosen = [real.network(name) for name in names]
        taken = [eni.subnet.ipv4 for eni in instance.vpc.enis]
        assert [one for one in chosen if any(one.overlaps(net) for net in taken if net)] == []


_KEEPALIVED = """
vrrp_instance test {{
    state MASTER
    interface {link}
    virtual_router_id 51
    unicast_peer {{
        {peer}
    }}
    virtual_ipaddress {{
        {vip}/32 dev {link}
    }}
}}
"""


@pytest.mark.parametrize("listed", [False, True], ids=["not in IMDS", "in IMDS"])
def test_a_vip_stays_as_long_as_keepalived_holds_it(instance: LabInstance, listed: bool) -> None:
    host, eni = instance.host, instance.secondary
    vip, peer = eni.subnet.allot_ipv4(), instance.vpc.add_peer(eni.subnet)
    text = _KEEPALIVED.format(link=eni.name, peer=peer.ipv4, vip=vip)
    host.write("/etc/keepalived/keepalived.conf", text)

    def held() -> bool:
        return f" {vip}/32 " in host.run(["ip", "-4", "addr", "show", eni.name]).stdout

    with none_lost(instance), started(host, "keepalived.service"):
        host.wait_until(held, 60, "the VIP")
        if listed:
            eni.assign_ipv4(vip)
        for _ in range(2):
            instance.refresh()
            assert held()
        if listed:
            eni.unassign_ipv4(vip)
            instance.refresh()
            assert held()
    assert not held()


_WIREGUARD = """
set -e; umask 077
printf '[Interface]\\nPrivateKey=%s\\nAddress=10.99.0.1/24\\n' "$(wg genkey)" >/etc/wireguard/wg0.conf
printf '[Peer]\\nPublicKey=%s\\nAllowedIPs=%s\\n' "$(wg genkey | wg pubkey)" "{}" >>/etc/wireguard/wg0.conf
"""


def main_first(host: LabHost) -> list[str]:
    """ec2net's rules that look up main before an ENI's table.

    The kernel lists rules of one priority as they were added, in one pass or in several.
    """
    listed = host.run(["sh", "-c", "ip -4 rule; ip -6 rule"]).stdout.splitlines()
    return sorted(line for line in listed if "suppress_ifgroup" in line)


def of_secondaries(instance: LabInstance) -> tuple[Eni, ...]:
    return tuple(instance.vpc.enis[1:])


@pytest.mark.exhaustive
def test_a_vpn_to_one_network_takes_only_that_network(instance: LabInstance) -> None:
    """ec2net obeys the VPN's route in main from every address (main-first)."""
    host, vpc = instance.host, instance.vpc
    host.run(["sh", "-c", _WIREGUARD.format("10.77.0.0/16")])
    with none_lost(instance):
        host.run(["wg-quick", "up", "wg0"])
        for eni in vpc.enis:
            for source in eni.ipv4s:
                route = ["ip", "-o", "route", "get", "10.77.0.9", "from", str(source)]
                assert " dev wg0 " in host.run(route).stdout
        host.run(["wg-quick", "down", "wg0"])


def test_an_earlier_vpn_to_everywhere_leaves_secondaries_to_their_enis(
    instance: LabInstance,
) -> None:
    """wg-quick's rules get the priority below the lowest: 32764, where ec2net adds its own later.

    ``wg-quick down`` deletes rules to main with ``suppress_prefixlength 0`` until its own is
    deleted, and ec2net's precede it (wg-quick(8) of 1.0.20210914, ``del_if``). The daemon repairs
    them.
    """
    host = instance.host
    host.run(["sh", "-c", _WIREGUARD.format("0.0.0.0/0")])
    with none_lost(instance):
        host.run(["systemctl", "stop", "ec2net.service"])
        for eni in of_secondaries(instance):
            host.run(["ec2net", "remove", eni.name])
        host.run(["wg-quick", "up", "wg0"])
        restart(host, "ec2net.service")
        instance.until_at_rest(*of_secondaries(instance))
        assert instance.unreachable(*of_secondaries(instance)) == []
        whole = main_first(host)
        host.run(["wg-quick", "down", "wg0"])
        took = host.wait_until(lambda: main_first(host) == whole, 60, "the repair")
        print(f"ec2net's rules were back {took:.2f} s after wg-quick down")


def from_the_document() -> str:
    """The configuration of docs/vpn.md, with keys."""
    text = (TOP / "docs/vpn.md").read_text()
    block = text.partition("```ini\n")[2].partition("```")[0]
    return block.replace("[Interface]\n", "[Interface]\nPrivateKey = {key}\n") + _PEER


_PEER = "[Peer]\nPublicKey = {peer}\nAllowedIPs = 0.0.0.0/0\n"


@pytest.mark.exhaustive
def test_the_documented_vpn_to_everywhere_leaves_each_eni_its_traffic_in_any_order(
    instance: LabInstance,
) -> None:
    """The primary keeps its traffic with ``primary_rules`` too, and no repair is needed."""
    host = instance.host
    key = host.run(["wg", "genkey"]).stdout.strip()
    peer = host.run(["wg", "pubkey"], input=host.run(["wg", "genkey"]).stdout).stdout.strip()
    host.write("/etc/wireguard/wg0.conf", from_the_document().format(key=key, peer=peer))
    setting = "/etc/ec2net/ec2net.toml.d/30-vpn.toml"
    secondaries = of_secondaries(instance)
    with none_lost(instance):
        for order in (["ec2net.service"], []):
            host.run(["systemctl", "stop", *order] if order else ["true"], timeout=120)
            for eni in secondaries if order else ():
                host.run(["ec2net", "remove", eni.name])
            host.run(["wg-quick", "up", "wg0"])
            restart(host, "ec2net.service")
            instance.until_at_rest(*secondaries)
            assert instance.unreachable(*secondaries) == []
            whole = main_first(host)
            host.run(["wg-quick", "down", "wg0"])
            assert main_first(host) == whole
        host.write(setting, "primary_rules = true\n")
        instance.reconfigure()
        host.run(["wg-quick", "up", "wg0"])
        assert instance.unreachable() == []
        host.run(["wg-quick", "down", "wg0"])
        host.run(["rm", setting])
        instance.reconfigure()


_BIRD = """
protocol device {{ }}
protocol kernel {{ ipv4 {{ export all; }}; }}
protocol static {{ ipv4; {routes} }}
"""


def many_routes(router: object, count: int) -> list[tuple[str, object]]:
    return [(f"10.{100 + n // 256}.{n % 256}.0/24", router) for n in range(count)]


ROUTES = 20_000


@pytest.mark.exhaustive
def test_bird_installs_its_routes_through_a_neighbour_of_a_secondary(instance: LabInstance) -> None:
    host, eni = instance.host, instance.secondary
    router = instance.vpc.add_peer(eni.subnet).ipv4
    routes = "".join(f"route {net} via {via}; " for net, via in many_routes(router, ROUTES))
    host.write("/etc/bird/bird.conf", _BIRD.format(routes=routes))

    def installed() -> int:
        return host.run(["ip", "-4", "route", "show", "proto", "bird"]).stdout.count("\n")

    with none_lost(instance), started(host, "bird.service"):
        host.wait_until(lambda: installed() == ROUTES, 60, "BIRD's routes")
        obeyed(instance, eni, router)
    host.wait_until(lambda: not installed(), 60, "no route of BIRD's")


@pytest.mark.exhaustive
def test_frr_installs_its_routes_through_a_neighbour_of_a_secondary(instance: LabInstance) -> None:
    host, eni = instance.host, instance.secondary
    router = instance.vpc.add_peer(eni.subnet).ipv4
    lines = [f"ip route {net} {via}" for net, via in many_routes(router, 200)]
    host.write("/etc/frr/frr.conf", "\n".join((*lines, "")))
    host.run(["chown", "frr:frr", "/etc/frr/frr.conf"])

    def installed() -> int:
        """By their destinations: FRR calls its own protocol number ``static``, too."""
        return host.run(["ip", "-4", "route", "show", "root", "10.100.0.0/16"]).stdout.count("\n")

    with none_lost(instance), started(host, "frr.service"):
        host.wait_until(lambda: installed() == 200, 60, "FRR's routes")
        obeyed(instance, eni, router)
    host.wait_until(lambda: installed() == 0, 60, "no route of FRR's")


def obeyed(instance: LabInstance, eni: Eni, router: object) -> None:
    """A routing daemon's route through an ENI counts for the host and for that ENI's addresses."""
    for source in ((), *(("from", str(one)) for one in eni.ipv4s)):
        get = ["ip", "-o", "-4", "route", "get", "10.100.7.9", *source]
        instance.host.wait_until(
            lambda get=get: f" via {router} dev {eni.name} " in instance.host.run(get).stdout,  # type: ignore[misc]
            60,
            " ".join(get),
        )


@pytest.mark.parametrize("filters", ["firewalld", "ufw"])
@pytest.mark.exhaustive
def test_every_address_works_behind_a_packet_filter_that_checks_reverse_paths(
    instance: LabInstance, filters: str
) -> None:
    host = instance.host
    allow = {
        "firewalld": ["firewall-cmd", f"--add-port={echo.PORT}/tcp"],
        "ufw": ["sh", "-c", f"ufw allow {echo.PORT}/tcp && ufw --force enable"],
    }
    with none_lost(instance), started(host, f"{filters}.service"):
        host.run(allow[filters], timeout=60)
        assert instance.unreachable() == []
        restart(host, "ec2net.service")
        assert instance.unreachable() == []
        if filters == "ufw":
            host.run(["ufw", "disable"], timeout=60)
