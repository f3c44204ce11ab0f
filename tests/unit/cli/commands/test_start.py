# SPDX-License-Identifier: Apache-2.0
"""``start``: what its work on a link watches, and how many passes it takes."""

import os
from argparse import Namespace
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.core.cli.commands import start
from ec2net.core.config.files import LoadedConfig
from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.kernel import link_events
from ec2net.core.model.errors import Ec2netError, ExitStatus, LinkGone, NotYet
from ec2net.core.model.finding import Finding
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Rule
from ec2net.core.model.plan import Action, Change, Failure, Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.status_file import Outcome
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir


def test_start_ends_when_the_link_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback represents the link; then its name leads to another link."""
    worked: list[str] = []

    def configure(name: str, place: object, deadline: Deadline, options: Namespace) -> ExitStatus:
        worked.append(name)
        deadline.check()
        monkeypatch.setattr(link_events, "link_index", lambda _: 7)
        for interruption in deadline.interruptions:
            interruption.check()
        return ExitStatus.DONE

    monkeypatch.setattr(start, "_configure", configure)
    options = Namespace(
        primary=False,
        link="lo",
        timeout=5.0,
        run_dir=tmp_path / "state",
        config_root=tmp_path,
    )
    with pytest.raises(LinkGone, match="lo: the link was removed"):
        start.run(options)
    assert worked == ["lo"]


WHOLE = compute(host(eni(0), eni(1), links=(link(0), link(1, index=1))), Config())
"""The second ENI's link has the loopback's index, so that the link exists."""
PENDING = WHOLE.without({mac(1): "device-number is still 0"}, Standing.PENDING)
RULES = [
    Change(Action.ADD, Rule(ip_network(f"10.0.1.{n}/32"), 10001, 10001), mac(1)) for n in range(9)
]


def report(whole: HostIntent = WHOLE, **values: Any) -> PassReport:
    return replace(PassReport(whole, Plan(), {mac(1): "netlink"}), **values)


ASTRAY = report(findings=(Finding(mac(1), "traffic is misrouted"),))
LATE = report(failed=(Failure(RULES[0], NotYet("its first address was not leased")),))


class Start:
    """``start`` of the second ENI, whose passes return the given results; the last one repeats."""

    def __init__(self, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place = Workplace(run, LoadedConfig(Config()))
        self._monkeypatch = monkeypatch
        self.checked: list[bool] = []
        """For each pass, whether it verifies without a change."""
        self.said: tuple[Change, ...] = ()

    def __call__(self, *reports: PassReport, seconds: float = 20.0) -> ExitStatus:
        left = list(reports)

        def one_pass(*_: object, check: Collection[Mac] = (), **__: object) -> Outcome:
            self.checked.append(mac(1) in check)
            return Outcome(left.pop(0) if len(left) > 1 else left[0], {}, {})

        def tell(outcome: Outcome) -> None:
            self.said = outcome.report.done

        self._monkeypatch.setattr("ec2net.core.engine.one_pass.one_pass", one_pass)
        self._monkeypatch.setattr("ec2net.core.report.log_lines.report", tell)
        engine: Any = SimpleNamespace(new_pass=lambda: None)
        options = Namespace(json=False)
        return start._passes("ens6", mac(1), self._place, engine, Deadline(seconds), options)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(RunDir(tmp_path), monkeypatch)


def test_an_eni_with_complete_facts_takes_one_pass(started: Start) -> None:
    assert started(report(done=(RULES[0],))) is ExitStatus.DONE
    assert (started.checked, started.said) == ([True], (RULES[0],))


def test_start_awaits_complete_facts_and_then_logs_all_changes(
    started: Start,
) -> None:
    first, last = report(PENDING, done=(RULES[0],)), report(done=(RULES[1],))
    assert started(first, LATE, last) is ExitStatus.DONE
    assert (started.checked, started.said) == ([True] * 3, (RULES[0], RULES[1]))


def test_an_eni_that_is_pending_at_the_deadline_is_an_error_with_its_reason(
    started: Start,
) -> None:
    with pytest.raises(Ec2netError, match="device-number is still 0") as caught:
        started(report(PENDING), seconds=0.3)
    assert caught.value.subject == "ens6"
    assert len(started.checked) > 1


def test_a_late_network_manager_is_a_failure_of_the_pass(
    started: Start,
) -> None:
    assert started(LATE, seconds=0.3) is ExitStatus.FAILED
    assert len(started.checked) > 1


def test_misrouted_traffic_is_verified_again_and_may_resolve(started: Start) -> None:
    """The router's advertisement may arrive seconds after the leases."""
    assert started(ASTRAY, ASTRAY, report()) is ExitStatus.DONE
    assert started.checked == [True] * 3


def test_lasting_misrouted_traffic_is_a_failure_long_before_the_deadline(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "SETTLE_SECONDS", 0.3)
    assert started(ASTRAY, seconds=3600.0) is ExitStatus.FAILED
    assert started.checked[:2] == [True, True]
    assert len(started.checked) <= 5  # every 0.1 s, until the first of them is 0.3 s ago


def test_a_removed_link_has_an_exit_status_of_its_own(started: Start) -> None:
    gone = report(failed=(Failure(RULES[0], LinkGone("the link was removed")),))
    assert started(gone) is ExitStatus.LINK_GONE
    elsewhere = compute(host(eni(0), eni(1), links=(link(0), link(1, index=2**30))), Config())
    assert started(report(elsewhere)) is ExitStatus.LINK_GONE


class Event:
    """One event of some link; ``gone``: start's own link was removed."""

    def __init__(self, *, gone: bool) -> None:
        self._gone = gone
        self._descriptor = os.eventfd(1)

    def fileno(self) -> int:
        return self._descriptor

    def check(self) -> None:
        os.close(self._descriptor)
        if self._gone:
            raise LinkGone("the link was removed", subject="ens6")


@pytest.mark.parametrize("gone", [True, False])
def test_a_link_removed_before_its_driver_is_read_counts_as_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """Units do not start again for a removed link; a wrong driver is an error that a user must
    read."""
    engine = SimpleNamespace(kernel=SimpleNamespace(links=tuple), config=Config())
    monkeypatch.setattr("ec2net.core.engine.setup.opened", lambda *_, **__: nullcontext(engine))
    place = Workplace(RunDir(tmp_path), LoadedConfig(Config()))
    deadline = Deadline(60, interruptions=[Event(gone=gone)])
    with pytest.raises(Ec2netError) as caught:
        start._configure("ens6", place, deadline, Namespace(json=False))
    assert isinstance(caught.value, LinkGone) is gone
    told = "the link was removed" if gone else "is not an ENI: its driver is not one of ena"
    assert str(caught.value).startswith(f"ens6: {told}")
