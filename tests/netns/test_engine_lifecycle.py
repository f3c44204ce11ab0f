# SPDX-License-Identifier: Apache-2.0
"""Waiting costs nothing and holds nothing; what waits ends with its link or by its deadline.

ENU#148, ENU#160: 766 detached ENIs left 1787 processes behind, with a load of 414.
"""

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from instance import HANGS, MANY, PROGRAM_LIMIT, Instance, environment, primary, subnets
from kernel_state import KernelEvents, assert_same

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.imds_faults import Delay, Fault, Hang
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

ATTEMPTS = 12
"""To be in the middle of a pass, which may be over on a busy machine."""


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with SimulatedVpc(prefix="life-") as vpc:
        instance = install(vpc)
        (first,) = subnets(vpc, 1)
        # Room for a delegated prefix of each ENI that is attached here; no prefix is assigned
        # twice.
        second = vpc.add_subnet("10.0.32.0/20", "2001:db8:0:2::/64")
        primary(vpc, first)
        vpc.attach(second, **MANY)
        instance.ec2net("refresh")
        yield instance


def waits_in_poll(process: subprocess.Popen[str]) -> None:
    """Return as soon as the program sleeps in its one poll(2)."""
    until(lambda: in_poll(process.pid))


def in_poll(pid: int) -> bool:
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
        wait = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False
    return call[0] != "running" and "poll" in wait


def until(condition: Callable[[], bool], seconds: float = HANGS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.005)


def switches(pid: int) -> list[str]:
    """How often the program was woken and put to sleep (proc(5), voluntary_ctxt_switches)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith("voluntary_ctxt_switches")]


def test_a_link_that_never_appears_ends_start_with_3_at_its_deadline(settled: Instance) -> None:
    started = time.monotonic()
    done = settled.ec2net("start", "ghost0", "--timeout", "5", status=3)
    seconds = time.monotonic() - started
    assert 5 <= seconds < 5 + HANGS
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["ec2net: ghost0: no such link appeared within 5 s"]


MEMORY = ("brk(", "mmap(", "munmap(", "madvise(")
"""Calls of the interpreter, which may free memory at any time."""
A_HANDFUL = 5
"""System calls from the first poll(2) of the wait until its end is logged: open files are
closed."""


def test_waiting_for_a_link_makes_no_system_calls(settled: Instance, tmp_path: Path) -> None:
    """All calls between the first poll(2) and the output at the deadline, by strace."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-ttt", "-qq", "-s", "200", "-o", str(trace)]
    argv = [*command, *settled.argv("start", "ghost0", "--timeout", "3")]
    assert settled.guest.run(argv, env=environment()).returncode == 3
    calls = []
    for line in trace.read_text().splitlines():
        found = re.match(r"\d+ +([\d.]+) (.*)", line)
        assert found, line
        calls.append((float(found[1]), found[2]))
    first = next(n for n, (_, call) in enumerate(calls) if "poll(" in call)
    said = next(n for n, (_, call) in enumerate(calls) if "no such link appeared" in call)
    began, wait = calls[first]
    left = re.search(r", (\d+)\) = 0 \(Timeout\)$", wait)
    assert left, wait
    assert 0 < int(left[1]) / 1000 <= 3  # some time has gone by since the deadline was made
    assert calls[first + 1][0] - began >= int(left[1]) / 1000
    made = [call for _, call in calls[first + 1 : said] if not call.startswith(MEMORY)]
    assert len(made) <= A_HANDFUL, made


def test_no_timer_wakes_a_waiting_process(settled: Instance) -> None:
    with settled.running("start", "ghost0") as process:
        waits_in_poll(process)
        before = switches(process.pid)
        assert before
        time.sleep(1)  # no event to wait for: the test checks that nothing happens
        assert switches(process.pid) == before


def test_a_wait_for_a_link_delays_no_other_command(settled: Instance) -> None:
    """ENU#160: 2.7.4 took the lock before it waited for the link."""
    with settled.running("start", "ghost0", "--timeout", "600") as process:
        waits_in_poll(process)
        assert settled.refresh() == []  # without the lock the pass would fail after 20 s
        assert process.poll() is None


def test_twenty_links_that_never_appear_leave_no_process(settled: Instance) -> None:
    with ExitStack() as stack:
        ghosts = [
            stack.enter_context(settled.running("start", f"ghost{n}", "--timeout", "3"))
            for n in range(20)
        ]
        assert settled.refresh() == []
        assert {ghost.wait(PROGRAM_LIMIT) for ghost in ghosts} == {3}
    assert programs() == []
    assert not [name for name in settled.files() if "ghost" in name or ".tmp-" in name]


def programs() -> list[str]:
    """Command lines of our program that run in this sandbox (children of the tests)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"ec2net" in words and int(parent) == os.getpid():
            found.append(b" ".join(words).decode())
    return found


def test_start_configures_the_link_as_soon_as_it_appears(settled: Instance) -> None:
    vpc = settled.vpc
    with settled.running("start", "ens9") as process:
        waits_in_poll(process)
        # The wait does not react to other links.
        settled.guest.ip(["link add br9 type bridge", "link del br9"])
        assert process.poll() is None
        eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
        _, said = process.communicate(timeout=PROGRAM_LIMIT)
    assert process.returncode == 0, said
    assert settled.unreachable(*vpc.enis) == []
    vpc.detach(eni)
    assert settled.refresh() != []


def goes_during_a_wait(
    instance: Instance, process: subprocess.Popen[str], eni: Eni, how: Detach
) -> list[str]:
    """The output of a process that is stopped while the link is removed, without lines that only
    ``-v`` prints.

    The event is pending when the process continues: no limit of the process ends the wait before
    it.
    """
    process.send_signal(signal.SIGSTOP)
    if how is Detach.DELETE:
        instance.vpc.unplug(eni)
    else:
        instance.vpc.detach(eni, how)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=HANGS)
    assert "did not end within" not in said
    return [line for line in said.splitlines() if "DEBUG" not in line]


@pytest.mark.parametrize("how", Detach)
def test_a_link_removed_during_start_ends_it_at_once(settled: Instance, how: Detach) -> None:
    """Deleted, or moved into a task's namespace (ENU#148); while IMDS hangs, too."""
    vpc = settled.vpc
    eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
    settled.imds.clear_log()
    try:
        with settled.imds.fault(Hang()), settled.running("start", "ens9", "-v") as process:
            assert settled.imds.wait_for(timeout=HANGS)
            said = goes_during_a_wait(settled, process, eni, how)
        assert process.returncode == 3, said
        assert "ens9" in said[0]
        assert len(said) == 1
    finally:
        vpc.detach(eni)
    settled.ec2net("refresh")
    assert settled.unreachable(*vpc.enis) == []


@pytest.mark.parametrize("how", Detach)
def test_a_link_removed_while_its_number_is_awaited_ends_start(
    settled: Instance, how: Detach
) -> None:
    """The pauses between two passes are not deaf either."""
    vpc = settled.vpc
    eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
    settled.imds.clear_log()
    try:
        unsettled = Fault(Hang(), "/device-number$")
        with settled.imds.fault(unsettled), settled.running("start", "ens9", "-v") as process:
            assert settled.imds.wait_for("device-number", timeout=HANGS)
            goes_during_a_wait(settled, process, eni, how)
            assert process.returncode == 3
    finally:
        vpc.detach(eni)
    settled.ec2net("refresh")


def unplugged_during_start(instance: Instance, many: int) -> tuple[int, str]:
    """Exit status of ``start``, and its output, when the link is removed after this many kernel
    events."""
    vpc, seen = instance.vpc, 0
    eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
    try:
        with KernelEvents(instance.guest) as events, instance.running("start", "ens9") as process:
            while process.poll() is None and seen < many:
                seen += len(events.taken())
            vpc.unplug(eni)
            _, said = process.communicate(timeout=PROGRAM_LIMIT)
    finally:
        vpc.detach(eni)
    return process.returncode, said


@pytest.mark.parametrize("many", [2, 15, 25, 35])
def test_a_link_removed_during_an_apply_is_no_error(settled: Instance, many: int) -> None:
    """After so many kernel events, verification included; and nothing of it stays behind."""
    before = settled.kernel()
    for _ in range(ATTEMPTS):
        status, said = unplugged_during_start(settled, many)
        assert status in (0, 3), said
        # While the kernel removes a link, the link exists for an instant and answers so.
        assert "ERROR" not in said or "Network is down" in said
        settled.ec2net("refresh")
        assert_same(before, settled.kernel())
        # The later the link is removed, the likelier ec2net had finished and verified before.
        if status == 3 or many > 2:
            return
    pytest.fail("the link never went before all was done")


@pytest.mark.parametrize("command", [["start", "ens9"], ["refresh"]], ids=" ".join)
def test_an_eni_whose_keys_hang_delays_no_other(settled: Instance, command: list[str]) -> None:
    """IMDS was read under the host lock: the primary waited 3 s for each key of a secondary."""
    vpc = settled.vpc
    eni = vpc.attach(vpc.subnets[1], "ens9", ipv4=2, ipv6=2)
    settled.imds.clear_log()
    try:
        hanging = Fault(Hang(), f"{eni.mac}/")
        with settled.imds.fault(hanging), settled.running(*command) as process:
            assert settled.imds.wait_for(f"{eni.mac}/", timeout=HANGS)
            process.send_signal(signal.SIGSTOP)  # and holds its objects without end
            settled.ec2net("start", "ens5")
            settled.ec2net("start", "--primary")
            process.send_signal(signal.SIGCONT)
            assert process.poll() is None
    finally:
        vpc.detach(eni)
    settled.ec2net("refresh")


def test_a_slow_pass_does_not_undo_a_later_one(settled: Instance) -> None:
    """ec2net reads IMDS before it takes the lock, so the facts may be old when they are used."""
    vpc = settled.vpc
    eni = vpc.attach(vpc.subnets[1], "ens9", ipv4=2, ipv6=2)
    settled.ec2net("start", "ens9")
    slow = Fault(Delay(2.0), f"{eni.mac}/local-ipv4s$", count=1)
    for _ in range(ATTEMPTS):
        settled.imds.clear_log()
        with settled.imds.fault(slow) as fault, settled.running("start", "ens9") as process:
            assert settled.imds.wait_for(f"{eni.mac}/local-ipv4s", timeout=HANGS)
            assert settled.imds.count(f"{eni.mac}/ipv6s") == 1
            address = eni.assign_ipv6()
            (change, *_) = settled.refresh()
            assert str(address) in change or "rule" in change
            was_old = process.poll() is None
            _, said = process.communicate(timeout=PROGRAM_LIMIT)
            assert fault.hits == 1
        assert (process.returncode, said) == (0, "")
        assert settled.refresh() == []
        if was_old:
            break
    else:
        pytest.fail("the reading that is to be old always came to its end before the other pass")
    vpc.detach(eni)
    settled.ec2net("refresh")


def test_a_terminal_shows_that_imds_is_slow(settled: Instance) -> None:
    ours, theirs = pty.openpty()
    command = ["ip", "netns", "exec", settled.guest.name, *settled.argv("refresh")]
    try:
        with settled.imds.fault(Fault(Delay(2.0), "local-ipv4s$", count=1)) as fault:
            subprocess.run(
                command, env=environment(), stderr=theirs, timeout=PROGRAM_LIMIT, check=True
            )
            assert fault.hits == 1
        said = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    begin, *written, blank, end = said.split("\r")
    assert (begin, blank.strip(" "), end) == ("", "", "")
    # A busy machine may have it wiped, and shown again for the next request.
    shown = [text for text in written if text.strip(" ")]
    assert shown
    assert all(re.fullmatch(r"ec2net: reading IMDS \(\d+ s at most\) *", text) for text in shown), (
        said
    )


def test_a_busy_lock_is_waited_for_no_longer_than_configured(settled: Instance) -> None:
    settled.configure("[timeouts]\nlock = 1\n")
    try:
        with settled.locked():
            started = time.monotonic()
            done = settled.ec2net("refresh", status=1)
            assert 1 <= time.monotonic() - started < 15  # the default is 20
            assert "another ec2net process holds the lock" in done.stderr
            assert len(done.stderr.splitlines()) == 1
    finally:
        settled.configure()
    # A lock dies with its holder (item 50: it was deleted under a living one).
    assert settled.refresh() == []


def test_concurrent_passes_have_the_same_result_as_one(settled: Instance) -> None:
    vpc, before = settled.vpc, settled.kernel()
    eni = vpc.attach(vpc.subnets[1], "ens9", **MANY)
    with ExitStack() as stack:
        commands = [["refresh"], ["start", "ens9"], ["refresh"], ["start", "ens6"], ["refresh"]]
        at_once = [stack.enter_context(settled.running(*command)) for command in commands]
        ends = [
            (process.communicate(timeout=PROGRAM_LIMIT), process.returncode) for process in at_once
        ]
    assert [status for _, status in ends] == [0] * len(ends), ends
    assert settled.refresh() == []
    assert settled.unreachable(*vpc.enis) == []
    vpc.detach(eni)
    settled.ec2net("refresh")
    assert_same(before, settled.kernel())


def test_a_link_that_is_no_eni_is_refused_at_once(settled: Instance) -> None:
    settled.guest.ip(["link add br9 type bridge"])
    started = time.monotonic()
    done = settled.ec2net("start", "br9", "--timeout", "600", status=1)
    assert time.monotonic() - started < HANGS
    assert "is not an ENI" in done.stderr
    assert "links.drivers" in done.stderr
    settled.guest.ip(["link del br9"])
