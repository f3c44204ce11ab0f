# SPDX-License-Identifier: Apache-2.0
"""The output of each command with --json obeys docs/json.schema.json (``Instance.ec2net`` checks),
on a healthy host and on a faulty one."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from instance import Instance, two_enis

from ec2net.core.simulation.vpc.imds_faults import Fault, Status
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.library]

COMMANDS = (
    "plan",
    "refresh",
    "start ens6",
    "verify",
    "doctor",
    "explain ens6",
    "backends",
    "status",
)


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with two_enis(install, "json-", seed=None) as instance:
        yield instance


def document(instance: Instance, command: str, status: int | None = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        instance.ec2net(*command.split(), "--json", status=status).stdout
    )
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_json_of_a_healthy_host_obeys_the_schema(settled: Instance, command: str) -> None:
    status = None if command == "doctor" else 0
    assert document(settled, command, status)["version"] == 1


def test_json_of_a_faulty_host_obeys_the_schema(settled: Instance) -> None:
    """Remove a rule and an address, and add a foreign route with the key of ec2net's."""
    settled.guest.ip(
        [
            "rule del priority 10001 from 10.0.2.4/30",
            "address del 10.0.2.5/32 dev ens6",
            "route del default table 10001",
            "route add default via 10.0.2.9 dev ens6 onlink table 10001 proto static",
        ]
    )
    found = {command: document(settled, command, None) for command in COMMANDS}
    assert found["plan"]["changes"]
    assert found["plan"]["conflicts"]
    assert found["refresh"]["changes"]
    assert found["verify"]["findings"]
    assert found["doctor"]["findings"]
    assert found["explain ens6"]["drift"]
    assert found["status"]["enis"][1]["trouble"]


@pytest.mark.parametrize("command", ["plan", "refresh", "verify"])
def test_json_without_imds_obeys_the_schema(settled: Instance, command: str) -> None:
    with settled.imds.fault(Fault(Status(403), "")):
        assert document(settled, command, 1)["problems"]


def test_json_of_removals_obeys_the_schema(settled: Instance) -> None:
    assert document(settled, "remove ens6")["changes"]
