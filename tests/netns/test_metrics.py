# SPDX-License-Identifier: Apache-2.0
"""Numbers for monitoring: off by default, and true to what passes found and did."""

import re
from pathlib import Path

import pytest
from instance import Instance, primary, subnets

from ec2net.core.report.metrics import METRICS
from ec2net.core.simulation.vpc.imds_faults import Fault, Status

pytestmark = pytest.mark.netns

SAMPLE = re.compile(r'([a-z0-9_]+(?:\{[a-z]+="[a-z-]+"\})?) (\d+(?:\.\d+)?)')


def numbers(path: Path) -> dict[str, float]:
    """The samples of a file; every line must have Prometheus' text format, with a known name."""
    found: dict[str, float] = {}
    described: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("# TYPE "):
            described.append(line.split()[2])
            assert line.split()[3] == METRICS[described[-1]][0]
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1].startswith(described[-1])
            assert match[1] not in found
            found[match[1]] = float(match[2])
    assert described == list(METRICS)
    return found


def test_findings_and_changes_of_passes_are_counted(instance: Instance, tmp_path: Path) -> None:
    vpc, file = instance.vpc, tmp_path / "metrics" / "ec2net.prom"
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    vpc.attach(second, ipv4=2)
    instance.ec2net("refresh")
    assert "metrics.json" not in instance.files()  # off by default

    instance.configure(f'metrics_file = "{file}"\n')
    instance.ec2net("refresh")
    start = numbers(file)
    assert start['ec2net_passes_total{result="done"}'] == 1
    assert start["ec2net_repairs_total"] == start['ec2net_errors_total{kind="imds"}'] == 0
    assert start['ec2net_enis{standing="configured"}'] == 2
    assert start["ec2net_pass_duration_seconds_sum"] > 0
    assert list(file.parent.iterdir()) == [file]

    instance.guest.ip(["rule del priority 10001"])  # drift
    instance.ec2net("refresh")
    vpc.enis[1].assign_ipv4()  # news
    instance.ec2net("refresh")
    then = numbers(file)
    assert then["ec2net_repairs_total"] == 1
    assert then['ec2net_changes_total{action="add"}'] > 1
    assert then["ec2net_imds_requests_total"] > start["ec2net_imds_requests_total"] > 0
    assert then["ec2net_pass_duration_seconds_count"] == 3
    assert then["ec2net_addresses_missing"] == 0

    instance.ec2net("remove", "ens6")
    less = numbers(file)
    assert less["ec2net_pass_duration_seconds_count"] == 4
    assert less['ec2net_changes_total{action="remove"}'] > 1
    instance.ec2net("refresh")
    then = numbers(file)

    with vpc.imds.fault(Fault(Status(503))):
        instance.ec2net("refresh", status=1)
    ill = numbers(file)
    assert ill['ec2net_errors_total{kind="imds"}'] > 0
    assert ill['ec2net_passes_total{result="failed"}'] == 1
    success = "ec2net_last_success_timestamp_seconds"
    assert ill["ec2net_last_pass_timestamp_seconds"] > ill[success] == then[success] > 0


def test_a_file_that_cannot_be_written_is_reported_and_does_not_stop_a_pass(
    instance: Instance,
) -> None:
    vpc = instance.vpc
    primary(vpc, *subnets(vpc, 1), ipv4=2)
    instance.configure('metrics_file = "/proc/ec2net/ec2net.prom"\n')
    done = instance.ec2net("refresh", status=1)
    assert "metrics_file: cannot write /proc/ec2net/ec2net.prom" in done.stderr
    assert instance.unreachable(*vpc.enis) == []
