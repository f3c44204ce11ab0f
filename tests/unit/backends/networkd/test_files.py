# SPDX-License-Identifier: Apache-2.0
"""The files for networkd: their complete text, their folders, and the links that they match."""

import os
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
from eni_facts import eni, host

from ec2net.backends.networkd import apply as networkd
from ec2net.backends.networkd import backend as module
from ec2net.backends.networkd import files
from ec2net.backends.networkd import observe as observed
from ec2net.backends.networkd.backend import NetworkdBackend
from ec2net.backends.networkd.files import (
    FOLDER,
    NetworkFile,
    discard_leftovers,
    in_folder,
    remove,
    write,
)
from ec2net.backends.networkd.lease import Lease
from ec2net.backends.networkd.match import NOBODYS
from ec2net.backends.networkd.render import drop_in_path, network_file, own_path, place
from ec2net.backends.networkd.state import LinkState, link_state
from ec2net.backends.networkd.unread import UnreadFiles
from ec2net.core.config.settings import (
    Config,
    DnsDefaultRoute,
    EniSettings,
    Ipv6Policy,
    MtuPolicy,
)
from ec2net.core.decide.compute import compute
from ec2net.core.decide.eni_intent import early_intent
from ec2net.core.decide.intent import EarlyIntent
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.owned_file import HEADER
from ec2net.core.model.errors import Ec2netError, StateError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import Address, LinkRef
from ec2net.core.model.plan import Action, Applied, Change, InPlace, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Host, Observed
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

MAC = Mac("06:53:e1:d8:f9:29")
ENS6 = LinkRef(3, "ens6")


def early(
    *, primary: bool = False, mtu: MtuPolicy | int = MtuPolicy.DHCP, ipv6: bool = True
) -> EarlyIntent:
    return EarlyIntent(
        mac=MAC,
        link=ENS6,
        primary=primary,
        mtu=mtu,
        ipv6=ipv6,
        main_metric=512,
        parking_table=9999,
    )


PRIMARY = """\
# Made by ec2net for ens6 06:53:e1:d8:f9:29
# Override it with a file of its name in /etc/systemd/network.

[Match]
PermanentMACAddress=06:53:e1:d8:f9:29
Name=ens6

[Network]
DHCP=yes
LLMNR=no
IPv6DuplicateAddressDetection=0
DNSDefaultRoute=yes
KeepConfiguration=yes

[DHCPv4]
UseDNS=yes
UseDomains=yes
UseNTP=yes
UseHostname=no
UseMTU=yes
RouteMetric=512

[DHCPv6]
UseDNS=yes
UseNTP=yes
UseHostname=no
WithoutRA=solicit

[IPv6AcceptRA]
UseDNS=yes
UseDomains=no
RouteMetric=512
"""

SECONDARY_WITHOUT_IPV6 = """\
# Made by ec2net for ens6 06:53:e1:d8:f9:29
# Override it with a file of its name in /etc/systemd/network.

[Match]
MACAddress=06:53:e1:d8:f9:29
Name=ens6

[Network]
DHCP=ipv4
LLMNR=no
IPv6DuplicateAddressDetection=0
DNSDefaultRoute=no
IPv6AcceptRA=no
KeepConfiguration=yes

[DHCPv4]
UseDNS=no
UseDomains=no
UseNTP=no
UseHostname=no
UseMTU=no
RouteTable=9999
RouteMetric=1700638419

[Link]
RequiredForOnline=no
MTUBytes=1500
"""

DROP_IN = """\
# Made by ec2net for ens6 06:53:e1:d8:f9:29
# Override it with a file of its name in /etc/systemd/network.

[Network]
KeepConfiguration=yes

[DHCPv4]
UseMTU=yes
RouteMetric=512

[IPv6AcceptRA]
RouteMetric=512
"""


def lines(text: str) -> dict[str, set[str]]:
    """Section to settings: networkd does not care for their order."""
    sections: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            sections[line] = current = set()
        elif line and not line.startswith("#"):
            current.add(line)
    return sections


def test_the_primary_gets_everything_from_its_lease() -> None:
    file = network_file(own_path("ens6"), early(primary=True), permanent=True)
    assert file.path == Path("/run/systemd/network/70-ens6.network")
    assert file.content == PRIMARY


def test_a_secondary_keeps_its_leased_routes_and_servers_to_itself() -> None:
    """R12; C-i: no DNS of a secondary. The parking table keeps main clean."""
    file = network_file(own_path("ens6"), early(mtu=1500, ipv6=False), permanent=False)
    expected = lines(SECONDARY_WITHOUT_IPV6)
    found = lines(file.content)
    parked = next(line for line in found["[DHCPv4]"] if line.startswith("RouteMetric="))
    expected["[DHCPv4]"] = {
        line for line in expected["[DHCPv4]"] if not line.startswith("RouteMetric=")
    } | {parked}
    assert found == expected
    assert 0 < int(parked.partition("=")[2]) < 2**32


@pytest.mark.parametrize(
    ("path", "primary", "dns", "sections"),
    [
        (
            own_path("ens6"),
            True,
            "no",
            {"[Network]": "DNSDefaultRoute=no", "[DHCPv4]": "UseDNS=yes"},
        ),
        (
            own_path("ens6"),
            False,
            "no",
            {"[Network]": "DNSDefaultRoute=no", "[DHCPv4]": "UseDNS=no"},
        ),
        (
            own_path("ens6"),
            False,
            "yes",
            {
                "[Network]": "DNSDefaultRoute=yes",
                "[DHCPv4]": "UseDNS=yes",
                "[DHCPv6]": "UseDNS=yes",
                "[IPv6AcceptRA]": "UseDNS=yes",
            },
        ),
        (
            drop_in_path(Path("/run/systemd/network/10-netplan-ens6.network")),
            False,
            "yes",
            {"[Network]": "DNSDefaultRoute=yes", "[DHCPv4]": "UseDNS=yes"},
        ),
        (
            drop_in_path(Path("/run/systemd/network/10-netplan-ens6.network")),
            True,
            "no",
            {"[Network]": "DNSDefaultRoute=no"},
        ),
    ],
)
def test_the_configuration_decides_which_dns_servers_networkd_uses(
    path: Path, primary: bool, dns: str, sections: dict[str, str]
) -> None:
    told = replace(early(primary=primary), dns=DnsDefaultRoute(dns))
    found = lines(network_file(path, told, permanent=True).content)
    for section, setting in sections.items():
        name = setting.partition("=")[0]
        assert {line for line in found[section] if line.startswith(f"{name}=")} == {setting}


def test_no_two_secondaries_share_a_parking_metric() -> None:
    """Routes of one destination and metric replace each other in a table."""
    metrics = set()
    for last in range(64):
        mac = Mac(f"06:53:e1:d8:f9:{last:02x}")
        text = network_file(
            own_path("ens6"), EarlyIntent(mac, ENS6, False, 1500, True, 512, 9999), permanent=True
        ).content
        metrics.add(next(line for line in text.splitlines() if line.startswith("RouteMetric=")))
    assert len(metrics) == 64


def test_the_parking_metric_of_a_mac_is_the_same_in_every_version() -> None:
    """After an upgrade another metric would rewrite each secondary's file, and make
    systemd-networkd configure the link again."""
    file = network_file(own_path("ens6"), early(), permanent=True)
    found = lines(file.content)
    assert "RouteMetric=1700638419" in found["[DHCPv4]"] & found["[IPv6AcceptRA]"]


def test_with_a_foreign_network_file_ec2net_writes_only_the_needed_settings() -> None:
    path = drop_in_path(Path("/run/systemd/network/10-netplan-ens6.network"))
    file = network_file(path, early(primary=True), permanent=True)
    assert file.path == FOLDER / "10-netplan-ens6.network.d/50-ec2net.conf"
    assert file.content == DROP_IN


@pytest.mark.parametrize(
    ("active", "where"),
    [
        (None, own_path("ens6")),
        ("/run/systemd/network/70-ens6.network", own_path("ens6")),
        ("/usr/lib/systemd/network/80-ec2net.network", own_path("ens6")),
        ("/lib/systemd/network/80-ec2.network", own_path("ens6")),
        (
            "/run/systemd/network/10-netplan-ens6.network",
            FOLDER / "10-netplan-ens6.network.d/50-ec2net.conf",
        ),
        ("/etc/systemd/network/95-ec2net-adopted.network", own_path("ens6")),
        ("/etc/systemd/network/70-ens6.network", None),
        ("/etc/systemd/network/en.network", None),
    ],
)
def test_the_file_is_written_to_the_folder_of_the_network_file_in_use(
    active: str | None, where: Path | None
) -> None:
    """R7; ENU#146: networkd ignores a drop-in of another file. /etc has precedence."""
    assert place("ens6", Path(active) if active else None) == where


def test_a_file_names_ec2net_as_its_writer(tmp_path: Path) -> None:
    ours = NetworkFile(tmp_path / "70-ens6.network", PRIMARY)
    write(ours)
    drop_in = NetworkFile(tmp_path / "10-netplan-ens6.network.d/50-ec2net.conf", DROP_IN)
    write(drop_in)
    theirs = NetworkFile(tmp_path / "70-ens7.network", "[Match]\nName=ens7\n")
    theirs.path.write_text(theirs.content)
    (tmp_path / "10-netplan-ens6.network").write_text("[Match]\n")
    assert in_folder(tmp_path) == (ours, theirs, drop_in)
    assert [file.ours for file in in_folder(tmp_path)] == [True, False, True]
    assert [file.owner for file in in_folder(tmp_path)] == [MAC, None, MAC]


def test_a_removed_drop_in_leaves_no_folder(tmp_path: Path) -> None:
    drop_in = NetworkFile(tmp_path / "10-netplan-ens6.network.d/50-ec2net.conf", DROP_IN)
    write(drop_in)
    remove(drop_in)
    assert list(tmp_path.iterdir()) == []
    remove(drop_in)


def test_a_file_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    """systemd-networkd would keep using the folder, as it would a file."""
    file = NetworkFile(tmp_path / "70-ens6.network", PRIMARY)
    file.path.mkdir()
    with pytest.raises(StateError, match=r"cannot remove .*/70-ens6.network: Is a directory"):
        remove(file)


def test_a_folder_with_foreign_drop_ins_stays(tmp_path: Path) -> None:
    drop_in = NetworkFile(tmp_path / "10-netplan-ens6.network.d/50-ec2net.conf", DROP_IN)
    write(drop_in)
    other = drop_in.path.with_name("60-mine.conf")
    other.write_text("")
    remove(drop_in)
    assert list(drop_in.path.parent.iterdir()) == [other]


@pytest.mark.parametrize("name", ["70-ens6.network", "10-netplan-ens6.network.d/50-ec2net.conf"])
def test_a_killed_write_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """R25: SIGKILL right before the rename; the next pass discards what that leaves."""
    if (child := os.fork()) == 0:
        os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write(NetworkFile(tmp_path / name, PRIMARY))
    os.waitpid(child, 0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    (tmp_path / "70-ens7.network").write_text("theirs")
    discard_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["70-ens7.network"]


OVERRIDING = Path("/etc/systemd/network/10-mine.network")
NETPLAN = Path("/run/systemd/network/10-netplan-ens6.network")


@pytest.mark.parametrize(
    ("written", "used", "says"),
    [
        (own_path("ens6"), own_path("ens6"), ""),
        (own_path("ens6"), OVERRIDING, f"uses {OVERRIDING} instead of {own_path('ens6')}"),
        (own_path("ens6"), None, f"uses no file instead of {own_path('ens6')} (state pending)"),
        (drop_in_path(NETPLAN), NETPLAN, ""),
        (
            drop_in_path(NETPLAN),
            OVERRIDING,
            f"uses {OVERRIDING} instead of {drop_in_path(NETPLAN)}",
        ),
        (None, OVERRIDING, ""),
    ],
)
def test_the_log_names_the_link_settings_that_networkd_applies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: Path | None,
    used: Path | None,
    says: str,
) -> None:
    """R7: ec2net's file, or its drop-in, exists and another file is in force."""
    run = RunDir(tmp_path)
    state = f"ADMIN_STATE=pending\nNETWORK_FILE={used or ''}\n"
    seen = environment({"/run/systemd/netif/links/3": state}, RUNNING)
    backend = NetworkdBackend(Host(Kernel(236), run, seen))
    facts = host(eni(0), eni(1))
    intent = next(eni for eni in compute(facts, Config()).ready if not eni.primary)
    there = [NetworkFile(written, f"{HEADER} ens6 {intent.mac}\n")] if written else []
    monkeypatch.setattr(files, "in_folder", lambda _: tuple(there))
    found = backend.check(intent, Observed(Snapshot()))
    assert len(found) == bool(says)
    assert all(says in text for text in found)
    UnreadFiles(run).note(there)
    assert all(
        "which it has not read" in text for text in backend.check(intent, Observed(Snapshot()))
    )
    assert len(backend.check(intent, Observed(Snapshot()))) == len(there)


CONFIGURED = "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/70-ens5.network\n"
UNMANAGED = "ADMIN_STATE=unmanaged\n"
RUNNING = {"/run/systemd/units/invocation:systemd-networkd.service": "0123"}
BOTH_RUNNING = {**RUNNING, "/run/systemd/units/invocation:NetworkManager.service": "1"}


def link(index: int, name: str) -> Link:
    return Link(index, name, Mac(f"06:00:00:00:00:{index:02x}"), "ena", "", 9001, True, 0)


def environment(
    files: dict[str, str], links: dict[str, str], eni_links: tuple[Link, ...] = ()
) -> Environment:
    def list_folder(path: str) -> tuple[str, ...]:
        return tuple(name.rpartition("/")[2] for name in files if name.rpartition("/")[0] == path)

    return Environment(files.get, links.get, list_folder, eni_links)


def test_networkds_state_file_has_the_state_of_a_link() -> None:
    seen = environment({"/run/systemd/netif/links/2": CONFIGURED}, {})
    assert link_state(2, seen) == LinkState(
        "configured", Path("/run/systemd/network/70-ens5.network")
    )
    assert link_state(3, seen) == LinkState("", None)
    assert not link_state(3, seen).managed


@pytest.mark.parametrize(
    ("files", "links", "suits", "reason"),
    [
        ({}, {}, False, "systemd-networkd is not running"),
        (
            {"/run/systemd/netif/links/3": CONFIGURED},
            {},
            False,
            "systemd-networkd is not running",
        ),
        (
            {"/run/systemd/netif/links/3": CONFIGURED},
            RUNNING,
            True,
            "systemd-networkd manages ens6",
        ),
        (
            {"/run/systemd/netif/links/2": CONFIGURED, "/run/systemd/netif/links/3": UNMANAGED},
            RUNNING,
            True,
            "no network manager manages ens6, and systemd-networkd manages ens5",
        ),
        (
            {"/run/systemd/netif/links/2": UNMANAGED, "/run/systemd/netif/links/3": UNMANAGED},
            RUNNING,
            False,
            "systemd-networkd manages no ENI",
        ),
        (
            {
                "/run/systemd/netif/links/3": UNMANAGED,
                "/run/NetworkManager/devices/3": "[device]\nmanaged=true\n",
            },
            BOTH_RUNNING,
            False,
            "NetworkManager manages ens6",
        ),
        (
            {
                "/run/systemd/netif/links/3": CONFIGURED,
                "/run/NetworkManager/devices/3": "[device]\nmanaged=true\n",
            },
            BOTH_RUNNING,
            False,
            "both systemd-networkd and NetworkManager manages ens6",
        ),
    ],
)
def test_the_file_matches_only_links_of_ec2_drivers(
    files: dict[str, str], links: dict[str, str], suits: bool, reason: str
) -> None:
    enis = (link(2, "ens5"), link(3, "ens6"))
    verdict = NetworkdBackend.suits(enis[1], environment(files, links, enis))
    assert (verdict.suits, verdict.reason) == (suits, reason)


def test_a_file_is_recorded_before_it_changes_until_networkd_has_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the write and the reload leaves the note, by which the next pass reloads."""
    run = RunDir(tmp_path / "state")
    file = NetworkFile(tmp_path / "70-ens6.network", f"{HEADER} ens6 {MAC}\n")
    noted: list[tuple[str, bool]] = []
    fails = True

    def note(when: str) -> None:
        noted.append((when, [item.path for item in UnreadFiles(run).all()] == [file.path]))

    def write_file(written: NetworkFile) -> None:
        note("at the write")
        write(written)

    def reload(_: Deadline) -> None:
        note("at the reload")
        if fails:
            raise Ec2netError("networkctl reload failed")

    monkeypatch.setattr(files, "write", write_file)
    monkeypatch.setattr(networkd, "reload", reload)
    seen = Environment(lambda _: None, lambda _: None, lambda _: ())
    monkeypatch.setattr(networkd, "are_in_force", lambda _: True)
    host = Host(Kernel(236), run, seen)
    plan = Plan((Change(Action.ADD, file, MAC),))
    applied = networkd.apply(plan, host, lambda *_: Applied(), {}, Deadline(5))
    assert (len(applied.done), len(applied.failed)) == (0, 1)
    note("after a reload that failed")
    assert noted == [
        ("at the write", True),
        ("at the reload", True),
        ("after a reload that failed", True),
    ]
    fails = False
    again = Plan((Change(Action.REMOVE, UnreadFiles(run).all()[0], MAC),))
    applied = networkd.apply(again, host, lambda *_: Applied(), {}, Deadline(5))
    assert (len(applied.done), len(applied.failed)) == (1, 0)
    assert noted[3:] == [("at the reload", True)]
    assert UnreadFiles(run).all() == ()


@pytest.mark.parametrize(
    ("used", "path", "leased"),
    [
        (None, own_path("ens6"), True),
        (own_path("ens6"), own_path("ens6"), True),
        (Path("/usr/lib/systemd/network/80-ec2.network"), own_path("ens6"), True),
        (NETPLAN, drop_in_path(NETPLAN), False),
        (Path("/etc/systemd/network/10-own.network"), None, False),
    ],
    ids=["none", "ours", "a distribution's", "netplan's", "an administrator's"],
)
def test_the_name_of_the_drop_in_follows_the_network_file_in_force(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    used: Path | None,
    path: Path | None,
    leased: bool,
) -> None:
    """With a foreign file, whose author decides how the first address is added."""
    monkeypatch.setattr(observed, "foreseen", lambda _: NOBODYS)
    monkeypatch.setattr(module, "files_in_place", InPlace)
    facts = host(eni(0), eni(1))
    state = {f"/run/systemd/netif/links/{n}": f"NETWORK_FILE={used or ''}\n" for n in (2, 3)}
    kernel = Kernel(236)
    backend = NetworkdBackend(Host(kernel, RunDir(tmp_path), environment(state, RUNNING)))
    seen = backend.observe(Snapshot(facts.links), facts.links, Deadline(5))
    whole = compute(facts, Config())
    intent = next(one for one in whole.ready if not one.primary)
    wanted = backend.wanted(intent, whole, seen)
    assert [item.path for item in wanted if isinstance(item, NetworkFile)] == [path] * bool(path)
    ipv6 = next(interface for interface in intent.base if interface.version == 6)
    assert (Address(intent.link, ipv6) in wanted) is leased  # otherwise the lease precedes the file


@pytest.mark.parametrize("given", [True, False], ids=["with its file", "new"])
def test_while_networkd_is_down_ec2net_brings_an_eni_up_live_and_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """ec2net considered a new ENI unmanaged, and an existing one got no new address."""
    whole = compute(host(eni(0), eni(1)), Config())
    primary, secondary = sorted(whole.ready, key=lambda one: not one.primary)
    path = drop_in_path(NETPLAN) if given else own_path("ens6")
    there = [NetworkFile(path, f"{HEADER} ens6 {secondary.mac}\n")] if given else []
    monkeypatch.setattr(observed, "in_folder", lambda _: tuple(there))
    monkeypatch.setattr(observed, "foreseen", lambda _: NOBODYS)
    backend = NetworkdBackend(Host(Kernel(236), RunDir(tmp_path), environment({}, {})))
    links = host(eni(0), eni(1)).links
    seen = backend.observe(Snapshot(links), links, Deadline(5))
    wanted = backend.wanted(secondary, whole, seen)
    assert [item.path for item in wanted if isinstance(item, NetworkFile)] == [path]
    first = {Address(secondary.link, interface) for interface in secondary.base}
    assert first <= set(wanted)
    leased = {Address(primary.link, one) for one in primary.base if one.version == 4}
    assert not leased & set(backend.wanted(primary, whole, seen))
    [problem] = seen.problems
    assert "systemd-networkd: is not running" in str(problem)
    assert backend.check(secondary, seen) == ()


class Links:
    """The kernel's list of links, and how often it was read."""

    def __init__(self, *up: bool) -> None:
        self._links = tuple(replace(link(n, f"ens{n}"), up=is_up) for n, is_up in enumerate(up))
        self.asked = 0

    def links(self) -> tuple[Link, ...]:
        self.asked += 1
        return self._links


@pytest.mark.parametrize(
    ("up", "awaited", "expires"),
    [
        ((False, True), {1}, False),  # another one may be down for good
        ((False, True), {0}, True),
        ((False, False), {0, 1}, True),
        ((True, True), {0, 1}, False),
        ((True,), {7}, False),  # one that is gone is not waited for
        ((False,), set(), False),
    ],
)
def test_a_pass_waits_only_for_links_that_networkd_brings_up(
    up: tuple[bool, ...], awaited: set[int], expires: bool
) -> None:
    """The kernel takes no route through a link that is down."""
    kernel: Any = Links(*up)
    limit = Deadline(0.2 if expires else 30.0)
    networkd._await_up(awaited, kernel, limit)
    assert limit.expired() is expires
    assert (kernel.asked > 0) is bool(awaited)


class Addresses:
    """The kernel's addresses: with each question there is one more."""

    def __init__(self, *coming: str) -> None:
        self._coming = coming
        self.asked = 0

    def addresses(self) -> frozenset[object]:
        assert self.asked < 20, "asked again and again, without an event"
        self.asked += 1
        return frozenset(map(ip_address, self._coming[: self.asked - 1]))


class Events:
    """Three events are queued, and no other follows."""

    def __init__(self, groups: int) -> None:
        self._ours, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        for _ in range(3):
            self._kernel.send(b"event")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._kernel.close()

    def fileno(self) -> int:
        return self._ours.fileno()

    def drain(self) -> None:
        with suppress(BlockingIOError):
            self._ours.recv(16)


def test_each_eni_continues_after_its_first_address_or_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    macs = [Mac(f"06:ec:02:00:00:0{n}") for n in (1, 2, 3)]
    expected = {
        mac: Lease(ENS6, ip_address(f"10.0.{n}.4"), ours=True) for n, mac in enumerate(macs, 1)
    }
    monkeypatch.setattr(networkd, "KernelEvents", Events)
    kernel: Any = Addresses("10.0.2.4", "10.0.1.4")
    limit = Deadline(0.3)
    assert list(networkd._arrivals(expected, kernel, limit)) == [macs[1], macs[0]]
    assert limit.expired()
    assert kernel.asked == 6


@pytest.mark.parametrize(
    ("ipv6", "given"),
    [(Ipv6Policy.AUTO, False), (Ipv6Policy.ON, False), (Ipv6Policy.OFF, True)],
)
def test_no_file_sets_an_mtu_that_removes_ipv6(ipv6: Ipv6Policy, given: bool) -> None:
    """systemd-networkd would set it before IMDS reports whether the ENI has IPv6 addresses."""
    settings = EniSettings(mtu=600, ipv6=ipv6)
    early = early_intent(MAC, ENS6, False, settings, NumberPlan())
    content = network_file(own_path("ens6"), early, permanent=True).content
    assert ("MTUBytes=600\n" in content) is given
    assert "UseMTU=no\n" in content
