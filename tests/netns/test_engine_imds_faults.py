# SPDX-License-Identifier: Apache-2.0
"""With any fault of IMDS the configuration stays, the pass ends in time, and a later pass succeeds.

ENU#161, ENU#120, ENU#118: an error that was taken for 'there is none' removed addresses and rules.
"""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from broken_imds import ENI_KEYS, FAULTS, KEYS, LATER, PASS
from instance import HANGS, MANY, Instance, primary, subnets
from kernel_state import KernelEvents, assert_same, marked

from ec2net.core.simulation.vpc.imds_faults import (
    Drip,
    Effect,
    EmptyBody,
    Fault,
    Garbage,
    Hang,
    Status,
)
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

DEFAULT = 15.0


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """Three ENIs, the last without prefixes and IPv6 addresses, configured by good passes."""
    with SimulatedVpc(prefix="faults-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first, **MANY)
        assert str(vpc.attach(second, **MANY).mac) == LATER
        vpc.attach(second, ipv4=2, ipv6=0)
        instance.ec2net("refresh")
        yield instance


def broken_pass(instance: Instance, fault: Effect | Fault, limit: float) -> str:
    """A pass of this many seconds during the fault, which changes nothing; returns its output."""
    before, facts = instance.kernel(), known_facts(instance)
    instance.configure(f"[timeouts]\npass = {limit}\n")
    with instance.imds.fault(fault) as active, KernelEvents(instance.guest) as events:
        started = time.monotonic()
        done = instance.ec2net("refresh", status=None)
        seconds = time.monotonic() - started
        assert active.hits > 0
        assert events.taken() == []
    instance.configure()  # a good pass has the default
    assert done.returncode in (0, 1)
    assert seconds < limit + HANGS  # faults that hang or drip do not end by themselves
    told = re.findall(r"did not end within ([\d.]+) s", done.stderr)
    assert all(float(bound) <= limit for bound in told), done.stderr
    assert len(done.stderr.splitlines()) <= 4, done.stderr
    assert bool(done.stderr) is (done.returncode == 1), done.stderr
    assert_same(before, instance.kernel())
    assert known_facts(instance) == facts
    return done.stderr


def known_facts(instance: Instance) -> dict[str, bytes]:
    return {k: v for k, v in instance.files().items() if k.startswith(("facts", "primary"))}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_nothing_and_ends_in_time(settled: Instance, name: str) -> None:
    """Kernel and known facts before, during and after; the next good pass leads to the state
    before."""
    before = settled.kernel()
    settled.imds.drop_connections()
    if name.startswith(("no token", "drip", "hang", "40", "50")):
        (settled.run_dir / "imds-token.json").unlink(missing_ok=True)
    broken_pass(settled, FAULTS[name], PASS)
    assert settled.refresh() == []
    assert_same(before, settled.kernel())


@pytest.mark.parametrize(
    "fault",
    [Fault(Drip(headers_at_once=True), KEYS), Fault(Hang(), ENI_KEYS)],
    ids=["drip", "hang on keys"],
)
def test_the_default_deadline_bounds_a_pass(settled: Instance, fault: Effect | Fault) -> None:
    """15 s; 2.7.4 took 37 s, and a drip that sends a byte a second does not end by itself."""
    broken_pass(settled, fault, DEFAULT)
    assert settled.refresh() == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("403, IMDS disabled", "disabled"),
        ("503", "HTTP 503"),
        ("addresses of elsewhere", "192.0.2.1, which is outside the ENI's subnet"),
        ("everything is on-link", "0.0.0.0/0"),
    ],
)
def test_the_error_names_the_reason_why_imds_is_unusable(
    settled: Instance, name: str, words: str
) -> None:
    (settled.run_dir / "imds-token.json").unlink(missing_ok=True)
    assert words in broken_pass(settled, FAULTS[name], DEFAULT)
    assert words in settled.ec2net("status", status=1).stdout
    settled.ec2net("refresh")
    settled.ec2net("status")


def test_the_pass_after_a_fault_applies_changes_made_during_it(settled: Instance) -> None:
    eni = settled.vpc.enis[1]
    before = settled.kernel()
    with settled.imds.fault(Fault(Status(503), KEYS)):
        address, prefix = eni.assign_ipv4(), eni.assign_ipv4_prefix()
        assert settled.refresh(status=1) == []
    assert settled.refresh() != []
    assert settled.unreachable(*settled.vpc.enis) == []
    with settled.imds.fault(Fault(Garbage(), KEYS)):
        eni.unassign_ipv4(address)
        eni.unassign_ipv4_prefix(prefix)
        assert settled.refresh(status=1) == []
    assert settled.refresh() != []
    assert_same(before, settled.kernel())


def test_a_fault_of_one_eni_does_not_delay_another(settled: Instance) -> None:
    healthy, sick = settled.vpc.enis[1], settled.vpc.enis[2]
    before = settled.kernel()
    with settled.imds.fault(Fault(Garbage(), f"{sick.mac}/")):
        address = healthy.assign_ipv4()
        assert any(str(address) in change for change in settled.refresh(status=1))
        assert settled.unreachable(healthy) == []
        healthy.unassign_ipv4(address)
        assert settled.refresh(status=1) != []
    assert settled.refresh() == []
    assert_same(before, settled.kernel())


FIRST: dict[str, Effect | Fault] = {
    "503": Status(503),
    "hang": Hang(),
    "403": Status(403),
    "404 on address keys": Fault(Status(404), KEYS),
    "garbage for addresses": Fault(Garbage(), KEYS),
    "empty address keys": Fault(EmptyBody(), KEYS),
    "empty": EmptyBody(),
    "the primary is not known": Fault(Status(404), "/meta-data/mac$"),
    "garbage for the primary": Fault(Garbage(), "/meta-data/mac$"),
    "no device number": Fault(Status(404), "/device-number$"),
    "garbage for a device number": Fault(Garbage(b"1O"), "/device-number$"),
}


@pytest.mark.parametrize("name", FIRST)
def test_a_fault_in_the_very_first_pass_is_survived(instance: Instance, name: str) -> None:
    """No value is a guess (R2; items 46 and 47): the host stays unconfigured, then is
    configured."""
    vpc = instance.vpc
    instance.configure(f"[timeouts]\npass = {PASS}\n")
    first, second = subnets(vpc, 2)
    eni = primary(vpc, first, **MANY)
    vpc.attach(second, **MANY)
    base = instance.kernel()
    with instance.imds.fault(FIRST[name]):
        instance.ec2net("refresh", status=None)
    instance.configure()
    state = instance.kernel()
    assert marked(state) == []
    assert (state["rules 4"], state["routes 4"]) == (base["rules 4"], base["routes 4"]) or any(
        str(eni.ipv4s[1]) in line for line in state["addresses"]
    )
    assert instance.guest.run(["ip", "-o", "addr", "show", "ens6"]).stdout == ""
    instance.ec2net("refresh")
    assert instance.unreachable(*vpc.enis) == []


def test_every_key_can_fail_once_at_any_position_of_a_first_pass(instance: Instance) -> None:
    """R2: whichever request loses its answer, the result is the same (a 404 is not 'none')."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    primary(vpc, first, ipv4=2, ipv6=0)
    vpc.attach(second, ipv4=2, ipv6=0, ipv6_prefixes=1)
    instance.ec2net("refresh")
    good = instance.kernel()
    instance.imds.clear_log()
    instance.forget()
    assert instance.refresh() == []
    paths = [logged.path for logged in instance.imds.requests]
    assert len(paths) > 12
    for path in dict.fromkeys(paths):
        instance.forget()
        with instance.imds.fault(Fault(Status(404), f"^{re.escape(path)}$")):
            instance.ec2net("refresh", status=None)
        assert_same(good, instance.kernel())
