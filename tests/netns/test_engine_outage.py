# SPDX-License-Identifier: Apache-2.0
"""The log has the start and the end of an IMDS outage, and a terminal each failure (R28, R42)."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import PROGRAM_LIMIT, Instance, environment, primary, subnets

from ec2net.core.simulation.vpc.imds_faults import Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with SimulatedVpc(prefix="outage-") as vpc:
        instance = install(vpc)
        (subnet,) = subnets(vpc, 1)
        primary(vpc, subnet, ipv4=2)
        instance.configure("timeouts.pass = 10")
        instance.refresh()
        yield instance


def as_unit(instance: Instance, log: Path) -> tuple[int, str]:
    """A refresh whose standard error is the journal: exit status, and its messages."""
    with log.open("w+b") as stream:
        status = os.fstat(stream.fileno())
        done = subprocess.run(
            ["ip", "netns", "exec", instance.guest.name, *instance.argv("refresh")],
            env={**environment(), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            stderr=stream,
            stdin=subprocess.DEVNULL,
            timeout=PROGRAM_LIMIT,
            check=False,
        )
    return done.returncode, log.read_text()


def test_each_command_reports_an_outage(settled: Instance) -> None:
    with settled.imds.fault(Status(503)):
        for _ in range(2):
            said = settled.ec2net("refresh", status=1).stderr
            assert "IMDS could not be read completely: " in said
            assert "HTTP 503" in said
            assert "ec2net keeps the last known values" in said


def test_the_log_has_the_start_and_the_end_of_an_outage(settled: Instance, tmp_path: Path) -> None:
    log = tmp_path / "journal"
    as_unit(settled, log)  # ends the outage of an earlier test
    assert as_unit(settled, log) == (0, "")
    with settled.imds.fault(Status(503)):
        status, said = as_unit(settled, log)
        assert status == 1
        assert said.startswith("<3>IMDS could not be read completely: ")
        assert said.count("\n") == 1
        assert as_unit(settled, log) == (1, "")
    status, said = as_unit(settled, log)
    assert status == 0
    assert said.startswith("<6>resolved: IMDS could not be read completely: ")
    assert as_unit(settled, log) == (0, "")


def test_an_eni_that_imds_does_not_list_yet_is_no_outage(settled: Instance) -> None:
    subnet = settled.vpc.subnets[0]
    new = settled.vpc.attach(subnet, propagation=None)
    settled.vpc.unregister(new)
    try:
        assert settled.ec2net("refresh").stderr == ""
        assert settled.status()[str(new.mac)]["standing"] == "pending"
    finally:
        settled.vpc.register(new)
        settled.vpc.detach(new)
        settled.ec2net("refresh")
