# SPDX-License-Identifier: Apache-2.0
"""A pass without news changes nothing, and a pass after a foreign removal repairs exactly that."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import MANY, Instance, environment, primary, subnets
from kernel_state import KernelEvents, assert_same

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

ADDRESS_KEYS = ("local-ipv4s", "ipv6s", "ipv4-prefix", "ipv6-prefix")


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """Three ENIs with everything, configured; each test leaves it so."""
    with SimulatedVpc(prefix="steady-", seed=None) as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        vpc.attach(second, **MANY)
        vpc.attach(second, **MANY)
        instance.ec2net("refresh")
        assert instance.refresh() == []
        yield instance


def identities(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, modification and status change of all files and folders."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        if path.name == "last-pass":
            continue
        status = os.lstat(path)
        found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found


def test_a_second_pass_writes_nothing_to_the_kernel_or_to_disk(settled: Instance) -> None:
    """R15: an identical intent causes no event, no new inode and no new time of a file. The
    exception is the empty file whose time is that of the last pass."""
    before, files = settled.kernel(), identities(settled.run_dir)
    with KernelEvents(settled.guest) as events:
        assert settled.plan()["changes"] == []
        assert settled.refresh() == []
        settled.ec2net("start", "ens6")
        settled.ec2net("verify")
        settled.ec2net("explain", "ens6")
        settled.ec2net("status")
        assert events.taken() == []
        # The witness is awake: it sees the least change.
        settled.guest.ip(["link set ens6 txqueuelen 999", "link set ens6 txqueuelen 1000"])
        assert events.taken() != []
    assert identities(settled.run_dir) == files
    assert_same(before, settled.kernel())


WRITING = re.compile(
    r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|\b(rename|unlink|mkdir|rmdir|link|symlink|truncate|chmod"
    r"|fchmod|utimensat|mknod)(at|at2)?\("
)
HARMLESS = re.compile(r'"(/dev/null|/proc/self/|[^"]*/lock"|[^"]*/last-pass")|ENOENT|EEXIST')


def test_a_second_pass_opens_only_the_lock_for_writing(settled: Instance, tmp_path: Path) -> None:
    """Seen by strace: no temporary file that would be gone again either, and no sysctl."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=%file,fchmod,ftruncate", "-o", str(trace)]
    settled.guest.run([*command, *settled.argv("refresh")], env=environment())
    lines = trace.read_text().splitlines()
    assert any('/lock"' in line for line in lines)
    writing = [line for line in lines if WRITING.search(line) and not HARMLESS.search(line)]
    assert [line for line in writing if "__pycache__" not in line] == []


def test_a_second_pass_logs_nothing(settled: Instance) -> None:
    """R28."""
    done = settled.ec2net("refresh")
    assert (done.stdout, done.stderr) == ("", "")


def test_a_steady_pass_reads_few_keys_of_imds(settled: Instance) -> None:
    """R20: the MACs, each ENI's listing and its keys of addresses, nothing twice, no token."""
    settled.imds.clear_log()
    assert settled.refresh() == []
    asked = sorted(logged.path for logged in settled.imds.requests)
    macs = "/latest/meta-data/network/interfaces/macs/"
    expected = [macs]
    for eni in settled.vpc.enis:
        expected += [f"{macs}{eni.mac}/", *(f"{macs}{eni.mac}/{key}" for key in ADDRESS_KEYS)]
    assert asked == sorted(expected)


def test_a_steady_pass_over_one_ipv4_address_reads_three_keys(instance: Instance) -> None:
    vpc = instance.vpc
    primary(vpc, vpc.add_subnet("10.0.1.0/24"))
    instance.refresh_twice()
    instance.imds.clear_log()
    assert instance.refresh() == []
    assert len(instance.imds.requests) == 3
    assert instance.imds.count(method="PUT") == 0


E_SECOND = "eni-00000000000000002"
BY_HAND = {
    "rule 4": ("rule del priority 10001 from 10.0.2.4/30", ["add rule 10001: from 10.0.2.4/30"]),
    "main-first rule 4": (
        "rule del priority 9999 from 10.0.2.4/30",
        ["add rule 9999: from 10.0.2.4/30 lookup main"],
    ),
    "rule 6": (
        "rule del priority 10002 from 2001:db8:0:2:2::/80",
        ["add rule 10002: from 2001:db8:0:2:2::/80 lookup 10002"],
    ),
    "default route 4": ("route del default table 10001", ["add route default via 10.0.2.1"]),
    "default route 6": (
        "route del default table 10001",
        ["add route -6 default via fe80:ec2::1 dev ens6 table 10001"],
    ),
    "on-link route": (
        "route del 10.0.2.0/24 table 10002",
        ["add route 10.0.2.0/24 dev ens7 table 10002"],
    ),
    "main's default": (
        "route del default dev ens6 metric 513",
        ["add route default via 10.0.2.1 dev ens6 table main"],
    ),
    "whole table": (
        "route flush table 10001",
        ["add route 10.0.2.0/24 dev ens6", "add route default via 10.0.2.1 dev ens6"],
    ),
    "address 4": ("addr del 10.0.2.6/32 dev ens6", ["add address 10.0.2.6/32 dev ens6"]),
    "address 6": (
        "addr del 2001:db8:0:2::5/128 dev ens6",
        ["add address 2001:db8:0:2::5/128 dev ens6"],
    ),
    "address of the primary": ("addr del 10.0.1.6/32 dev ens5", ["add address 10.0.1.6/32"]),
    "altname": (f"link property del dev ens6 altname {E_SECOND}", [f"altname {E_SECOND}"]),
    "group": ("link set ens6 group 0", ["replace link ens6 group 236"]),
    "a foreign group": ("link set ens6 group 3", ["replace link ens6 group 236"]),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_the_next_pass_repairs_exactly_the_removed_items(settled: Instance, what: str) -> None:
    command, expected = BY_HAND[what]
    version = 6 if what.endswith("6") and "link" not in command else None
    before = settled.kernel()
    settled.guest.ip([command], version=version)
    settled.ec2net("verify", status=4)
    made = settled.refresh()
    assert len(made) == len(expected), made
    for change, start in zip(sorted(made), sorted(expected), strict=True):
        assert start in change
    assert_same(before, settled.kernel())
    assert settled.refresh() == []


def test_items_changed_by_hand_are_repaired_too(settled: Instance) -> None:
    """A route with ec2net's mark that points elsewhere, as 'ip route change' leaves it."""
    before = settled.kernel()
    settled.guest.ip(["route replace default via 10.0.2.77 dev ens6 onlink table 10001 proto 236"])
    (change,) = settled.refresh()
    assert change.startswith("replace route default via 10.0.2.1 dev ens6 table 10001")
    assert_same(before, settled.kernel())


def test_a_link_that_was_set_down_or_flushed_is_restored(settled: Instance) -> None:
    """'ip link set down' takes all routes and all IPv6 addresses along."""
    vpc, before = settled.vpc, settled.kernel()
    settled.guest.ip(["link set ens6 down"])
    settled.ec2net("refresh")
    assert settled.unreachable(*vpc.enis) == []
    settled.guest.ip(["addr flush dev ens7 scope global", "route flush table 10002"])
    for version in (4, 6):
        settled.guest.ip(["rule flush", "rule add priority 32766 lookup main"], version=version)
        settled.guest.ip(["rule add priority 32767 lookup default"], version=version)
    settled.ec2net("refresh")
    assert settled.unreachable(*vpc.enis) == []
    assert settled.refresh() == []
    for subject in ("addresses", "routes 4", "routes 6"):
        assert sorted(settled.kernel()[subject]) == sorted(before[subject])


def test_a_lost_state_directory_changes_nothing(settled: Instance) -> None:
    """Facts, journal and status are found out again."""
    before = settled.kernel()
    settled.forget()
    with KernelEvents(settled.guest) as events:
        assert settled.refresh() == []
        assert events.taken() == []
    assert_same(before, settled.kernel())
    assert settled.refresh() == []


def test_a_changed_mtu_of_the_configuration_is_applied(settled: Instance) -> None:
    def mtus() -> dict[str, int]:
        return {x["ifname"]: x["mtu"] for x in map(json.loads, settled.kernel()["links"])}

    settled.configure("[[eni]]\nmatch = { device = 1 }\nmtu = 1500\n")
    assert settled.refresh() == ["replace link ens6 mtu 1500"]
    settled.guest.ip(["link set ens6 mtu 1400"])
    assert settled.refresh() == ["replace link ens6 mtu 1500"]
    assert (mtus()["ens5"], mtus()["ens6"], mtus()["ens7"]) == (9001, 1500, 9001)
    settled.configure()
    settled.refresh()
    assert mtus()["ens6"] == 9001
    # dhcp, the default: the MTU that the primary's client received (ENU#170).
    settled.guest.ip(["link set ens5 mtu 8500"])
    assert settled.refresh() == ["replace link ens6 mtu 8500", "replace link ens7 mtu 8500"]
    settled.guest.ip(["link set ens5 mtu 9001"])
    settled.refresh()
    assert set(mtus().values()) == {9001, 65536}


def test_a_timed_pass_without_news_writes_only_the_time_on_a_quiet_host(
    settled: Instance, install: Callable[[SimulatedVpc], Instance]
) -> None:
    before = identities(settled.run_dir)
    settled.ec2net("refresh", "--unless-quiet")
    assert identities(settled.run_dir) == before
    with SimulatedVpc(prefix="quiet-") as vpc:
        instance = install(vpc)
        primary(vpc, *subnets(vpc, 1), ipv4=1, ipv6=0)
        instance.ec2net("refresh", "--unless-quiet")
        files = identities(instance.run_dir)
        instance.imds.clear_log()
        instance.ec2net("refresh", "--unless-quiet")
        assert instance.imds.requests == ()
        assert identities(instance.run_dir) == files
        # After a failure of the daemon its unit runs the pass, not the timer.
        env = {"MONITOR_UNIT": "ec2net.service", "MONITOR_SERVICE_RESULT": "success"}
        instance.ec2net("refresh", "--unless-quiet", env=env)
        assert instance.imds.requests == ()
        env["MONITOR_SERVICE_RESULT"] = "watchdog"
        instance.ec2net("refresh", "--unless-quiet", env=env)
        assert instance.imds.requests != ()
        instance.imds.clear_log()
        files = identities(instance.run_dir)
        # A requested pass runs at any time.
        instance.ec2net("refresh")
        assert instance.imds.requests != ()
        assert identities(instance.run_dir) == files


FORKS_MAX = 2
REQUESTS_MAX = 2 + 3 * 15


def test_an_unchanged_pass_over_15_dual_stack_enis_is_cheap(
    instance: Instance, tmp_path: Path
) -> None:
    """The tool before made 1361 forks and 174 requests. CPU time is judged by 'make bench'."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, ipv4=4, ipv6=2)
    for _ in range(14):
        vpc.attach(second, ipv4=4, ipv6=2)
    instance.refresh_twice()
    instance.imds.clear_log()
    trace = tmp_path / "trace"
    calls = ["-e", "trace=fork,vfork,clone,clone3", "-e", "signal=none"]
    command = ["strace", "-f", "-qq", *calls, "-o", str(trace)]
    done = instance.guest.run([*command, *instance.argv("refresh")], env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = trace.read_text().splitlines()
    forks = [x for x in made if "CLONE_THREAD" not in x and "resumed" not in x]
    assert len(forks) <= FORKS_MAX, forks
    assert len(instance.status()) == 15
    assert len(instance.imds.requests) <= REQUESTS_MAX
    assert instance.unreachable(*vpc.enis[:2]) == []
