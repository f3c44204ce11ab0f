# SPDX-License-Identifier: Apache-2.0
"""Results of the daemon's passes: polls that IMDS did not answer, and repairs."""

from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.core.config.files import LoadedConfig
from ec2net.core.config.settings import Config
from ec2net.core.daemon import passes as module
from ec2net.core.daemon.passes import Passes
from ec2net.core.daemon.published import Published
from ec2net.core.daemon.schedule import Kind, Schedule, Work
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import Standing
from ec2net.core.model.errors import Ec2netError, ImdsError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Rule
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.status_file import Outcome
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir

SILENT = ImdsError("no IMDS endpoint answers")
WELL: tuple[Ec2netError, ...] = ()
GONE, THERE = mac(1), mac(0)


class Manager:
    """Passes with the test's results, and their reports to the schedule."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = RunDir(folder)
        place = Workplace(run, LoadedConfig(Config()))
        self._report = PassReport(compute(host(eni(0), links=(link(0),)), Config()), Plan(), {})
        monkeypatch.setattr(module, "one_pass", lambda *_, **__: Outcome(self._report, {}, {}))
        self.failures: list[int] = []
        """The reports after each poll."""
        self.repairs = 0
        schedule = Schedule(place.config.resident, 0.0, lambda low, high: low)
        monkeypatch.setattr(
            schedule, "polled", lambda _, *, failures, quiet: self.failures.append(failures)
        )
        monkeypatch.setattr(schedule, "repaired", self._repaired)
        engine: Any = SimpleNamespace(new_pass=lambda: None, listings=None)
        signals: Any = SimpleNamespace(deadline=None)
        control: Any = SimpleNamespace(answer=lambda document: None)
        self.passes = Passes(place, engine, signals, schedule, control, Published(run))

    def _repaired(self, _: float) -> None:
        self.repairs += 1

    def poll(self, problems: tuple[Ec2netError, ...]) -> None:
        self._do(Kind.POLL, problems=problems)

    def look(self, of: Mac) -> None:
        """A pass that removes a rule of this ENI."""
        rule = Rule(ip_network("10.0.1.4/32"), 10001, 10001)
        self._do(Kind.LOOK, done=(Change(Action.REMOVE, rule, of),))

    def refuse(self, of: Mac) -> None:
        """Let the passes refuse this ENI from now on."""
        host = self._report.host.without({of: "another tool has it"}, Standing.REFUSED)
        self._report = PassReport(host, Plan(), {})

    def _do(self, kind: Kind, **values: Any) -> None:
        whole = self._report
        self._report = PassReport(whole.host, whole.plan, whole.choices, **values)
        self.passes.do(Work(kind))


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    return Manager(tmp_path, monkeypatch)


def test_failed_polls_are_counted_until_imds_answers(manager: Manager) -> None:
    """The schedule waits longer after each of them, and boot is not called ready."""
    for problems in ((SILENT,), (SILENT,), WELL, (Ec2netError("the disk is full"),), (SILENT,)):
        manager.poll(problems)
    assert manager.failures == [1, 2, 0, 0, 1]
    assert manager.passes.failures == 1


def test_a_refused_primary_is_still_the_primary(manager: Manager) -> None:
    """The loop reports READY when the primary has an answer. Boot waited 30 s for it before."""
    manager.refuse(mac(0))
    manager.poll(WELL)
    assert manager.passes.primary == mac(0)
    assert manager.passes.tracks[mac(0)].settled is False


def test_changes_of_the_first_pass_for_a_detached_eni_are_no_repair(
    manager: Manager,
) -> None:
    manager.passes.link_left(mac(1))
    manager.look(GONE)
    assert manager.repairs == 0


def test_any_change_to_an_attached_eni_is_a_repair(manager: Manager) -> None:
    manager.passes.link_left(mac(1))
    manager.look(THERE)
    assert manager.repairs == 1


def test_only_the_first_pass_after_a_detach_is_excused(manager: Manager) -> None:
    """A conflict over the rules of a detached ENI must use up the budget of repairs."""
    manager.passes.link_left(mac(1))
    manager.look(GONE)
    manager.look(GONE)
    assert manager.repairs == 1
