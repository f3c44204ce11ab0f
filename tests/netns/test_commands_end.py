# SPDX-License-Identifier: Apache-2.0
"""Read-only commands end even if IMDS hangs or a file is a FIFO."""

import os
from collections.abc import Callable, Iterator

import pytest
from instance import Instance, two_enis

from ec2net.core.simulation.vpc.imds_faults import Hang
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

COMMANDS = (["plan"], ["verify"], ["doctor"], ["explain", "ens6"], ["explain", "--dot"])
SECONDS = 3


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with two_enis(install, "end-") as instance:
        instance.configure(f"[timeouts]\npass = {SECONDS}\n")
        yield instance


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_end_while_imds_hangs(settled: Instance, command: list[str]) -> None:
    """IMDS gets a part of the time, and the command shows the last known values."""
    with settled.imds.fault(Hang()):
        done = settled.ec2net(*command, status=None)
    assert f"did not end within {SECONDS} s" not in done.stderr
    assert "ens6" in done.stdout or command[0] in ("plan", "verify")
    assert "IMDS" in done.stdout or "--dot" in command


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_end_where_state_files_are_fifos(settled: Instance, command: list[str]) -> None:
    """Opening a FIFO without a writer for reading blocks without end. ec2net reads the facts
    again."""
    files = [path for path in settled.run_dir.rglob("*.json") if path.is_file()]
    assert len(files) > 6
    for path in files:
        path.rename(f"{path}.aside")
        os.mkfifo(path)
    try:
        done = settled.ec2net(*command, status=None)
    finally:
        for path in files:
            path.unlink()
            os.rename(f"{path}.aside", path)
    assert "did not end within" not in done.stderr
    assert done.stdout
