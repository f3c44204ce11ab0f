# SPDX-License-Identifier: Apache-2.0
"""``ec2net doctor`` finds nothing on a healthy host, and names what is broken, each fault by itself."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from instance import MANY, Instance, primary, subnets

from ec2net.core.vpc.imds_faults import OnlyFrom, Status
from ec2net.core.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

BOUND = 12.0
"""Seconds on a busy machine; each wait of the command is bounded far below."""


@pytest.fixture(scope="module")
def healthy(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with SimulatedVpc(prefix="doctor-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first)
        vpc.attach(second, device=1, **MANY)
        instance.ec2net("refresh")
        yield instance


def findings(instance: Instance, status: int) -> list[dict[str, Any]]:
    """What it finds about the simulated host; tools that the machine itself has are left out."""
    began = time.monotonic()
    done = instance.ec2net("doctor", "--json", status=status)
    assert time.monotonic() - began < BOUND
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def test_a_healthy_host_has_nothing(healthy: Instance) -> None:
    before = healthy.kernel(), healthy.files()
    assert findings(healthy, 0) == []
    assert healthy.ec2net("doctor").stdout == "Nothing is wrong.\n"
    assert (healthy.kernel(), healthy.files()) == before
