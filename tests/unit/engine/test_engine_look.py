# SPDX-License-Identifier: Apache-2.0
"""The engine's result for given facts."""

from collections.abc import Collection
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from eni_facts import eni, host, link, mac

from ec2net.backends.netlink.backend import NetlinkBackend
from ec2net.core.config.settings import Config, EniSection, EniSettings, Manage, Match
from ec2net.core.decide.intent import EniIntent, HostIntent, Standing
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.imds_reading import ImdsReading
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import Ec2netError, ExitStatus, StateError
from ec2net.core.model.facts import Link
from ec2net.core.model.objects import LinkRef, Route, RouteKind, Rule
from ec2net.core.model.plan import Action, Item
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.plugins.backend import Backend, Host, Observed
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import holds
from ec2net.core.state.holds import Hold
from ec2net.core.state.last_known import LastKnown
from ec2net.core.state.run_dir import RunDir

PROTOCOL = 236
FACTS = host(eni(0), eni(1))
INDICES = {mac(n): [link(n).index] for n in range(2)}


def engine_of(run: RunDir, config: Config, *third: type[Backend]) -> Engine:
    """On a host without any network manager. ``third``: foreign backends."""
    kernel: Any = SimpleNamespace(protocol=PROTOCOL)
    nothing = Environment(lambda path: None, lambda path: None, lambda path: ())
    engine = Engine(config, run, kernel, None, Plugins(), nothing)
    kinds: tuple[type[Backend], ...] = (NetlinkBackend, *third)
    made = {kind.name: kind(Host(kernel, run)) for kind in kinds}
    engine._backends = {name: GuardedBackend(backend) for name, backend in made.items()}
    return engine


def planned(
    run: RunDir, config: Config, snapshot: Snapshot, *third: type[Backend], **how: Any
) -> View:
    return seen_by(engine_of(run, config, *third), snapshot, **how)


def seen_by(engine: Engine, snapshot: Snapshot, **how: Any) -> View:
    reading = ImdsReading(FACTS.imds, INDICES, LastKnown())
    return engine.plan(Deadline(5), snapshot=snapshot, reading=reading, attached={}, **how)


@pytest.mark.parametrize("manage", list(Manage))
def test_a_former_removal_happens_whatever_the_policy_is_now(
    manage: Manage, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    made = planned(run, Config(), Snapshot(FACTS.links)).wanted[mac(1)]
    rules = tuple(Found(item, PROTOCOL) for item in made if isinstance(item, Rule))
    there = Snapshot(FACTS.links, rules=rules)
    without = frozenset({mac(1)})
    view = planned(
        run, Config(eni=EniSettings(manage=manage)), there, only=without, without=without
    )
    assert all(e.standing in (Standing.READY, Standing.IGNORED) for e in view.host.enis)
    changes = view.plan.without(view.observed_only).changes
    removed = {c.item for c in changes if c.action is Action.REMOVE}
    assert removed == {found.item for found in rules}


@pytest.mark.parametrize(("everything", "link_index"), [("0.0.0.0/0", 0), ("::/0", 1)])
def test_the_guard_of_a_table_belongs_to_its_eni_and_stays_in_a_pass_for_another(
    everything: str, link_index: int, tmp_path: Path
) -> None:
    """While its lease is pending. The removal preceded even the changes of the pass that waited for
    the lease."""
    metric, nowhere = 2**32 - 1, LinkRef(link_index, "none")
    guard = Route(ip_network(everything), 10001, metric, nowhere, kind=RouteKind.UNREACHABLE)
    snapshot = Snapshot(FACTS.links, routes=(Found(guard, PROTOCOL),))
    of_another = planned(RunDir(tmp_path), Config(), snapshot, only={mac(0)})
    assert guard not in [change.item for change in of_another.plan.changes]
    own = planned(RunDir(tmp_path), Config(), snapshot).plan.of(mac(1))
    assert own.changes[-1].item == guard
    assert own.changes[-1].action is Action.REMOVE


class Third(NetlinkBackend):
    """A backend with invalid items."""

    name: ClassVar[str] = "third"

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        anything: Any = ("address 10.0.1.4",)
        return tuple(anything)


def test_a_backend_with_invalid_items_affects_only_its_enis(tmp_path: Path) -> None:
    """The error ended each pass of the whole host with a traceback."""
    section = EniSection(Match(mac=(mac(1),)), {"backend": "third"})
    view = planned(RunDir(tmp_path), Config(sections=(section,)), Snapshot(FACTS.links), Third)
    assert {change.mac for change in view.plan.changes} == {mac(0)}
    (problem,) = view.problems
    assert str(problem).startswith("backend third: failed in wanted: AttributeError")


class Hanging(NetlinkBackend):
    """Which still hangs in an earlier call."""

    name: ClassVar[str] = "hanging"

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        raise Ec2netError("still hangs in apply")

    def check(self, intent: EniIntent, seen: Observed) -> tuple[str, ...]:
        raise Ec2netError("still hangs in apply")


def test_an_eni_whose_backend_could_not_observe_is_not_called_correct(tmp_path: Path) -> None:
    section = EniSection(Match(mac=(mac(1),)), {"backend": "hanging"})
    engine = engine_of(RunDir(tmp_path), Config(sections=(section,)), Hanging)
    view = seen_by(engine, Snapshot(FACTS.links))
    intent = next(one for one in view.host.ready if one.mac == mac(1))
    assert [str(problem) for problem in view.problems] == ["still hangs in apply"]
    (found,) = engine._by_backend(intent, view)
    assert found.text == "still hangs in apply"


def test_state_that_cannot_be_written_is_a_problem_of_the_pass(tmp_path: Path) -> None:
    """For example a full disk: the pass continues, and its exit status must not report success."""
    (tmp_path / "file").touch()
    run = RunDir(tmp_path / "file" / "run")
    engine = engine_of(run, Config(eni=EniSettings(manage=Manage.OBSERVE)))
    report = engine.apply(seen_by(engine, Snapshot(FACTS.links)), Deadline(5))
    (problem,) = report.problems
    assert isinstance(problem, StateError)
    assert report.exit_status is ExitStatus.FAILED


def test_an_eni_on_hold_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    engine = engine_of(RunDir(tmp_path), Config())
    fingerprint = seen_by(engine, Snapshot(FACTS.links)).fingerprint(mac(1))
    assert fingerprint is not None
    hold = Hold(fingerprint, "2026-11-28T19:02:00Z", "it cost the host IMDS", ())
    holds.write(engine.run, {mac(1): hold})
    view = seen_by(engine, Snapshot(FACTS.links))
    assert view.held == {mac(1): hold}
    (problem,) = view.problems
    assert problem.subject == "ens6"
    assert "it cost the host IMDS" in str(problem)
