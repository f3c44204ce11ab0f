# SPDX-License-Identifier: Apache-2.0
"""With bad input and on a faulty host: one clear line each, the right exit status, nothing lost."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cni
import pytest
from instance import MANY, PROGRAM_LIMIT, Instance, primary, subnets
from kernel_state import KernelEvents, assert_same

from ec2net.core.simulation.vpc.connections import Answer
from ec2net.core.simulation.vpc.imds_faults import Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with SimulatedVpc(prefix="bad-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first)
        vpc.attach(second, **MANY)
        instance.ec2net("refresh")
        yield instance


@contextmanager
def tiny_run_dir(instance: Instance, size: str, inodes: int = 0) -> Iterator[None]:
    """The state directory on a separate tmpfs, which fills up soon."""
    instance.run_dir.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=755" + (f",nr_inodes={inodes}" if inodes else "")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(instance.run_dir)]
    subprocess.run(mount, check=True, timeout=60)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(instance.run_dir)], check=True, timeout=60)


def fill(instance: Instance) -> None:
    """To the last byte and the last inode."""
    for number in range(10000):
        try:
            with (instance.run_dir / f"filler{number}").open("wb") as file:
                file.write(b"x" * (1 << 20))
        except OSError:
            if number:
                return


@pytest.mark.parametrize(
    ("size", "inodes"), [("4k", 0), ("20k", 0), ("1m", 1), ("1m", 3), ("1m", 8)]
)
def test_on_a_full_disk_the_first_pass_reports_and_a_later_one_succeeds(
    instance: Instance, size: str, inodes: int
) -> None:
    """The pass reports the full disk and ends with 1; the host is not worse, and a pass with room
    completes."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    eni = primary(vpc, first)
    vpc.attach(second, **MANY)
    with tiny_run_dir(instance, size, inodes):
        done = instance.ec2net("refresh", status=1)
        assert "No space left on device" in done.stderr
        assert str(instance.run_dir) in done.stderr
        errors = [line for line in done.stderr.splitlines() if "INFO" not in line]
        # One line for the host's state that cannot be written, and one for each ENI that stays
        # unchanged.
        of_enis = [line for line in errors if re.match(r"ec2net: ERROR: ens[56]: ", line)]
        assert len(of_enis) == len({line.split()[2] for line in of_enis})
        assert len(errors) == len(of_enis) + 1, done.stderr
        assert not [tick for tick in vpc.check_out(eni, patient=True) if not tick.ok]
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []


def test_a_disk_that_fills_up_loses_nothing(instance: Instance) -> None:
    """A pass without news needs no room; a pass with changes reports each file that it cannot
    write."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    with tiny_run_dir(instance, "256k"):
        instance.refresh_twice()
        before, files = instance.kernel(), instance.files()
        fill(instance)
        instance.ec2net("refresh")
        assert_same(before, instance.kernel())
        eni.assign_ipv4()
        done = instance.ec2net("refresh", status=1)
        assert "No space left on device" in done.stderr
        assert all(instance.files()[name] == content for name, content in files.items())
        assert instance.unreachable(*vpc.enis[:1]) == []
        for filler in instance.run_dir.glob("filler*"):
            filler.unlink()
        instance.ec2net("refresh")
        assert instance.unreachable(*vpc.enis) == []
        assert instance.refresh() == []


WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--")


def test_without_a_privilege_the_error_names_it(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    before = instance.kernel()
    for command in (["refresh"], ["start", eni.name]):
        done = instance.ec2net(*command, status=1, under=WITHOUT_CAPABILITIES)
        assert "CAP_NET_ADMIN" in done.stderr
        assert len(done.stderr.splitlines()) <= 2, done.stderr  # one for each ENI
        assert_same(before, instance.kernel())


def test_read_only_commands_need_no_privilege(settled: Instance) -> None:
    """plan, verify, explain, status, backends, record, config: as an administrator's own user."""
    for command in ("plan", "verify", "explain ens6", "status", "backends", "config --show"):
        settled.ec2net(*command.split(), under=WITHOUT_CAPABILITIES)


def test_a_state_directory_of_another_user_is_refused(settled: Instance) -> None:
    before = settled.kernel()
    settled.run_dir.chmod(0o555)
    (settled.run_dir / "lock").chmod(0o444)
    try:
        done = settled.ec2net("refresh", status=1, under=WITHOUT_CAPABILITIES)
    finally:
        settled.run_dir.chmod(0o755)
        (settled.run_dir / "lock").chmod(0o600)
    assert len(done.stderr.splitlines()) == 1
    assert "Permission denied" in done.stderr
    assert "run as root" in done.stderr
    assert_same(before, settled.kernel())


def test_a_record_is_written_to_a_pipe_and_not_without_a_reader(
    settled: Instance, tmp_path: Path
) -> None:
    """A FIFO without a reader was waited for, without a deadline."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    done = settled.ec2net("record", str(fifo), status=1)
    assert done.stderr == f"ec2net: {fifo}: cannot be written: no process reads from it\n"
    done = settled.ec2net("record", "/dev/full", status=1)
    assert done.stderr == "ec2net: /dev/full: cannot be written: No space left on device\n"
    with settled.running("plan", "--imds", str(fifo)) as plan:
        while settled.ec2net("record", str(fifo), status=None).returncode:
            assert plan.poll() is None
        said = plan.communicate(timeout=PROGRAM_LIMIT)[0]
        assert said == "Planned with the configuration of the record.\nNothing to change.\n"


BROKEN = {
    "syntax": ("routing = \n", ["ec2net.toml", "line 1"]),
    "not UTF-8": ("\udcff", ["ec2net.toml"]),
    "an unknown key": ('ruoting = "strict"\n', ["ec2net.toml", "ruoting"]),
    "an unknown value": ('routing = "sometimes"\n', ["routing", "main-first"]),
    "a wrong type": ("primary_rules = 1\n", ["primary_rules"]),
    "a number out of range": ("[numbers]\ntable_base = 7\n", ["numbers.table_base", "256"]),
    "a wrong match": ('[[eni]]\nmatch = { mac = "x" }\nmtu = 1500\n', ["mac"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_leaves_the_last_good_one_in_force(
    settled: Instance, name: str
) -> None:
    """The last good one stays in force, loudly: 2, but the pass is made."""
    vpc, before = settled.vpc, settled.kernel()
    text, words = BROKEN[name]
    path = settled.config_root / "etc/ec2net/ec2net.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    address = vpc.enis[1].assign_ipv4()
    try:
        done = settled.ec2net("refresh", status=2)
        for word in words:
            assert word in done.stderr
        assert settled.unreachable(*vpc.enis) == []
        check = settled.ec2net("config", "--check", status=2)
        assert all(word in check.stdout for word in words)
        settled.ec2net("plan", status=2)
        told = settled.ec2net("status", status=2)
        assert "! configuration: " in told.stdout
        assert all(word in told.stdout for word in words)
        sick = json.loads(settled.ec2net("doctor", "--json", status=1).stdout)["findings"]
        assert {one["check"] for one in sick if one["severity"] == "error"} == {"configuration"}
    finally:
        settled.configure()
        vpc.enis[1].unassign_ipv4(address)
    settled.ec2net("refresh")
    assert_same(before, settled.kernel())


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_without_a_last_good_one_changes_nothing(
    instance: Instance, name: str
) -> None:
    """Nothing is guessed: 2, one line, nothing changed."""
    vpc = instance.vpc
    primary(vpc, *subnets(vpc, 1), **MANY)
    text, words = BROKEN[name]
    path = instance.config_root / "etc/ec2net/ec2net.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = instance.kernel()
    for command in (["refresh"], ["start", "ens5"], ["remove", "ens5"], ["plan"]):
        done = instance.ec2net(*command, status=2)
        assert len(done.stderr.splitlines()) == 1
        assert all(word in done.stderr for word in words), done.stderr
    assert_same(before, instance.kernel())
    assert instance.imds.requests == ()


@pytest.mark.parametrize("name", ["../x", "a" * 16, "", ".", "..", "a/b", "a b", "a:b", "ens5\n"])
@pytest.mark.parametrize("command", ["start", "remove"])
def test_a_link_name_that_the_kernel_cannot_have_is_refused(
    settled: Instance, command: str, name: str
) -> None:
    """ec2net does not wait for it either: that would end with 3."""
    files = settled.files()
    done = settled.ec2net(command, name, status=2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert settled.files() == files


def test_without_imds_a_pass_fails(settled: Instance) -> None:
    before = settled.kernel()
    for version in (4, 6):
        settled.vpc.silence_imds(version)
    try:
        done = settled.ec2net("refresh", status=1)
    finally:
        settled.vpc.unsilence_imds()
    assert len(done.stderr.splitlines()) == 1
    # The search ended at its own limit (R19): the pass's limit has the same words.
    assert "no IMDS endpoint answers" in done.stderr
    assert "did not end within" not in done.stderr
    assert_same(before, settled.kernel())


def test_disabled_imds_fails_the_first_pass(instance: Instance) -> None:
    vpc = instance.vpc
    primary(vpc, *subnets(vpc, 1), **MANY)
    before = instance.kernel()
    with instance.imds.fault(Status(403)):
        done = instance.ec2net("refresh", status=1)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "disabled" in done.stderr
    assert_same(before, instance.kernel())


def manage(role: str, how: str) -> str:
    return f'[[eni]]\nmatch = {{ role = "{role}" }}\nmanage = "{how}"\n'


@pytest.mark.parametrize("how", ["ignore", "observe"])
def test_an_unmanaged_eni_is_not_changed(instance: Instance, how: str) -> None:
    """R29: during its hotplug, refresh, start and removal; observe reports the intended changes."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main = primary(vpc, first, **MANY)
    instance.configure(manage("secondary", how))
    instance.ec2net("refresh")
    eni = vpc.attach(second, **MANY)
    with KernelEvents(instance.guest) as events:
        instance.ec2net("start", eni.name)
        instance.ec2net("refresh")
        eni.assign_ipv4()
        instance.ec2net("refresh")
        assert events.taken() == []
        planned = [change for change in instance.plan()["changes"] if change["eni"] == str(eni.mac)]
        assert bool(planned) is (how == "observe")
        instance.ec2net("remove", eni.name)
        assert events.taken() == []
    assert instance.unreachable(main) == []
    sysctl = instance.guest.run(["cat", f"/proc/sys/net/ipv6/conf/{eni.name}/accept_ra"])
    assert sysctl.stdout.strip() == "1"


def test_an_eni_that_is_ignored_later_keeps_its_configuration(instance: Instance) -> None:
    """Handing an ENI over to a CNI removes nothing that its pods use."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    before = instance.kernel()
    for how in ("ignore", "observe"):
        instance.configure(manage("secondary", how))
        assert instance.refresh() == []
        assert_same(before, instance.kernel())


def test_rules_off_adds_no_rules(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, **MANY)
    eni = vpc.attach(second, **MANY)
    instance.configure('manage = "no-rules"\n')
    instance.ec2net("refresh")
    state = instance.kernel()
    assert '"236"' not in str(state["rules 4"] + state["rules 6"])
    assert '"table": "10001"' not in str(state)
    for address in eni.addresses():
        assert f'"{address}"' in str(state["addresses"])
    instance.configure()
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []
    instance.configure('manage = "no-rules"\n')
    instance.ec2net("refresh")
    assert_same(state, instance.kernel())


def test_addresses_off_adds_no_addresses(instance: Instance) -> None:
    """R30: pods' addresses are never on the host, whose local table would take their traffic (K-a);
    their rules are left to the tool that created the pods."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main = primary(vpc, first, **MANY)
    eni = vpc.attach(second, **MANY)
    instance.configure(
        'manage = "no-addresses"\nipv4_prefix_mode = "local"\nipv6_prefix_mode = "local"\n'
    )
    instance.ec2net("refresh")
    state = instance.kernel()
    for one in (main, eni):
        for address in (*one.ipv4s[1:], *one.ipv6s[1:]):
            assert f'"{address}"' not in str(state["addresses"])
        assert f'"{one.ipv4s[0]}"' in str(state["addresses"])
        for prefix in one.prefixes():
            assert f'"{prefix}"' not in str([r for r in state["routes 4"] if '"255"' in r])
    pods = {str(a) for one in (main, eni) for a in (*one.ipv4s[1:], *one.ipv6s[1:])}
    rules = [json.loads(line) for version in "46" for line in state[f"rules {version}"]]
    sources = {str(rule["src"]) for rule in rules if '"236"' in json.dumps(rule)}
    assert sources == {str(eni.ipv4s[0]), str(eni.ipv6s[0])}
    assert not sources & pods
    assert instance.refresh() == []
    cni.add_table(vpc, eni)
    with cni.pod(vpc, eni.ipv4s[2], eni) as inside:
        outside = vpc.outside
        out = vpc.connect(inside, eni.ipv4s[2], str(outside.ipv4), patient=True)
        assert isinstance(out, Answer), out
        assert out.seen == eni.ipv4s[2]
        back = vpc.connect(outside.namespace, outside.ipv4, eni.ipv4s[2], patient=True)
        assert isinstance(back, Answer), back
        assert instance.refresh() == []
    assert vpc.dropped() == 0
