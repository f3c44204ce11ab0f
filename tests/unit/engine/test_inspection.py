# SPDX-License-Identifier: Apache-2.0
"""Commands that only show end with their deadline: counted in checks and in CPU, not by a clock."""

import json
import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
from large_host import Each, large_host

from ec2net.backends.netlink.backend import NetlinkBackend
from ec2net.core.config.settings import Config, EniSettings
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.imds_reading import ImdsReading
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import RouteAnswer
from ec2net.core.model.errors import DeadlineExceeded
from ec2net.core.model.facts import Facts, Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import AnyAddress
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Host, Observed
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.report import as_json, text
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.last_known import LastKnown
from ec2net.core.state.run_dir import RunDir

STEP = 0.5
"""Seconds of CPU between two checks."""


class Kernel:
    """Its answers cost nothing."""

    protocol = 236
    marks_addresses = True

    def checked(self, check: object) -> AbstractContextManager[None]:
        return nullcontext()

    def route_of(self, *_: object, **__: int) -> None:
        return None

    def lookup(
        self, destination: AnyAddress, source: AnyAddress | None = None, **_: int
    ) -> RouteAnswer:
        return RouteAnswer(0, None, None)


class Counted(Deadline):
    """Its deadline expires at one of its checks; between them it records the CPU time."""

    def __init__(self, over_at: int = 0) -> None:
        super().__init__(3600, "plan")
        self.over_at = over_at
        self.checks = 0
        self.longest = 0.0
        self._last = time.process_time()

    def check(self) -> None:
        self.note()
        self.checks += 1
        if 0 < self.over_at <= self.checks:
            raise self.exceeded()

    def note(self) -> None:
        now = time.process_time()
        self.longest, self._last = max(self.longest, now - self._last), now


class Silent(NetlinkBackend):
    """Calls a network manager that never answers, until its deadline."""

    name: ClassVar[str] = "silent"

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        deadline.wait()
        raise AssertionError("the wait ended")


def looked_at(run: RunDir, facts: Facts, deadline: Deadline, backend: str = "netlink") -> View:
    kernel: Any = Kernel()
    nothing = Environment(lambda _: None, lambda _: None, lambda _: ())
    config = Config(eni=EniSettings(backend=backend))
    engine = Engine(config, run, kernel, None, Plugins(), nothing)
    kinds = (NetlinkBackend, Silent)
    engine._backends = {kind.name: GuardedBackend(kind(Host(kernel, run))) for kind in kinds}
    indices: dict[Mac, list[int]] = {link.mac: [link.index] for link in facts.links if link.mac}
    reading = ImdsReading(facts.imds, indices, LastKnown())
    snapshot = Snapshot(facts.links)
    view = inspect(engine, deadline, snapshot=snapshot, reading=reading, attached={})
    around = engine.surroundings(view)
    for intent in view.host.ready:
        engine.check(intent, view, around, deadline)
    return view


def test_verification_ends_at_the_first_check_after_its_deadline(tmp_path: Path) -> None:
    """Wherever that is: each check of a small host is the first one once."""
    small = large_host(2, Each(2, 1))
    counted = Counted()
    looked_at(RunDir(tmp_path), small, counted)
    assert counted.checks > 2 * 2 * 2
    for over_at in range(1, counted.checks + 1):
        ended = Counted(over_at)
        with pytest.raises(DeadlineExceeded, match="plan did not end within"):
            looked_at(RunDir(tmp_path), small, ended)
        assert over_at <= ended.checks <= over_at + 1  # once more where a backend was interrupted


def test_no_step_of_the_largest_host_takes_half_a_second_of_cpu(tmp_path: Path) -> None:
    """64 ENIs with 100 addresses each, and the commands' output about them.

    The best of three: on a loaded machine the same step costs up to twice as much CPU.
    """
    assert min(_longest_step(tmp_path / str(run)) for run in range(3)) <= STEP


def _longest_step(place: Path) -> float:
    counted = Counted()
    view = looked_at(RunDir(place), large_host(64, Each(50, 50)), counted)
    assert counted.checks > 64 * 2
    text.plan(view.plan, view.host)
    counted.note()
    json.dumps([as_json.eni(outcome) for outcome in view.host.enis], indent=2)
    counted.note()
    return counted.longest


def test_a_silent_network_manager_costs_only_the_time_of_the_command(
    tmp_path: Path,
) -> None:
    with pytest.raises(DeadlineExceeded, match="plan did not end within"):
        looked_at(RunDir(tmp_path), large_host(2, Each(2)), Deadline(0.2, "plan"), "silent")
