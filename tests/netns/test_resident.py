# SPDX-License-Identifier: Apache-2.0
"""The daemon in normal operation, on the real kernel, with the netlink backend."""

import shutil
import signal
import time

import pytest
from instance import HANGS, MANY, Instance, primary, subnets
from kernel_state import KernelEvents, differences
from manager import LIMIT, managed

from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.imds import Propagation
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

SETTLED = "[resident]\nfast_for = 0.1\n"
QUICKLY_SETTLED = SETTLED + "poll = 3600\n"
"""The daemon starts no poll for an hour."""


@pytest.fixture
def pair(vpc: SimulatedVpc) -> tuple[Eni, Eni]:
    """A primary and a secondary ENI with everything."""
    first, second = subnets(vpc, 2)
    return primary(vpc, first), vpc.attach(second, device=1, **MANY)


def test_the_daemon_sends_ready_when_the_primary_is_configured(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    with managed(instance) as manager:
        manager.until_configured(2)
        assert instance.unreachable() == []
        instance.ec2net("verify")
        assert manager.stop() == 0


def test_an_eni_is_managed_from_its_attachment_to_its_detachment(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """No command runs: the kernel's events cause the passes. The leftovers are removed, too."""
    with managed(instance) as manager:
        manager.until_configured(2)
        before = instance.kernel()
        eni = vpc.attach(pair[1].subnet, device=2, propagation=Propagation(0.2, 1.0), **MANY)
        took = manager.until_configured(3)
        assert instance.unreachable() == []
        print(f"configured after {took:.2f} s, of which IMDS took 1.0 s")
        vpc.detach(eni, Detach.DELETE)
        manager.until_configured(2)
        manager.until(lambda: differences(before, instance.kernel()) == [], what="nothing left")


def test_a_removed_item_is_repaired_without_a_request_to_imds(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    instance.configure(QUICKLY_SETTLED)
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.poke()
        before = instance.kernel()
        vpc.imds.clear_log()
        vpc.guest.ip(
            ["rule del priority 10001", f"addr del {pair[1].ipv4s[2]}/32 dev {pair[1].name}"]
        )
        took = manager.until(lambda: differences(before, instance.kernel()) == [], what="repaired")
        print(f"repaired after {took:.2f} s")
        assert vpc.imds.count() == 0
        manager.until(lambda: "+ rule 10001" in manager.log())


def test_the_daemon_runs_the_pass_of_a_refresh(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """The client gets the daemon's changes, as if its own process had made them."""
    instance.configure(QUICKLY_SETTLED)
    with managed(instance) as manager:
        manager.until_configured(2)
        address = pair[1].assign_ipv4()
        answer = manager.poke()
        assert f"add address {address}/32 dev ens6" in [
            f"{change['action']} {change['text']}" for change in answer["changes"]
        ]
        assert instance.unreachable(pair[1]) == []
        done = instance.ec2net("refresh")
        assert (done.stdout, done.stderr) == ("", "")
        shown = instance.ec2net("refresh", "-v").stderr
        assert "the daemon ran the pass, with " in shown
        assert "ens6: configured, backend netlink, 7 of 7 addresses" in shown
        pair[1].unassign_ipv4(address)
        assert f"- address {address}/32" in instance.ec2net("refresh").stderr
        assert manager.threads() == 1


def test_refresh_reports_a_stopped_daemon_at_its_deadline(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    with managed(instance) as manager:
        manager.until_configured(2)
        instance.configure("[timeouts]\nlock = 1\npass = 1\n")  # for the client
        manager.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        done = instance.ec2net("refresh", status=1)
        assert time.monotonic() - began < HANGS  # by default 70 s
        assert "ec2net.service: the daemon does not answer (" in done.stderr
        instance.configure()
        manager.process.send_signal(signal.SIGCONT)
        instance.ec2net("refresh")


def test_only_one_daemon_runs(vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]) -> None:
    with managed(instance) as manager:
        done = instance.ec2net("run", status=1)
        assert done.stderr == (
            "ec2net: ec2net.service: another daemon is running already"
            " (see 'systemctl status ec2net.service')\n"
        )
        assert manager.stop() == 0
    with managed(instance) as manager:  # another process can take its lock now: the daemon yields
        manager.until_configured(2)  # no pass writes there meanwhile
        shutil.rmtree(instance.run_dir)
        manager.process.send_signal(signal.SIGHUP)  # a poll, at once
        assert manager.process.wait(LIMIT) == 1
        assert "resident.lock was deleted or replaced (the daemon must start again" in manager.log()
    with managed(instance) as manager:  # killed: the lock is free
        manager.process.kill()
        manager.process.wait(LIMIT)
    with managed(instance) as manager:
        assert manager.stop() == 0


def test_remove_is_refused_while_the_daemon_would_restore_the_eni(
    instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    with managed(instance) as manager:
        manager.until_configured(2)
        before = instance.kernel()
        done = instance.ec2net("remove", "ens6", status=2)
        assert "the daemon would configure ens6 again at once (set manage" in done.stderr
        instance.ec2net("remove", "--if-gone", "ens6")
        assert "no ENI has such a link" in instance.ec2net("remove", "ens77", status=3).stderr
        assert differences(before, instance.kernel()) == []
        instance.configure('[[eni]]\nmatch = { device = 1 }\nmanage = "ignore"\n')
        manager.process.send_signal(signal.SIGHUP)
        manager.until(lambda: "ignored" in manager.states().values(), what="ignored")
        instance.ec2net("remove", "ens6")
        assert not any("10.0.2." in line for line in instance.kernel()["rules 4"])
        instance.ec2net("status")


def test_status_shows_the_daemon_to_any_user(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    with managed(instance) as manager:
        manager.until_configured(2)
        vpc.attach(pair[1].subnet, device=2, propagation=Propagation(0.0, None))
        manager.until(lambda: "pending" in manager.states().values())
        shown = instance.ec2net("status", under=("setpriv", "--reuid=65534", "--clear-groups"))
        assert "configured" in shown.stdout
        assert "pending" in shown.stdout
        assert f"The ec2net daemon is running (PID {manager.pid})." in shown.stdout
        for name, content in instance.files().items():
            if name != "imds-token.json":
                assert b"token" not in content, name
    assert "daemon is running" not in instance.ec2net("status").stdout


def test_a_steady_poll_reads_little_and_writes_and_logs_nothing(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """R15, R20, R28: 1 + 2 requests per dual-stack ENI, and the listings of keys at another time."""
    first, second = subnets(vpc, 2)
    primary(vpc, first, ipv4=2, ipv6=2)
    for device in range(1, 15):
        vpc.attach(second, device=device, ipv4=2, ipv6=2)
    instance.configure(QUICKLY_SETTLED)
    with managed(instance) as manager:
        manager.until_configured(15)
        manager.rest()
        vpc.imds.clear_log()
        manager.poke()
        assert vpc.imds.count() == 46  # the client sees new keys, too
        instance.configure(SETTLED + "poll = 3\n")
        manager.process.send_signal(signal.SIGHUP)
        manager.poke()
        files, said = instance.files(), manager.log()
        vpc.imds.clear_log()
        with KernelEvents(vpc.guest) as events:
            # Each poll begins with the list of MACs, and the listings follow half an interval
            # later.
            manager.until(lambda: _polls(vpc) >= 4)
            assert events.taken() == []
        requests = [request.path for request in vpc.imds.requests]
        begin, end = (i for i, n in enumerate(_starts(requests)) if n in (1, 4))
        assert end - begin == 3 * 46
        keys = [path for path in requests[begin:end] if not path.endswith("/")]
        assert len(keys) == 3 * 30
        assert instance.files() == files
        assert manager.log() == said
        assert manager.children() == []


def _starts(paths: list[str]) -> list[int]:
    """At the beginning of each poll its number, else 0."""
    found, number = [], 0
    for path in paths:
        starts = path.endswith("interfaces/macs/")
        number += starts
        found.append(number if starts else 0)
    return found


def _polls(vpc: SimulatedVpc) -> int:
    return sum(request.path.endswith("interfaces/macs/") for request in vpc.imds.requests)


def test_a_new_key_is_found_within_a_poll(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """An ENI's first IPv6 address or prefix creates a key that no poll reads."""
    first = pair[0]
    instance.configure(SETTLED + "poll = 4\n")
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.poke()
        prefix = first.assign_ipv4_prefix()
        address = pair[1].assign_ipv6()
        polls = _polls(vpc)
        manager.until(lambda: str(address) in manager.log())
        print(f"polls: {_polls(vpc) - polls}")
        # the listings follow between two polls, then the ENI is read
        assert _polls(vpc) - polls <= 2
        first.unassign_ipv4_prefix(prefix)
        pair[1].unassign_ipv6(address)
        manager.until(lambda: f"- address {address}" in manager.log())
        # The key is removed with its last value: no error, and no further request.
        assert "could not be read" not in manager.log()


def test_a_reload_of_the_configuration_changes_nothing(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    with managed(instance) as manager:
        manager.until_configured(2)
        before = instance.kernel()
        instance.configure("mtu = ")
        with KernelEvents(vpc.guest) as events:
            manager.process.send_signal(signal.SIGHUP)
            manager.hear("RELOADING=1")
            manager.hear("STATUS=1 configuration errors (")
            assert events.taken() == []
            assert "the last good configuration stays in force" in manager.log()
            instance.configure('[plugins]\nenabled = ["gone"]\n')
            manager.process.send_signal(signal.SIGHUP)
            manager.hear("RELOADING=1")
            manager.hear("READY=1")
            assert "plugin gone: there is no entry point" in manager.log()
            manager.poke()
            told = instance.ec2net("status", status=2)
            assert "! configuration: plugin gone: there is no entry point" in told.stdout
            assert events.taken() == []
        instance.configure("mtu = 1400\n")
        manager.process.send_signal(signal.SIGHUP)
        manager.hear("RELOADING=1")
        manager.hear("READY=1")
        manager.until(lambda: "mtu 1400" in manager.log())
        instance.configure("")
        manager.process.send_signal(signal.SIGHUP)
        manager.hear("RELOADING=1")
        manager.until(lambda: differences(before, instance.kernel()) == [])
        manager.until_configured(2)


def test_start_and_stop_extend_the_limits_of_systemd_to_the_configured_time(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """systemd's 90 s and 60 s are less than what timeouts.link and rollback.after can be."""
    instance.configure("[timeouts]\nlink = 600\n[rollback]\nafter = 60\n")
    with managed(instance) as manager:
        told = [line for line in manager.told if line.startswith("EXTEND_TIMEOUT_USEC=")]
        assert int(told[0].partition("=")[2]) > 600e6
        manager.until_configured(2)
        manager.process.send_signal(signal.SIGTERM)
        manager.hear("EXTEND_TIMEOUT_USEC=260")  # 20 + 15 + 3 * 60 + 15 s, and 30


def test_a_requested_poll_of_an_unchanged_host_finds_a_foreign_rule(
    vpc: SimulatedVpc, instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    """While nothing changes, the second poll looks up no way again; the rule is a change."""
    instance.configure(QUICKLY_SETTLED)
    rule = f"priority 100 from {pair[1].ipv4s[1]} lookup main"
    with managed(instance) as manager:
        manager.until_configured(2)
        manager.rest()
        instance.ec2net("refresh")
        manager.stopped(True)
        vpc.guest.ip([f"rule add {rule}"])
        manager.stopped(False)
        for _ in range(2):
            told = instance.ec2net("refresh", status=1).stderr
            assert f"rule 100: from {pair[1].ipv4s[1]} lookup main" in told
        vpc.guest.ip([f"rule del {rule}"])
        instance.ec2net("refresh")
