# SPDX-License-Identifier: Apache-2.0
"""Tests in here run in a sandbox: the whole test process enters it at the first of them."""

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from checkout import TOP
from instance import Instance

from ec2net.core.model.errors import Ec2netError
from ec2net.core.simulation.vpc import sandbox
from ec2net.core.simulation.vpc.simulated import SEED, SimulatedVpc

MANUAL = TOP / "packaging/man/ec2net.8.md"


@pytest.fixture(scope="session", autouse=True)
def _sandbox() -> None:
    """Separate network and mount namespaces; the process never needs to return."""
    try:
        sandbox.enter()
    except Ec2netError as error:
        if os.geteuid() == 0:
            raise
        pytest.skip(str(error))


@pytest.fixture
def vpc(request: pytest.FixtureRequest) -> Iterator[SimulatedVpc]:
    """An empty VPC with an unconfigured guest. Tests that name addresses get them in order."""
    named = request.node.get_closest_marker("neighbours")
    with SimulatedVpc(seed=None if named else SEED) as simulated:
        yield simulated


@pytest.fixture(scope="session")
def install() -> Callable[[SimulatedVpc], Instance]:
    """Installs the program in a VPC's guest, with separate state and configuration directories."""
    numbers = itertools.count(1)
    return lambda vpc: Instance(vpc, f"instance{next(numbers)}")


@pytest.fixture
def instance(vpc: SimulatedVpc, install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """The guest of an empty VPC, with the program. The manual lists every file in its state
    directory at the end."""
    instance = install(vpc)
    yield instance
    manual = MANUAL.read_text()
    there = {name.partition("/")[0] for name in instance.files()}
    left = {n for n in there if not n.startswith(".tmp-")}  # of a killed writer
    assert {name for name in left if f"/run/ec2net/{name}" not in manual} == set()
