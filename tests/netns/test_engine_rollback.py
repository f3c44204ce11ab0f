# SPDX-License-Identifier: Apache-2.0
"""R26: an apply that makes IMDS or the default gateway unreachable is rolled back and not
retried."""

import json
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from instance import HANGS, MANY, Instance, environment, primary, subnets
from kernel_state import KernelEvents, assert_same
from manager import managed

from ec2net.core.simulation.vpc.imds_faults import Fault, Hang, Reset, Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

AFTER = 1.5
"""Seconds of ``rollback.after`` in most tests here; the default is 10."""

PLUGIN = """\
import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from ec2net.core.plugins.hookspecs import hookimpl
from ec2net.core.model.objects import Route, Rule

ORDERS = Path({orders!r})

@hookimpl
def ec2net_adjust_intent(intent, facts):
    orders = json.loads(ORDERS.read_text()) if ORDERS.exists() else {{}}
    order = orders.get(str(intent.mac))
    if order is None:
        return None
    routes = tuple(
        Route(ip_network(to), 254, 1000, intent.link, source=ip_address(source))
        for to, source in order.get("routes", ())
    )
    rules = tuple(Rule(ip_network(source), 99, table) for source, table in order.get("rules", ()))
    return replace(
        intent,
        main_routes=(*intent.main_routes, *routes),
        rules=(*intent.rules, *rules),
        mtu=order.get("mtu", intent.mtu),
    )
"""
"""Adds the test's items to an ENI. The engine must be able to roll back any item of a plugin."""


@dataclass
class Host:
    """An instance with the plugin, a primary and a secondary that are configured."""

    instance: Instance
    site: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.orders = self.site / "orders.json"
        (self.site / "ec2net_orders.py").write_text(PLUGIN.format(orders=str(self.orders)))
        metadata = self.site / "ec2net_orders-1.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: ec2net-orders\nVersion: 1\n"
        )
        (metadata / "entry_points.txt").write_text("[ec2net]\norders = ec2net_orders\n")
        self.env = {"PYTHONPATH": f"{environment()['PYTHONPATH']}:{self.site}"}
        self.configure()

    def configure(self, after: float = AFTER, more: str = "") -> None:
        self.instance.configure(
            f'{more}\n[plugins]\nenabled = ["orders"]\n[rollback]\nafter = {after}\n'
        )

    def order(self, **orders: Any) -> None:
        """By index of the ENI (``eni1``); without items the plugin has no effect."""
        enis = self.instance.vpc.enis
        self.orders.write_text(
            json.dumps({str(enis[int(k[3:])].mac): v for k, v in orders.items()})
        )

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        return self.instance.ec2net(*arguments, status=status, env=self.env)

    def refresh(self, *options: str, status: int = 0) -> dict[str, Any]:
        done = self.run("refresh", "--json", *options, status=status)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def cut_off(self) -> dict[str, Any]:
        """An order for the secondary: IMDS through it, from the primary's address (R-j)."""
        source = str(self.instance.vpc.enis[0].ipv4s[0])
        return {"routes": [["169.254.169.254/32", source]]}


@pytest.fixture(scope="module")
def host(
    install: Callable[[SimulatedVpc], Instance], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    with SimulatedVpc(prefix="back-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        vpc.attach(second, **MANY)
        made = Host(instance, tmp_path_factory.mktemp("site"))
        made.run("refresh")
        yield made


@pytest.fixture(autouse=True)
def _tidy(host: Host) -> Iterator[None]:
    """Each test leaves the host as it found it, and nothing held."""
    before = host.instance.kernel()
    yield
    host.order()
    host.configure()
    host.refresh("--retry")
    assert_same(before, host.instance.kernel())
    assert "held.json" not in host.instance.files()


def stored(instance: Instance) -> dict[str, bytes]:
    """The state directory except for files about passes."""
    telling = ("status.json", "held.json", "config.json", "imds-token.json", "facts/")
    return {k: v for k, v in instance.files().items() if not k.startswith(telling)}


def test_a_change_that_blocks_imds_is_rolled_back_and_not_retried(host: Host) -> None:
    """R-j: an update that made an instance unreachable. It was left so."""
    instance, eni = host.instance, host.instance.vpc.enis[1]
    before, files = instance.kernel(), stored(instance)
    address = eni.assign_ipv4()
    host.order(eni1={**host.cut_off(), "mtu": 1500})
    started = time.monotonic()
    done = host.run("refresh", "--json", status=1)
    assert AFTER < time.monotonic() - started < AFTER + HANGS
    assert_same(before, instance.kernel())
    assert stored(instance) == files
    document = json.loads(done.stdout)
    assert document["changes"] == []
    undone = [change["text"] for change in document["rolled_back"]]
    assert "link ens6 mtu 1500" in undone
    assert any(text.startswith(f"address {address}/32") for text in undone)
    assert any(text.startswith("route 169.254.169.254/32") for text in undone)
    assert (
        "IMDS: reachable before the change, but not 1.5 s after it; everything is reachable again"
        in done.stderr
    )

    # Every report mentions the hold, and nothing else has changed.
    (row,) = (row for row in document["enis"] if row["mac"] == str(eni.mac))
    assert [text[2:] for text in row["held"]["changes"]] == undone
    for command in (["explain", "ens6"], ["plan"], ["status"]):
        told = instance.ec2net(*command, status=None, env=host.env).stdout
        assert "IMDS: reachable before the change, but not 1.5 s after it" in told, command
    assert "+ route 169.254.169.254/32" in host.run("explain", "ens6").stdout
    assert json.loads(host.run("plan", "--json", status=1).stdout)["held"].keys() == {str(eni.mac)}

    host.configure(after=2 * HANGS)  # a pass that waited again would take so long
    with KernelEvents(instance.guest) as events:
        for _ in range(2):
            started = time.monotonic()
            assert host.refresh(status=1)["changes"] == []
            assert time.monotonic() - started < HANGS
        assert events.taken() == []
    host.configure()

    # Another intent is another attempt: now the address is added.
    host.order()
    assert any(str(address) in change["text"] for change in host.refresh()["changes"])
    assert "held.json" not in instance.files()
    host.run("status")
    assert instance.unreachable(*instance.vpc.enis) == []
    eni.unassign_ipv4(address)


def test_another_intent_that_fails_is_held_too(host: Host) -> None:
    host.order(eni1=host.cut_off())
    host.refresh(status=1)
    (first,) = json.loads(host.instance.files()["held.json"]).values()
    host.order(eni1={**host.cut_off(), "mtu": 1500})
    assert host.refresh(status=1)["rolled_back"] != []
    (second,) = json.loads(host.instance.files()["held.json"]).values()
    assert first["fingerprint"] != second["fingerprint"]
    assert host.refresh(status=1)["rolled_back"] == []


def test_a_hold_covers_one_eni_and_ends_on_request(host: Host) -> None:
    instance, (first, second) = host.instance, host.instance.vpc.enis
    host.order(eni1=host.cut_off())
    host.refresh(status=1)
    address = first.assign_ipv4()
    assert [c["text"] for c in host.refresh(status=1)["changes"]] == [
        f"address {address}/32 dev ens5"
    ]
    first.unassign_ipv4(address)
    host.refresh(status=1)
    assert host.refresh("--retry", status=1)["rolled_back"] != []
    # A hold prevents neither 'remove' nor the cleanup after a removed link.
    before = instance.kernel()
    gone = instance.vpc.attach(second.subnet, "ens9", **MANY)
    assert len(host.refresh(status=1)["changes"]) > 10
    instance.vpc.detach(gone)
    host.refresh(status=1)
    assert_same(before, instance.kernel())
    host.run("remove", "ens6")
    host.order()
    host.refresh()


def test_replaced_and_removed_items_are_restored_too(host: Host) -> None:
    """Addresses, rules of a split cover, prefixes, an MTU that the journal restores."""
    instance, eni = host.instance, host.instance.vpc.enis[1]
    host.order(eni1={"mtu": 1500})
    host.refresh()
    before, files = instance.kernel(), stored(instance)
    assert b'"mtu": 9001' in files[f"journal/{eni.mac}.json"]
    ipv4, ipv6, prefix = eni.ipv4s[2], eni.ipv6s[1], eni.ipv4_prefixes[0]
    eni.unassign_ipv4(ipv4)
    eni.unassign_ipv6(ipv6)
    eni.unassign_ipv4_prefix(prefix)
    host.order(eni1=host.cut_off())
    actions = {change["action"] for change in host.refresh(status=1)["rolled_back"]}
    assert actions == {"add", "replace", "remove"}
    assert_same(before, instance.kernel())
    assert stored(instance) == files
    eni.assign_ipv4(ipv4)
    eni.assign_ipv6(ipv6)
    eni.assign_ipv4_prefix(prefix)


def test_a_first_pass_is_rolled_back_whole_and_only_the_failing_eni_is_held(
    instance: Instance, tmp_path: Path
) -> None:
    """Links down again, no rules, no names, no journal; the next pass applies the harmless part."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    eni = primary(vpc, first, **MANY)
    enis = [vpc.attach(second, **MANY) for _ in range(3)]
    for one in enis:  # a link that was never up has another qdisc
        vpc.guest.ip([f"link set {one.name} up", f"link set {one.name} down"])
    before = instance.kernel()
    host = Host(instance, tmp_path)
    host.order(eni2={"routes": [["169.254.169.254/32", str(eni.ipv4s[0])]]})
    assert len(host.refresh(status=1)["rolled_back"]) > 60
    assert_same(before, instance.kernel())
    assert not [name for name in instance.files() if name.startswith("journal/")]
    assert list(json.loads(instance.files()["held.json"])) == [str(enis[1].mac)]
    host.refresh(status=1)
    assert instance.unreachable(eni, enis[0], enis[2]) == []
    assert '"ens7"' not in "".join(instance.kernel()["routes 4"])
    host.order()
    host.refresh()
    assert instance.unreachable(*vpc.enis) == []


FIREWALL = """\
table arp by_group {
    chain output { type filter hook output priority 0; meta oifgroup 236 drop; }
}
table ip6 by_group {
    chain output {
        type filter hook output priority 0
        meta oifgroup 236 icmpv6 type nd-neighbor-solicit drop
    }
}
"""
"""A host's own firewall, which lets links of a group ask for no neighbour."""


def test_a_gateway_that_no_longer_resolves_causes_a_rollback(host: Host) -> None:
    """IMDS works for a while with the kernel's neighbour entry; the test does not wait for its
    end."""
    instance = host.instance
    instance.guest.ip(["link set ens5 group 0"])
    before = instance.kernel()
    instance.guest.nft(FIREWALL)
    try:
        done = host.run("refresh", "--json", status=1)
        assert "the IPv4 default gateway and the IPv6 default gateway: reachable" in done.stderr
        assert "everything is reachable again" in done.stderr
        undone = json.loads(done.stdout)["rolled_back"]
        assert [change["text"] for change in undone] == ["link ens5 group 236"]
        assert_same(before, instance.kernel())
        # Main-first rules pass over main's route through the primary only in the link group.
        gone = host.refresh(status=1)["changes"]
        assert {change["action"] for change in gone} <= {"remove"}
        assert all("10.0.2.0/24" in change["text"] for change in gone)
        assert host.refresh(status=1)["changes"] == []
    finally:
        instance.guest.nft("delete table arp by_group\ndelete table ip6 by_group\n")


@pytest.mark.parametrize("how", [Hang(), Reset()], ids=["hang", "reset"])
def test_an_imds_that_fails_during_an_apply_is_not_blamed_on_the_plan(
    host: Host, how: Hang | Reset
) -> None:
    """Rolled back, but not held: the next pass with a live IMDS does it."""
    instance, eni = host.instance, host.instance.vpc.enis[1]
    before = instance.kernel()
    address = eni.assign_ipv4()
    with instance.imds.fault(Fault(how, "/meta-data/mac$")) as dead:
        done = host.run("refresh", status=1)
        assert dead.hits > 2
    assert "IMDS is still unreachable" in done.stderr
    assert_same(before, instance.kernel())
    assert "held.json" not in instance.files()
    assert any(str(address) in change["text"] for change in host.refresh()["changes"])
    eni.unassign_ipv4(address)


def test_an_error_of_imds_is_an_answer(host: Host) -> None:
    """IMDS is reachable: ec2net neither waits nor rolls back."""
    instance, eni = host.instance, host.instance.vpc.enis[1]
    address = eni.assign_ipv4()
    with instance.imds.fault(Fault(Status(503), "/meta-data/mac$")) as busy:
        assert any(str(address) in change["text"] for change in host.refresh()["changes"])
        assert busy.hits == 1
    eni.unassign_ipv4(address)


def test_sigterm_does_not_end_the_wait_for_imds(host: Host) -> None:
    """Otherwise a stop would leave the host without IMDS."""
    instance = host.instance
    before = instance.kernel()
    host.order(eni1=host.cut_off())
    command = ["ip", "netns", "exec", instance.guest.name, *instance.argv("refresh")]
    with KernelEvents(instance.guest) as events:
        process = subprocess.Popen(
            command, env={**environment(), **host.env}, stderr=subprocess.PIPE, text=True
        )
        assert select.select([events], [], [], HANGS)[0]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=HANGS)
    assert process.returncode == 1, said
    assert_same(before, instance.kernel())
    assert "held.json" in instance.files()


def test_zero_seconds_turn_the_check_off(host: Host) -> None:
    instance = host.instance
    host.configure(after=0)
    host.order(eni1=host.cut_off())
    instance.imds.clear_log()
    changes = host.refresh(status=1)["changes"]
    assert [c["text"].split()[1] for c in changes] == ["169.254.169.254/32"]
    # No request is repeated: ec2net waits for nothing.
    assert len({(r.path, r.method) for r in instance.imds.requests}) == len(instance.imds.requests)
    instance.guest.ip(["route del 169.254.169.254/32 table main"])


def test_the_check_costs_one_request_and_no_wait(host: Host) -> None:
    """The kernel resolves the gateways; permanent neighbour entries stay unchanged."""
    instance, eni = host.instance, host.instance.vpc.enis[1]
    mac = instance.vpc.subnets[0].gateway_mac
    gateway = instance.vpc.subnets[0].gateway_ipv4
    instance.guest.ip([f"neigh replace {gateway} lladdr {mac} dev ens5 nud permanent"])
    instance.imds.clear_log()
    host.refresh()
    steady = len(instance.imds.requests)
    address = eni.assign_ipv4()
    instance.imds.clear_log()
    host.refresh()
    paths = [logged.path for logged in instance.imds.requests]
    assert len(paths) == steady + 1
    assert paths[-1] == "/latest/meta-data/mac"
    assert "PERMANENT" in instance.guest.run(["ip", "neigh", "show", str(gateway)]).stdout
    instance.guest.ip([f"neigh del {gateway} dev ens5"])
    eni.unassign_ipv4(address)


def test_the_daemon_rolls_back_and_holds_too(host: Host) -> None:
    """A hold outlives the daemon's polls and passes; 'refresh --retry' reaches it through the
    daemon."""
    instance, eni = host.instance, host.instance.vpc.enis[1]
    before = instance.kernel()
    with managed(instance, env=host.env) as manager:

        def rolled_back() -> int:
            """How often; by the requested pass, or by an earlier pass of the daemon."""
            return manager.log().count("ERROR: 1 changes were rolled back at ")

        manager.until_configured(2)
        host.order(eni1=host.cut_off())
        host.refresh(status=1)
        assert rolled_back() == 1
        assert_same(before, instance.kernel())
        assert "IMDS: reachable before the change" in str(
            instance.status()[str(eni.mac)]["trouble"]
        )
        assert host.refresh(status=1)["rolled_back"] == []
        assert rolled_back() == 1
        host.refresh("--retry", status=1)
        assert rolled_back() == 2
        host.order()
        host.refresh()
        manager.until_configured(2)
    assert_same(before, instance.kernel())
