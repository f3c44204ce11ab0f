# SPDX-License-Identifier: Apache-2.0
"""ENIs are attached and detached in the simulated VPC, and nothing is left at the end."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import ec2net
from ec2net.core.model.errors import DeadlineExceeded, KernelError, UsageError
from ec2net.core.simulation.vpc.eni import Detach, Presence
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


def links(namespace: Namespace) -> dict[str, dict[str, object]]:
    shown = json.loads(namespace.run(["ip", "-j", "link"]).stdout)
    return {link["ifname"]: link for link in shown if link["ifname"] != "lo"}


def macs(vpc: SimulatedVpc) -> list[str]:
    found = vpc.imds.tree().get("network")
    return [] if found is None else sorted(found["interfaces"]["macs"])  # type: ignore[index]


def test_a_new_eni_is_down_and_has_its_mac_and_mtu(vpc: SimulatedVpc) -> None:
    eni = vpc.attach(vpc.add_subnet("10.0.1.0/24"), "ens5")
    link = links(vpc.guest)["ens5"]
    assert link["address"] == str(eni.mac)
    assert link["mtu"] == 9001
    assert "UP" not in link["flags"]  # type: ignore[operator]


def test_sysfs_shows_the_links_of_the_guest(vpc: SimulatedVpc) -> None:
    vpc.attach(vpc.add_subnet("10.0.1.0/24"))
    assert vpc.guest.run(["ls", "/sys/class/net"]).stdout.split() == ["ens5", "lo"]


def test_detach_deletes_link_and_mapping_and_metadata(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64")
    primary = vpc.attach(subnet)
    eni = vpc.attach(subnet, ipv4=3, ipv4_prefixes=1, ipv6_prefixes=1)
    assert macs(vpc) == [str(primary.mac), str(eni.mac)]
    vpc.detach(eni)
    assert list(links(vpc.guest)) == ["ens5"]
    assert macs(vpc) == [str(primary.mac)]
    neighbours = vpc.router.run(["ip", "neigh", "show", "dev", subnet.bridge]).stdout
    assert str(eni.ipv4s[0]) not in neighbours
    assert str(eni.ipv4_prefixes[0]) not in vpc.router.run(["ip", "route"]).stdout
    assert [held.device for held in vpc.enis] == [0]
    # Its number is free again.
    assert vpc.attach(subnet).device == 1


def test_detach_by_moving_the_link_leaves_the_eni_attached(vpc: SimulatedVpc) -> None:
    eni = vpc.attach(vpc.add_subnet("10.0.1.0/24"))
    task = vpc.detach(eni, Detach.MOVE)
    assert task is not None
    assert links(vpc.guest) == {}
    assert links(task)["ens5"]["address"] == str(eni.mac)
    assert macs(vpc) == [str(eni.mac)]
    vpc.detach(eni)
    assert links(task) == {}


def test_link_and_metadata_are_independent(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet("10.0.1.0/24")
    late = vpc.attach(subnet, presence=Presence.LINK_ONLY)
    ghost = vpc.attach(subnet, ipv4=0, presence=Presence.IMDS_ONLY)
    assert list(links(vpc.guest)) == [late.name]
    assert macs(vpc) == [str(ghost.mac)]
    vpc.register(late)
    vpc.plug(ghost)
    assert sorted(links(vpc.guest)) == [late.name, ghost.name]
    vpc.unplug(late)
    vpc.unregister(ghost)
    assert macs(vpc) == [str(late.mac)]
    assert list(links(vpc.guest)) == [ghost.name]
    vpc.detach(late)
    vpc.detach(ghost)


def test_an_instance_can_have_several_cards(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet("10.0.1.0/24")
    numbers = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [
        (eni.card, eni.device) for card, _ in numbers for eni in [vpc.attach(subnet, card=card)]
    ] == numbers
    with pytest.raises(UsageError, match="card 1 has a device 0 already"):
        vpc.attach(subnet, card=1, device=0)


def test_sixty_enis_are_attached_quickly(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet("10.0.0.0/20", "2001:db8:0:1::/64")
    seconds = []
    for _ in range(60):
        started = time.monotonic()
        vpc.attach(subnet, ipv4=4, ipv6=4)
        seconds.append(time.monotonic() - started)
    # The quickest of the first and of the last attachments: shows whether the time grows.
    assert min(seconds[-10:]) < max(0.1, 4 * min(seconds[:10]))
    assert len(links(vpc.guest)) == 60


def test_the_ec2_api_refuses_impossible_requests(vpc: SimulatedVpc) -> None:
    subnet = vpc.add_subnet("10.0.1.0/27")
    eni = vpc.attach(subnet)
    with pytest.raises(UsageError, match="is the primary address"):
        eni.unassign_ipv4(eni.ipv4s[0])
    with pytest.raises(UsageError, match="has no IPv6"):
        eni.assign_ipv6()
    with pytest.raises(UsageError, match="no IPv4 address is left"):
        vpc.attach(subnet, ipv4=30)
    with pytest.raises(UsageError, match="no IPv4 prefix is left"):
        eni.assign_ipv4_prefix()


def test_a_command_that_fails_is_named_with_its_line(vpc: SimulatedVpc) -> None:
    with pytest.raises(KernelError, match=r"guest.*Cannot find device.*link set nosuch up"):
        vpc.guest.ip(["link set lo up", "link set nosuch up"])


def test_a_command_in_the_guest_has_a_deadline(vpc: SimulatedVpc) -> None:
    with pytest.raises(DeadlineExceeded, match=r"did not end within 0\.1 s"):
        vpc.guest.run(["sleep", "60"], timeout=0.1)


def test_a_call_in_a_namespace_leaves_the_caller_in_its_own(vpc: SimulatedVpc) -> None:
    def here() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    before = here()
    assert vpc.guest.call(here) != before
    assert here() == before
    with pytest.raises(ZeroDivisionError):
        vpc.guest.call(lambda: 1 // 0)
    assert here() == before


def test_a_closed_vpc_leaves_nothing() -> None:
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    with SimulatedVpc(prefix="one-") as vpc:
        subnet = vpc.add_subnet("10.0.1.0/24")
        eni = vpc.attach(subnet)
        vpc.configure_primary_base(eni)
        vpc.add_peer(subnet)
        vpc.detach(eni, Detach.MOVE)
        assert len(os.listdir("/run/netns")) == 5
    assert os.listdir("/run/netns") == []
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads


def test_a_vpc_that_cannot_be_built_leaves_nothing() -> None:
    threads = threading.active_count()
    taken = Namespace.create("outside")
    try:
        with pytest.raises(KernelError, match="File exists"), SimulatedVpc():
            pass
        assert os.listdir("/run/netns") == ["outside"]
    finally:
        taken.delete()
    assert threading.active_count() == threads


AS_NOBODY = """
import ctypes
import os
from ec2net.core.simulation.vpc import sandbox
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
# Not by exec: the user 65534 may lack permission to run the interpreter of the tests.
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, which changing the user has cleared
sandbox.enter()
sandbox.enter()
with SimulatedVpc() as vpc:
    eni = vpc.attach(vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64"))
    vpc.configure_primary_base(eni)
    for tick in vpc.check_out(eni) + vpc.check_in(eni):
        print(tick.ok, tick.reason)
    print(vpc.dropped(), vpc.guest.run(["ls", "/sys/class/net"]).stdout.split())
"""


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    source = Path(ec2net.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test does this without root")
def test_a_vpc_works_without_root() -> None:
    done = run_script(AS_NOBODY)
    if "cannot make a private network namespace" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["True"] * 4, lines
    assert lines[4] == "0 ['ens5', 'lo']"
    assert os.listdir("/run/netns") == []


def test_a_process_with_threads_cannot_enter() -> None:
    script = (
        "import threading\n"
        "from ec2net.core.model.errors import Ec2netError\n"
        "from ec2net.core.simulation.vpc import sandbox\n"
        "stop = threading.Event()\n"
        "threading.Thread(target=stop.wait, args=(120,), daemon=True).start()\n"
        "try:\n    sandbox.enter()\nexcept Ec2netError as error:\n    print(error)\n"
    )
    done = run_script(script)
    assert "has 2 threads and cannot enter a network namespace of its own" in done.stdout
