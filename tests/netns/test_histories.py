# SPDX-License-Identifier: Apache-2.0
"""Whatever IMDS said before: once it is right, a host is as if IMDS had been right from the start.

``EC2NET_SEED`` replays a run, ``EC2NET_ENDURANCE`` sets how many histories it has.
"""

import argparse
import os
from collections.abc import Callable

import pytest
from endurance import rounds
from histories import (
    History,
    Remains,
    Scene,
    different_files,
    histories,
    nothing,
    remains,
    scene,
    steps,
)
from hypothesis import HealthCheck, Phase, given, seed, settings
from instance import Instance
from kernel_state import differences
from manager import Manager, managed

from ec2net.core.daemon.control import poke
from ec2net.core.engine.one_pass import one_pass
from ec2net.core.engine.setup import opened
from ec2net.core.report.publisher import StatusPublisher
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
from ec2net.core.state.config_in_force import workplace
from ec2net.core.state.run_dir import RunDir

pytestmark = pytest.mark.netns

SEED = int(os.environ.get("EC2NET_SEED", "1"))
COUNTS = {"on_demand": rounds(40), "resident": rounds(10)}
LIMIT = 60.0

Install = Callable[[SimulatedVpc], Instance]

property_of = settings(
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def passes(instance: Instance) -> None:
    """One pass, as ``ec2net refresh`` makes it."""
    place = workplace(
        argparse.Namespace(run_dir=instance.run_dir, config_root=instance.config_root),
        may_fall_back=True,
    )

    def run() -> None:
        with opened(place) as engine:
            one_pass(engine, StatusPublisher(place), Deadline, "refresh", check=None)

    instance.guest.call(run)


def on_demand(there: Scene) -> Remains:
    """A timer's pass for each state."""
    there.begin()
    passes(there.instance)
    there.attach()
    passes(there.instance)
    for step in steps():
        there.show(step)
        passes(there.instance)
    return remains(there.instance)


def resident(there: Scene) -> Remains:
    """The daemon polls once for each state, and follows its own events."""
    there.begin()
    with managed(there.instance, env=there.env) as manager:
        polled(manager)
        there.attach()
        polled(manager)
        for step in steps():
            there.show(step)
            polled(manager)
        manager.stop()
    return remains(there.instance)


def polled(manager: Manager) -> None:
    answer = poke(RunDir(manager.instance.run_dir), Deadline(LIMIT, "a poll"))
    assert answer is not None


@pytest.mark.parametrize(
    "backend",
    [
        "netlink",
        pytest.param("networkd", marks=pytest.mark.exhaustive),
        pytest.param("networkmanager", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("way", [on_demand, resident], ids=lambda way: way.__name__)
def test_a_host_forgets_what_imds_said_wrongly(
    install: Install, way: Callable[[Scene], Remains], backend: str
) -> None:
    right: dict[str, Remains] = {}
    count = 0

    @seed(SEED)
    @settings(property_of, max_examples=COUNTS[way.__name__])
    @given(histories)
    def holds(history: History) -> None:
        nonlocal count
        if history.ignored not in right:
            with scene(install, nothing(history.ignored), backend) as there:
                right[history.ignored] = way(there)
            ours = {"networkd": "70-ens6.network", "networkmanager": "80-ec2net.conf"}
            named = [name for name in ours.values() if name in right[history.ignored].files]
            assert named == [ours[name] for name in ours if name == backend]
        count += 1
        with scene(install, history, backend) as there:
            found = way(there)
        expected = right[history.ignored]
        wrong = [*differences(expected.kernel, found.kernel), *different_files(expected, found)]
        assert not wrong, "\n".join([str(history), *wrong])

    try:
        holds()
    finally:
        print(f"{backend}, {way.__name__}: {count} histories, EC2NET_SEED={SEED}")
