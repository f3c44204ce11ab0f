# SPDX-License-Identifier: Apache-2.0
"""A device that does not answer for a moment, and a link with any name, affect no ENI."""

import sys

import pytest
from instance import MANY, PROGRAM_LIMIT, Instance, environment, primary, subnets
from kernel_state import assert_same

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

DEAF = """\
import sys
from ec2net.core.kernel.driver import Drivers
answer = Drivers.of
Drivers.of = lambda self, link: "" if link == {link!r} else answer(self, link)
from ec2net.core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The program while the driver of one link is in a reset: ETHTOOL_GDRVINFO fails with ENODEV."""


def test_an_eni_whose_driver_resets_keeps_its_configuration(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, device=1, **MANY)
    instance.refresh_twice()
    before, files = instance.kernel(), instance.files()

    deaf = DEAF.format(link=eni.name)
    _, _, *arguments = instance.argv("refresh")
    command = [sys.executable, "-c", deaf, *arguments[1:]]
    done = instance.guest.run(command, timeout=PROGRAM_LIMIT, env=environment())

    assert done.returncode == 0, done.stderr
    assert_same(before, instance.kernel())
    assert instance.files() == files


def test_a_link_with_an_undecodable_name_is_skipped(vpc: SimulatedVpc, instance: Instance) -> None:
    """The kernel allows any bytes except blanks, ``/`` and ``:``; a container can choose a name."""
    first, second = subnets(vpc, 2)
    primary(vpc, first)
    eni = vpc.attach(second, device=1, **MANY)
    made = instance.guest.run(["sh", "-c", "ip link add name \"$(printf 'a\\377')\" type bridge"])
    assert made.returncode == 0, made.stderr

    instance.ec2net("refresh")
    instance.ec2net("verify")
    instance.ec2net("plan", "--json")
    instance.ec2net("explain", eni.name)
    assert instance.unreachable(eni) == []
