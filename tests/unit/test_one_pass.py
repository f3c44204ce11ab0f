# SPDX-License-Identifier: Apache-2.0
"""One pass: IMDS is read before the host lock is taken, and each end of the pass is published."""

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ec2net.core.config.settings import Config
from ec2net.core.decide.intent import HostIntent
from ec2net.core.engine.one_pass import one_pass
from ec2net.core.model.errors import Ec2netError, LinkGone, StateError, Stopped
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.lock import HostLock
from ec2net.core.state.run_dir import RunDir

REPORT = PassReport(HostIntent(()), Plan(), {})


class Publisher:
    def __init__(self) -> None:
        self.told: list[object] = []

    def publish(self, report: PassReport, only: Collection[Mac] | None) -> str:
        self.told.append(report)
        return "published"

    def publish_failure(self, error: Ec2netError) -> None:
        self.told.append(error)


class Engine:
    """Notes which steps find the host lock taken."""

    def __init__(self, run: RunDir, **raising: Exception) -> None:
        self.config = Config()
        self.run = run
        self.raising = raising
        self.locked: dict[str, bool] = {}

    def _step(self, name: str) -> None:
        try:
            with HostLock(self.run, Deadline(0)):
                self.locked[name] = False
        except Ec2netError:
            self.locked[name] = True
        if name in self.raising:
            raise self.raising[name]

    def ask(self, deadline: Deadline, only: object) -> Any:
        self._step("ask")
        return SimpleNamespace()

    def run_pass(self, deadline: Deadline, only: object, **_: Any) -> PassReport:
        self._step("run_pass")
        return REPORT


def run(engine: Any, publisher: Publisher) -> str:
    return one_pass(engine, publisher, Deadline, "test", lock_seconds=0.0)


def test_imds_is_read_before_the_lock_and_the_rest_is_under_it(tmp_path: Path) -> None:
    engine, publisher = Engine(RunDir(tmp_path)), Publisher()
    assert run(engine, publisher) == "published"
    assert engine.locked == {"ask": False, "run_pass": True}
    assert publisher.told == [REPORT]


@pytest.mark.parametrize("step", ["ask", "run_pass"])
def test_a_pass_that_fails_as_a_whole_is_published_once(tmp_path: Path, step: str) -> None:
    error = StateError("full")
    engine, publisher = Engine(RunDir(tmp_path), **{step: error}), Publisher()
    with pytest.raises(StateError):
        run(engine, publisher)
    assert publisher.told == [error]


def test_a_host_lock_that_another_process_holds_is_published(tmp_path: Path) -> None:
    directory, publisher = RunDir(tmp_path), Publisher()
    with HostLock(directory, Deadline(1)), pytest.raises(Ec2netError) as caught:
        run(Engine(directory), publisher)
    assert publisher.told == [caught.value]


@pytest.mark.parametrize("end", [Stopped("SIGTERM"), LinkGone("went")])
def test_a_pass_that_was_stopped_or_whose_link_went_is_no_failure(
    tmp_path: Path, end: Ec2netError
) -> None:
    publisher = Publisher()
    with pytest.raises(type(end)):
        run(Engine(RunDir(tmp_path), run_pass=end), publisher)
    assert publisher.told == []
