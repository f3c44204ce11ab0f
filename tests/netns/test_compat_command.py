# SPDX-License-Identifier: Apache-2.0
"""``setup-policy-routes``, called like scripts for amazon-ec2-net-utils do, on an existing link."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import TOP
from instance import MANY, PROGRAM_LIMIT, Instance, environment, primary, subnets
from kernel_state import marked
from manager import managed

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


@pytest.fixture
def command(
    instance: Instance, tmp_path: Path
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """The command for the second ENI, where ``ec2net`` is the program in the instance's
    directories."""
    line = shlex.join(instance.argv("VERB")).replace("VERB", '"$verb"')
    program = tmp_path / "ec2net"
    program.write_text(f'#!/bin/sh\nverb=$1; shift\nexec {line} "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{environment()['PATH']}"

    def call(verb: str) -> subprocess.CompletedProcess[str]:
        words = [str(TOP / "packaging/setup-policy-routes"), "ens6", verb]
        return instance.guest.run(words, timeout=PROGRAM_LIMIT, env={**environment(), "PATH": path})

    return call


def test_setup_policy_routes_configures_a_link_and_gives_it_back(
    vpc: SimulatedVpc,
    instance: Instance,
    command: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, **MANY)
    assert command("start").returncode == 0
    assert instance.unreachable(eni) == []
    eni.assign_ipv4()
    assert instance.plan()["changes"]
    assert command("refresh").returncode == 0
    assert instance.unreachable(eni) == []
    assert command("stop").returncode == 0
    assert instance.plan()["changes"] == []
    with managed(instance):
        refused = command("remove")
        assert (refused.returncode, "would configure ens6 again" in refused.stderr) == (2, True)
    assert command("remove").returncode == 0
    assert [line for line in marked(instance.kernel()) if "10001" in line] == []
