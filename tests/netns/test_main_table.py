# SPDX-License-Identifier: Apache-2.0
"""Main shows a secondary's subnet: other programs find it, and no packet takes another route."""

import json
import subprocess

import pytest
from containers import docker0
from instance import MANY, Instance, primary, subnets
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.netns

APART = 'main_table = "apart"\n'


def two(instance: Instance) -> tuple[Eni, Eni]:
    first, second = subnets(instance.vpc, 2)
    enis = primary(instance.vpc, first, **MANY), instance.vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    return enis


def shown(instance: Instance, subnet: object) -> list[str]:
    """Main's routes to ``subnet``, the best first."""
    version = "-6" if ":" in str(subnet) else "-4"
    text = instance.guest.run(["ip", version, "route", "show", str(subnet)]).stdout
    return [line.strip().removeprefix(f"{subnet} ") for line in text.splitlines()]


def add_route(instance: Instance, words: str) -> subprocess.CompletedProcess[str]:
    return instance.guest.run(["ip", "route", "add", *words.split()])


NEXT_HOPS = (
    "10.60.0.0/16 via 10.0.2.1 dev ens6",
    "10.61.0.0/16 via 10.0.2.3 dev ens6",
    "2001:db8:60::/48 via 2001:db8:0:2::3 dev ens6 onlink",
)
"""In IPv6 with ``onlink``: the kernel refuses it where main has a route to it by another link."""


def test_a_next_hop_in_the_subnet_of_a_secondary_is_accepted(instance: Instance) -> None:
    """The kernel refused it: 'Nexthop has invalid gateway', as well as bird's and frr's routes."""
    two(instance)
    for route in NEXT_HOPS:
        assert add_route(instance, route).returncode == 0, route


def test_a_route_through_a_secondary_does_not_serve_the_primarys_addresses(
    instance: Instance,
) -> None:
    main, _ = two(instance)
    for route in NEXT_HOPS:
        add_route(instance, route)
    instance.ec2net("refresh")
    assert instance.plan()["changes"] == []
    for host, source in (("10.60.0.9", main.ipv4s[1]), ("2001:db8:60::9", main.ipv6s[1])):
        assert instance.way(host, source) == "ens5"
        assert instance.way(host, None) == "ens6"


def test_without_the_subnet_in_main_the_next_hop_is_refused(instance: Instance) -> None:
    instance.configure(APART)
    two(instance)
    assert [add_route(instance, route).returncode for route in NEXT_HOPS] == [2, 2, 0]


def test_docker_sees_a_route_of_scope_link(instance: Instance) -> None:
    """Docker chose the secondary's own subnet for a new network."""
    _, eni = two(instance)
    detour, on_link = shown(instance, "10.0.2.0/24")
    assert detour == "via 10.0.1.1 dev ens5 proto 236 metric 512 onlink"
    assert on_link == f"dev ens6 proto 236 scope link src {eni.ipv4s[0]} metric 513"


def ways(instance: Instance, main: Eni, container: str) -> list[str]:
    """How the kernel sends to hosts of the secondary's subnet: unbound, bound, and forwarded."""
    asked = [
        [],
        ["from", str(main.ipv4s[0])],
        ["from", container, "iif", "docker0"],
    ]
    found = [
        instance.guest.run(["ip", "route", "get", "10.0.2.3", *words]).stdout.split(" uid ")[0]
        for words in asked
    ]
    for source in ([], ["from", str(main.ipv6s[0])]):
        command = ["ip", "-6", "route", "get", "2001:db8:0:2::3", *source]
        found.append(instance.guest.run(command).stdout.partition(" proto ")[0])
    return [" ".join(way.split()) for way in found]


def test_traffic_that_is_not_bound_to_the_secondary_keeps_its_route(instance: Instance) -> None:
    instance.configure(APART)
    main, _ = two(instance)
    instance.guest.sysctl({"net/ipv4/ip_forward": "1"})
    with docker0(instance.vpc) as container:
        before = ways(instance, main, container)
        instance.configure()
        assert len(instance.refresh()) == 2
        after = ways(instance, main, container)
    # The table is the same, and so the first words; IPv6 prints the gateway as well.
    assert after == before
    assert all("dev ens5" in way for way in after)


def test_a_program_that_binds_to_the_link_finds_the_subnet_on_link(instance: Instance) -> None:
    two(instance)
    found = instance.guest.run(["ip", "route", "get", "10.0.2.3", "oif", "ens6"]).stdout
    assert "dev ens6" in found
    assert "via" not in found


@pytest.mark.parametrize("backend", ["main-first", "strict"])
def test_every_address_works_from_every_subnet(instance: Instance, backend: str) -> None:
    instance.configure(f'routing = "{backend}"\n')
    main, eni = two(instance)
    peers = [instance.vpc.add_peer(one.subnet) for one in (main, eni)]
    for peer in (None, *peers):
        assert instance.unreachable(main, eni, host=peer) == []


def test_an_eni_in_the_subnet_of_the_primary_leaves_main_unchanged(instance: Instance) -> None:
    (first,) = subnets(instance.vpc, 1)
    primary(instance.vpc, first)
    instance.vpc.attach(first)
    before = shown(instance, "10.0.1.0/24")
    instance.ec2net("refresh")
    assert shown(instance, "10.0.1.0/24") == before
    said = instance.ec2net("explain", "ens6").stdout
    assert "main does not show 10.0.1.0/24: it overlaps 10.0.1.0/24 of the primary ENI" in said


@pytest.mark.parametrize("leaving", [1, 2])
def test_two_enis_in_one_subnet_share_the_detour(instance: Instance, leaving: int) -> None:
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    enis = [instance.vpc.attach(second) for _ in range(2)]
    peer = instance.vpc.add_peer(second)
    instance.ec2net("refresh")
    assert instance.unreachable(*instance.vpc.enis, host=peer) == []
    assert [line.split()[-1] for line in shown(instance, "10.0.2.0/24")] == ["onlink", "513", "514"]
    instance.ec2net("remove", enis[leaving - 1].name)
    assert len(shown(instance, "10.0.2.0/24")) == 2
    assert instance.way("10.0.2.3", None) == "ens5"


def test_the_routes_are_removed_with_the_eni(instance: Instance) -> None:
    _, eni = two(instance)
    instance.vpc.detach(eni)
    removed = instance.refresh()
    assert "remove route 10.0.2.0/24 via 10.0.1.1 dev ens5 table main metric 512" in removed
    assert shown(instance, "10.0.2.0/24") == []


@pytest.mark.parametrize("how", ["remove", "apart", "vpn"])
def test_the_detour_is_removed_after_the_route_that_needs_it(instance: Instance, how: str) -> None:
    _, eni = two(instance)
    if how == "remove":
        changes = json.loads(instance.ec2net("remove", eni.name, "--json").stdout)["changes"]
        lines = "\n".join(change["text"] for change in changes)
    else:
        if how == "apart":
            instance.configure(APART)
        else:
            instance.guest.ip(["link add wg0 type bridge", "link set wg0 up"])
            instance.guest.ip(["route add 10.0.0.0/9 dev wg0"])
        lines = "\n".join(instance.refresh())
    detour = lines.index("route 10.0.2.0/24 via 10.0.1.1 dev ens5 table main")
    assert lines.index("route 10.0.2.0/24 dev ens6 table main") < detour
    assert shown(instance, "10.0.2.0/24") == []


def test_a_removed_route_is_repaired(instance: Instance) -> None:
    two(instance)
    before = instance.kernel()
    instance.guest.ip(["route del 10.0.2.0/24 dev ens5", "route del 10.0.2.0/24 dev ens6"])
    assert len(instance.refresh()) == 2
    assert instance.kernel() == before


def test_a_pass_for_the_secondary_alone_adds_the_detour(instance: Instance) -> None:
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    instance.ec2net("refresh")
    eni = instance.vpc.attach(second)
    done = instance.ec2net("start", eni.name, "--json").stdout
    detour = done.rindex("route 10.0.2.0/24 via 10.0.1.1 dev ens5 table main")
    assert detour < done.rindex("route 10.0.2.0/24 dev ens6 table main")
    assert len(shown(instance, "10.0.2.0/24")) == 2
    assert instance.plan()["changes"] == []


def test_a_vpn_keeps_its_traffic(instance: Instance) -> None:
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first)
    eni = instance.vpc.attach(second)
    instance.guest.ip(["link add wg0 type bridge", "link set wg0 up"])
    instance.guest.ip(["route add default dev wg0 metric 50", "route add 2001:db8::/33 dev wg0"])
    instance.ec2net("refresh")
    for host in ("10.0.2.3", "2001:db8:0:2::3"):
        assert instance.way(host, None) == "wg0"
    assert shown(instance, "10.0.2.0/24") == []
    assert (
        "does not lead there through the primary ENI" in instance.ec2net("explain", eni.name).stdout
    )


def connected_first(instance: Instance) -> tuple[Eni, Eni]:
    """Others configured the secondary before ec2net does."""
    first, second = subnets(instance.vpc, 2)
    main, eni = primary(instance.vpc, first, **MANY), instance.vpc.attach(second, **MANY)
    instance.guest.ip([f"link set {eni.name} up", f"addr add {eni.ipv4s[0]}/24 dev {eni.name}"])
    instance.guest.ip([f"addr add {eni.ipv6s[0]}/64 dev {eni.name} nodad"], version=6)
    return main, eni


@pytest.mark.parametrize("settings", ["", "primary_rules = false\n"], ids=["auto", "none"])
def test_the_primary_answers_hosts_in_the_subnet_of_a_secondary(
    instance: Instance, settings: str
) -> None:
    """By the foreign connected route the packets left through the secondary, and the VPC dropped
    them."""
    main, eni = connected_first(instance)
    peer = instance.vpc.add_peer(eni.subnet)
    instance.configure(settings)
    instance.ec2net("refresh", status=None)
    works = instance.unreachable(main, host=peer) == []
    assert works is (settings == "")
    if works:
        assert instance.unreachable(main, eni) == []
        assert instance.plan()["changes"] == []
        instance.ec2net("verify")


def test_a_pass_for_the_secondary_alone_corrects_main_for_the_primary(instance: Instance) -> None:
    """In on-demand mode, udev starts a pass for a new ENI; the next pass for all comes by a timer."""
    first, second = subnets(instance.vpc, 2)
    main = primary(instance.vpc, first, **MANY)
    instance.ec2net("refresh")
    eni = instance.vpc.attach(second, **MANY)
    instance.guest.ip([f"link set {eni.name} up", f"addr add {eni.ipv4s[0]}/24 dev {eni.name}"])
    instance.ec2net("start", eni.name)
    assert instance.unreachable(main, host=instance.vpc.add_peer(second)) == []
    assert instance.plan()["changes"] == []


def test_corrections_hide_nothing_else_in_main(instance: Instance) -> None:
    """A bridge inside of the subnet, a VPN's default route, others' rules without priority."""
    main, _ = connected_first(instance)
    lines = ["link add br9 type bridge", "link set br9 up", "route add 10.0.2.128/25 dev br9"]
    instance.guest.ip([*lines, "rule add from all fwmark 7 lookup 77"])
    instance.ec2net("refresh")
    for host, link in (("10.0.2.3", "ens5"), ("10.0.2.129", "br9"), ("198.51.100.9", "ens5")):
        assert instance.way(host, main.ipv4s[1]) == link
    instance.guest.ip(["route add default dev br9 metric 50"])
    assert instance.way("198.51.100.9", main.ipv4s[1]) == "br9"
    instance.ec2net("refresh")
    # As main routed it without the other ENI: a VPN does not leak.
    assert instance.way("10.0.2.3", main.ipv4s[1]) == "br9"
    rules = instance.guest.run(["ip", "rule"]).stdout.splitlines()
    assert [line.split(":")[0] for line in rules[-4:]] == ["32765", "32765", "32766", "32767"]


def test_traffic_without_a_source_follows_main(instance: Instance) -> None:
    """Programs that do not bind may use the secondary's subnet on link: its address is chosen."""
    connected_first(instance)
    instance.ec2net("refresh")
    assert instance.way("10.0.2.3", None) == "ens6"


def test_corrections_are_removed_with_their_reason(instance: Instance) -> None:
    _, eni = connected_first(instance)
    instance.ec2net("refresh")
    assert "32765" in instance.guest.run(["ip", "rule"]).stdout
    instance.guest.ip(["route del 10.0.2.0/24 dev ens6 proto kernel"])
    removed = instance.refresh()
    assert any("32765" in line for line in removed)
    assert "32765" not in instance.guest.run(["ip", "rule"]).stdout
    last_rule = max(n for n, line in enumerate(removed) if "rule 3276" in line)
    route = next(n for n, line in enumerate(removed) if "table 10000" in line)
    assert last_rule < route
    instance.vpc.detach(eni)
    instance.ec2net("refresh")
    assert "table 10000" not in instance.guest.run(["ip", "-6", "rule"]).stdout
    assert instance.guest.run(["ip", "-6", "route", "show", "table", "10000"]).stdout == ""


def test_an_ignored_eni_takes_no_traffic_from_the_primary_either(instance: Instance) -> None:
    main, eni = connected_first(instance)
    peer = instance.vpc.add_peer(eni.subnet)
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nmanage = "ignore"\n')
    instance.ec2net("refresh")
    assert instance.unreachable(main, host=peer) == []


@pytest.mark.parametrize(("host", "version"), [("198.51.100.7", 4), ("2001:db8:77::7", 6)])
def test_a_route_through_the_secondary_counts_for_its_addresses(
    instance: Instance, host: str, version: int
) -> None:
    """An appliance: packets from the secondary's addresses bypassed it, by the gateway."""
    main, eni = two(instance)
    hops = [instance.vpc.add_peer(eni.subnet).address(version) for _ in range(2)]
    own, other = (
        next(one for one in holder.addresses() if one.version == version) for holder in (eni, main)
    )

    def way(source: object) -> str:
        command = ["ip", f"-{version}", "route", "get", host, "from", str(source)]
        return instance.guest.run(command).stdout

    assert add_route(instance, f"{host} via {hops[0]} dev ens6 onlink").returncode == 0
    assert f"via {hops[0]} " not in way(own)
    instance.ec2net("refresh")
    assert f"via {hops[0]} dev ens6" in way(own)
    assert "dev ens5" in way(other)
    assert instance.plan()["changes"] == []
    instance.guest.ip([f"route replace {host} via {hops[1]} dev ens6 onlink"])
    instance.ec2net("refresh")
    assert f"via {hops[1]} dev ens6" in way(own)
    instance.guest.ip([f"route del {host} dev ens6"])
    instance.ec2net("refresh")
    assert f"via {hops[1]} " not in way(own)
    assert instance.plan()["changes"] == []


MORE = (
    "10.71.0.0/16 via inet6 fe80::9 dev ens6",
    "10.72.0.0/16 via 10.0.2.3 dev ens6 onlink mtu lock 1400 advmss 1300 realm 5",
    "10.73.0.0/16 encap ip id 7 dst 10.1.1.1 dev ens6",
    "10.74.0.0/16 nhid 7",
    "10.75.0.0/16 nhid 9",
    "10.76.0.0/16 nexthop via 10.0.2.3 dev ens6 weight 2 nexthop via inet6 fe80::9 dev ens6",
    "2001:db8:71::/48 via fe80::7 dev ens6 mtu 1400",
    "2001:db8:74::/48 nhid 8",
    "2001:db8:76::/48 nexthop via fe80::7 dev ens6 nexthop via fe80::8 dev ens6 weight 3",
)
SHARED = (
    "10.77.0.0/16 nexthop via 10.0.2.3 dev ens6 nexthop via 10.0.1.3 dev ens5",
    "10.78.0.0/16 nhid 11",
    "2001:db8:77::/48 nexthop via fe80::7 dev ens6 nexthop via fe80::8 dev ens5",
)
OBJECTS = (
    "nexthop add id 7 via 10.0.2.3 dev ens6",
    "nexthop add id 8 via fe80::7 dev ens6",
    "nexthop add id 10 via 10.0.2.5 dev ens6",
    "nexthop add id 12 via 10.0.1.3 dev ens5",
    "nexthop add id 9 group 7/10,2",
    "nexthop add id 11 group 7/12",
)


def specific(instance: Instance, table: str) -> list[str]:
    """The routes of ``MORE`` in ``table``, as ip prints them; a copy's gateway is always on-link."""
    found = []
    for version in ("-4", "-6"):
        command = ["ip", version, "route", "show", "table", table]
        text = instance.guest.run(command).stdout.replace("\n\t", " ")
        for word in (" onlink", " proto 236"):
            text = text.replace(word, "")
        found += [" ".join(line.split()) for line in text.splitlines()]
    return sorted(line for line in found if line.startswith(("10.7", "2001:db8:7")))


def test_a_copy_has_everything_of_its_original(instance: Instance) -> None:
    """Several next hops, a tunnel, metrics, a gateway of the other family, next hop objects."""
    two(instance)
    instance.guest.ip(OBJECTS)
    instance.guest.ip([f"route add {route}" for route in MORE])
    instance.ec2net("refresh")
    originals = specific(instance, "main")
    assert len(originals) == len(MORE)
    assert specific(instance, "10001") == originals
    assert instance.plan()["changes"] == []
    instance.guest.ip([f"route del {route.split()[0]}" for route in MORE])
    instance.ec2net("refresh")
    assert specific(instance, "10001") == []


def test_each_address_uses_the_next_hops_through_its_own_eni(instance: Instance) -> None:
    """The kernel chooses one by a hash, whatever the source."""
    main, eni = two(instance)
    instance.guest.ip(OBJECTS)
    instance.guest.ip([f"route add {route}" for route in SHARED])
    for _ in range(2):
        instance.ec2net("refresh")
    assert instance.plan()["changes"] == []
    for host in ("10.77", "10.78"):
        for n in range(8):
            assert instance.way(f"{host}.0.{n}", main.ipv4s[1]) == "ens5"
            assert instance.way(f"{host}.0.{n}", eni.ipv4s[1]) == "ens6"
    for n in range(8):
        assert instance.way(f"2001:db8:77::{n}", main.ipv6s[1]) == "ens5"
        assert instance.way(f"2001:db8:77::{n}", eni.ipv6s[1]) == "ens6"


def test_the_daemon_follows_routes_and_next_hop_objects(instance: Instance) -> None:
    """The kernel deletes the IPv4 routes of a next hop object without an event for them."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first, **MANY)
    instance.vpc.attach(second, **MANY)
    table = ["ip", "route", "show", "table", "10001"]
    with managed(instance) as manager:
        manager.until_configured(2)
        instance.guest.ip(
            ["nexthop add id 7 via 10.0.2.3 dev ens6", "route add 10.72.0.0/16 nhid 7"]
        )
        manager.until(lambda: "10.72.0.0/16" in instance.guest.run(table).stdout)
        instance.guest.ip(["nexthop del id 7"])
        assert "10.72" not in instance.guest.run(["ip", "route"]).stdout
        manager.until(lambda: "10.72.0.0/16" not in instance.guest.run(table).stdout)


def test_the_daemon_follows_a_route_that_was_replaced(instance: Instance) -> None:
    """The kernel reports the new route alone, which leads through no ENI."""
    two(instance)
    instance.guest.ip(["link add wg0 type bridge", "link set wg0 up"])
    instance.guest.ip(["route add 10.72.0.0/16 via 10.0.2.3 dev ens6"])
    instance.ec2net("refresh")
    table = ["ip", "route", "show", "table", "10001"]
    assert "10.72.0.0/16" in instance.guest.run(table).stdout
    with managed(instance) as manager:
        manager.until_configured(2)
        instance.guest.ip(["route replace 10.72.0.0/16 dev wg0"])
        manager.until(lambda: "10.72.0.0/16" not in instance.guest.run(table).stdout)


@pytest.mark.parametrize("version", [4, 6])
def test_a_kill_switch_in_main_applies_to_every_address(instance: Instance, version: int) -> None:
    """An error route is not suppressed by a rule: where it is main's best, everything fails."""
    main, eni = two(instance)
    host = {4: "198.51.100.9", 6: "2001:db8:ffff::9"}[version]
    sources = [main.ipv4s[1], eni.ipv4s[1]] if version == 4 else [main.ipv6s[1], eni.ipv6s[1]]
    for kind in ("blackhole", "unreachable", "prohibit"):
        instance.guest.ip([f"route add {kind} default metric 5"], version=version)
        assert [instance.way(host, source) for source in sources] == ["", ""]
        # No route leads to the subnet past the kill switch.
        instance.ec2net("refresh", status=None)
        assert instance.way({4: "10.0.2.3", 6: "2001:db8:0:2::3"}[version], None) == ""
        instance.guest.ip([f"route del {kind} default metric 5"], version=version)
    # Behind another default route it affects no traffic.
    instance.ec2net("refresh")
    instance.guest.ip(["route add blackhole default metric 4096"], version=version)
    assert [instance.way(host, source) for source in sources] == ["ens5", "ens6"]
