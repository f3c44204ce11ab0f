# SPDX-License-Identifier: Apache-2.0
"""EC2 assigns and detaches addresses, prefixes and ENIs; the others are not disturbed (R8, R9,
R16)."""

import errno
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from instance import HANGS, MANY, Instance, primary, subnets, two_enis
from kernel_state import KernelEvents, State, assert_same, differences, marked

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.imds_faults import Hang
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

DISCARD = 9
"""A UDP port without a listener; only the source check's counters matter."""


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """The primary and a complete secondary, configured; each test restores this state."""
    with two_enis(install, "changes-") as instance:
        yield instance


@dataclass
class Connections:
    """TCP connections that stay open; each can make a round trip."""

    pairs: list[tuple[str, socket.socket, socket.socket]] = field(default_factory=list)

    def add(self, vpc: SimulatedVpc, eni: Eni) -> None:
        """From each address to the outside, and from the outside to each address."""
        for address in eni.addresses():
            outside = vpc.outside.address(address.version)
            for client, here, server, there in (
                (vpc.guest, address, vpc.outside.namespace, outside),
                (vpc.outside.namespace, outside, vpc.guest, address),
            ):
                family = socket.AF_INET if address.version == 4 else socket.AF_INET6
                with server.socket(family) as listener, vpc_socket(client, family) as one:
                    listener.bind((str(there), 0))
                    listener.listen()
                    listener.settimeout(HANGS)
                    one.settimeout(HANGS)
                    one.bind((str(here), 0))
                    one.connect(listener.getsockname()[:2])
                    other, _ = listener.accept()
                    self.pairs.append((f"{here} to {there}", one.dup(), other))

    def dead(self) -> list[str]:
        """The connections that do not carry a byte in both directions."""
        found = []
        for name, one, other in self.pairs:
            try:
                for sender, receiver in ((one, other), (other, one)):
                    receiver.settimeout(HANGS)
                    sender.send(b"x")
                    assert receiver.recv(1) == b"x"
            except OSError as error:
                found.append(f"{name}: {error}")
        return found

    def close(self) -> None:
        for _, one, other in self.pairs:
            one.close()
            other.close()


def vpc_socket(namespace: Any, family: socket.AddressFamily) -> socket.socket:
    made: socket.socket = namespace.socket(family)
    return made


def test_connections_survive_changes_of_other_addresses(settled: Instance) -> None:
    """R16: no packet of a remaining address is lost or misrouted, in both families."""
    vpc, eni = settled.vpc, settled.vpc.enis[1]
    before, dropped = settled.kernel(), vpc.dropped()
    held4, held6 = eni.ipv4s[1:3], eni.ipv6s[1]
    held = (*held4, held6)
    connections = Connections()
    try:
        for one in vpc.enis:
            connections.add(vpc, one)
        mine = [pair for pair in connections.pairs if any(f"{a} " in f"{pair[0]} " for a in held)]
        for pair in mine:  # these addresses go
            connections.pairs.remove(pair)
            pair[1].close()
            pair[2].close()
        prefix4, prefix6 = eni.assign_ipv4_prefix(), eni.assign_ipv6_prefix()
        settled.ec2net("refresh")
        assert connections.dead() == []
        eni.unassign_ipv4(eni.ipv4s[2])
        settled.ec2net("refresh")
        assert connections.dead() == []
        eni.unassign_ipv6(eni.ipv6s[1])
        eni.unassign_ipv4_prefix(prefix4)
        settled.ec2net("refresh")
        assert connections.dead() == []
        eni.unassign_ipv4(eni.ipv4s[1])
        eni.unassign_ipv6_prefix(prefix6)
        settled.ec2net("refresh")
        assert connections.dead() == []
        assert len(connections.pairs) == 2 * 6 + 2 * 3
        eni.assign_ipv4(held4[0])
        eni.assign_ipv4(held4[1])
        eni.assign_ipv6(held6)
        settled.ec2net("refresh")
        assert connections.dead() == []
    finally:
        connections.close()
    assert vpc.dropped() == dropped
    assert_same(before, settled.kernel())
    assert settled.unreachable(*vpc.enis) == []


@contextmanager
def flood(vpc: SimulatedVpc, sources: list[Any]) -> Iterator[list[int]]:
    """Packets from each of these addresses to the outside, without a pause; returns their number.

    The kernel looks up the route of each packet: during a gap a packet leaves through the primary,
    and the source check counts it.
    """
    sockets = []
    for source in sources:
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6
        one = vpc.guest.socket(family, socket.SOCK_DGRAM)
        one.bind((str(source), 0))
        one.setblocking(False)
        sockets.append((one, (str(vpc.outside.address(source.version)), DISCARD)))
    stop, sent, failed = threading.Event(), [0], []

    def send() -> None:
        while not stop.is_set():
            for one, to in sockets:
                try:
                    one.sendto(b"x", to)
                    sent[0] += 1
                except OSError as error:
                    # No program listens: an error returns from the outside.
                    if error.errno not in (errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS):
                        failed.append(error)
            time.sleep(0)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join(HANGS)
        for one, _ in sockets:
            one.close()
    assert failed == []


def test_splitting_or_merging_a_source_leaves_no_gap(settled: Instance) -> None:
    """One address of four is removed and added again: the rules of the others change, their route
    never."""
    vpc, eni = settled.vpc, settled.vpc.enis[1]
    before, dropped = settled.kernel(), vpc.dropped()
    rules = set(settled.kernel()["rules 4"])
    left, left6 = eni.ipv4s[2], eni.ipv6s[-1]
    stay = [a for a in eni.addresses() if a not in (left, left6)]
    with flood(vpc, stay) as sent:
        for _ in range(3):
            eni.unassign_ipv4(left)
            eni.unassign_ipv6(left6)
            settled.ec2net("refresh")
            assert set(settled.kernel()["rules 4"]) != rules
            eni.assign_ipv4(left)
            eni.ipv6s.append(left6)
            eni.fabric.remap(eni, [n for n in eni.holds() if str(left6) in str(n)], [])
            settled.ec2net("refresh")
    assert sent[0] > 2000  # some 100 for each change, however busy the machine is
    assert vpc.dropped() == dropped
    assert_same(before, settled.kernel())


def others(state: State, name: str) -> State:
    """The state without what names a link."""
    return {subject: [x for x in lines if f'"{name}"' not in x] for subject, lines in state.items()}


def files_of(instance: Instance, eni: Eni) -> list[str]:
    return [name for name in instance.files() if str(eni.mac) in name]


@pytest.mark.parametrize("imds", ["imds up", "imds down"])
@pytest.mark.parametrize("how", Detach)
def test_an_eni_is_attached_and_detached_without_a_trace(
    settled: Instance, how: Detach, imds: str
) -> None:
    """ENU#166: leftovers of a detached ENI took precedence over the next one. Also while IMDS
    hangs."""
    vpc, before, files = settled.vpc, settled.kernel(), set(settled.files())
    dropped = vpc.dropped()
    connections = Connections()
    connections.add(vpc, vpc.enis[1])
    with KernelEvents(settled.guest) as events:
        eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
        settled.ec2net("start", "ens9")
        assert events.taken() != []
    assert settled.unreachable(*vpc.enis) == []
    assert differences(others(before, "ens9"), others(settled.kernel(), "ens9")) != []
    assert len(files_of(settled, eni)) == 3
    vpc.detach(eni, how)
    if imds == "imds down":
        with settled.imds.fault(Hang()):
            settled.ec2net("refresh", status=1)
    else:
        settled.ec2net("refresh")
    assert_same(before, settled.kernel())
    if how is Detach.MOVE:
        vpc.detach(eni)
    settled.ec2net("refresh")
    assert files_of(settled, eni) == []
    assert set(settled.files()) == files
    assert connections.dead() == []
    connections.close()
    assert vpc.dropped() == dropped


def test_an_eni_returns_under_another_name_and_number(instance: Instance) -> None:
    """The same ENI, detached as ens6 and device 1, attached as ens8 and device 2 (R8)."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    eni = vpc.attach(second, **MANY)
    mac, eni_id = str(eni.mac), str(eni.eni_id)
    instance.ec2net("refresh")
    vpc.detach(eni)
    again = vpc.attach(second, "ens8", device=2, mac=mac, eni_id=eni_id, **MANY)
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    assert not [line for line in marked(instance.kernel()) if '"10001"' in line]
    assert instance.status()[mac]["intent"]["table"] == 10002
    assert instance.plan()["changes"] == []
    # And once more as its old device, with no pass between.
    vpc.detach(again)
    vpc.attach(second, "ens6", device=1, mac=mac, eni_id=eni_id, **MANY)
    instance.ec2net("start", "ens6")
    assert instance.unreachable(*vpc.enis) == []
    assert not [line for line in marked(instance.kernel()) if '"10002"' in line]


def test_a_link_that_leaves_and_returns_is_configured_again(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    task = vpc.detach(eni, Detach.MOVE)
    assert task is not None
    instance.ec2net("refresh")
    assert marked(instance.kernel()) == []
    task.ip([f"link set {eni.name} netns {vpc.guest.name}"])
    instance.ec2net("start", eni.name)
    assert instance.unreachable(*vpc.enis) == []


def test_a_renamed_link_keeps_its_configuration(settled: Instance) -> None:
    """No decision depends on a name (R39): the pass restores the items lost by 'down', under the
    new name."""
    vpc, eni = settled.vpc, settled.vpc.enis[1]
    before = settled.kernel()
    for old, new in ((eni.name, "enp39s0"), ("enp39s0", eni.name)):
        settled.guest.ip([f"link set {old} down", f"link set {old} name {new}"])
        settled.ec2net("refresh")
        assert settled.refresh() == []
        assert settled.unreachable(*vpc.enis) == []
    after = settled.kernel()
    for state in (before, after):  # the kernel changes labels when a link is renamed
        labelled = state["addresses"]
        state["addresses"] = [re.sub(r'"label": "[^"]*", ', "", line) for line in labelled]
    assert_same(before, after)


def test_an_attached_eni_that_imds_no_longer_lists_keeps_its_configuration(
    settled: Instance,
) -> None:
    """A detach ends with the link, not with IMDS, which may be early or wrong."""
    vpc, eni = settled.vpc, settled.vpc.enis[1]
    before = settled.kernel()
    vpc.unregister(eni)
    settled.ec2net("refresh", status=None)
    assert_same(before, settled.kernel())
    vpc.register(eni)
    assert settled.refresh() == []


def test_remove_restores_the_first_state(instance: Instance) -> None:
    """The state before the first pass: addresses, routes, rules, names, group, MTU, sysctl,
    files."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    eni, other = vpc.attach(second, **MANY), vpc.attach(second, **MANY)
    vpc.guest.ip([f"link set {one.name} up mtu 1400" for one in (eni, other)])
    before = instance.kernel()
    instance.configure('primary_rules = true\nipv4_prefix_mode = "local"\n')
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    full = instance.kernel()
    instance.ec2net("remove", eni.name)
    assert instance.unreachable(vpc.enis[0], other) == []
    assert f"journal/{eni.mac}.json" not in instance.files()
    # The next pass restores it completely.
    instance.ec2net("refresh")
    assert_same(full, instance.kernel())
    for one in vpc.enis:
        instance.ec2net("remove", one.name, "--force")
    assert_same(before, instance.kernel())
    assert not [name for name in instance.files() if name.startswith("journal/")]
    # Twice is once.
    instance.ec2net("remove", eni.name)
    assert_same(before, instance.kernel())


def test_with_a_lost_journal_remove_deletes_each_mark_of_ec2net(
    instance: Instance,
) -> None:
    """Settings whose earlier value is unknown stay: group, MTU, accept_ra."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    vpc.guest.ip([f"link property add dev {eni.name} altname mine"])
    instance.ec2net("refresh")
    instance.forget()
    assert instance.refresh() == []
    instance.ec2net("remove", eni.name)
    state = instance.kernel()
    assert [line for line in marked(state) if "1000" in line] == []
    (link,) = (link for link in map(json.loads, state["links"]) if link["ifname"] == eni.name)
    assert link["altnames"] == ["mine"]
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []


def test_remove_works_without_imds_and_cleans_up_after_a_detached_link(settled: Instance) -> None:
    vpc, before = settled.vpc, settled.kernel()
    eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
    settled.ec2net("refresh")
    vpc.detach(eni)
    settled.imds.clear_log()
    settled.ec2net("remove", "ens9")
    assert settled.imds.requests == ()
    assert_same(before, settled.kernel())
    done = settled.ec2net("remove", "ens9", status=3)
    assert "ens9" in done.stderr
    settled.ec2net("refresh")


def test_a_primary_ipv4_address_stays_first(settled: Instance) -> None:
    """R14, AL#998: through additions and removals of others, and of lower ones too."""
    vpc, eni = settled.vpc, settled.vpc.enis[1]

    def first(link: str) -> str:
        command = ["ip", "-j", "-4", "addr", "show", "dev", link]
        info = json.loads(settled.guest.run(command).stdout)[0]["addr_info"]
        assert not any(one.get("secondary") for one in info)
        return str(info[0]["local"])

    for one in vpc.enis:
        added = [one.assign_ipv4() for _ in range(2)]
        settled.ec2net("refresh")
        assert first(one.name) == str(one.ipv4s[0])
        for address in added:
            one.unassign_ipv4(address)
    settled.ec2net("refresh")
    assert first(eni.name) == str(eni.ipv4s[0])
    routes = settled.guest.run(["ip", "route", "show", "table", "10001"]).stdout.splitlines()
    assert all(f"src {eni.ipv4s[0]}" in line for line in routes)


def test_a_subnet_can_get_ipv6_later(instance: Instance) -> None:
    """V-c: the on-link route was missing until a restart of the unit (R3)."""
    vpc = instance.vpc
    subnet = vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64")
    primary(vpc, vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64"))
    eni = vpc.attach(subnet, ipv6=0)
    instance.ec2net("refresh")
    eni.assign_ipv6()
    eni.assign_ipv6_prefix()
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
