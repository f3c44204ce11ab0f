# SPDX-License-Identifier: Apache-2.0
"""Removals when an ENI's backend changes, and when nothing may be removed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
from eni_facts import eni, host, link, mac

from ec2net.core.config.settings import Config, EniSettings, MtuPolicy
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent, EniOutcome, HostIntent, Standing
from ec2net.core.engine.backend_plans import Wanted, add_leftovers, planned
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import Ec2netError, StateError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef, Rank
from ec2net.core.model.plan import Action, Applied, Change, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Backend, Goal, Host, Observed, Suitability
from ec2net.core.plugins.choose import Choice
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.report import text
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir


@dataclass(frozen=True)
class File:
    of: Mac

    rank = Rank.FILE

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.of,)

    def describe(self) -> str:
        return f"file of {self.of}"


@dataclass(frozen=True)
class Owning(File):
    @property
    def owner(self) -> Mac:
        return self.of


def outcome(n: int) -> EniOutcome:
    return EniOutcome(mac(n), Standing.READY, "", LinkRef(n + 2, f"ens{n + 5}"))


BOTH = (mac(1), mac(2))


class WithFiles(Backend):
    """Has made a file for ENI 1 and ENI 2."""

    name: ClassVar[str] = "with-files"
    broken = False

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        return Suitability(True, "")

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        return Observed(snapshot)

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        return ()

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        if self.broken:
            raise StateError("cannot read")
        return tuple(File(m) for m in (mac(1), mac(2)) if m in taken)

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        return Applied(plan.changes)


class Plain(WithFiles):
    """Has no items of its own."""

    name: ClassVar[str] = "plain"

    def leftovers(self, taken: Collection[Mac], mine: Collection[Mac]) -> tuple[Item, ...]:
        return ()


@pytest.fixture
def backends(tmp_path: object) -> dict[str, GuardedBackend]:
    host = Host(Kernel(236), RunDir())
    return {"with-files": GuardedBackend(WithFiles(host)), "plain": GuardedBackend(Plain(host))}


def chosen(*names: str | None) -> dict[Mac, Choice]:
    return {mac(n): Choice(name, ()) for n, name in enumerate(names, 1)}


def removed(plans: dict[str, Plan]) -> dict[str, list[Mac]]:
    return {
        name: [change.item.of for change in plan.changes if isinstance(change.item, File)]
        for name, plan in plans.items()
    }


@pytest.mark.parametrize(
    ("choices", "gone"),
    [
        pytest.param(chosen("with-files", "with-files"), {}, id="nothing changed"),
        pytest.param(chosen("plain", "with-files"), {"with-files": [mac(1)]}, id="one changed"),
        pytest.param(chosen("plain", "plain"), {"with-files": [mac(1), mac(2)]}, id="both"),
        pytest.param(chosen(None, None), {}, id="no backend at all: it may come back"),
        pytest.param(chosen("plain", None), {"with-files": [mac(1)]}, id="one of them has none"),
        pytest.param({}, {}, id="no ENI"),
    ],
)
def test_the_former_backend_plans_removals(
    backends: dict[str, GuardedBackend], choices: dict[Mac, Choice], gone: dict[str, list[Mac]]
) -> None:
    plans: dict[str, Plan] = {}
    assert list(add_leftovers(backends, choices, BOTH, plans)) == []
    assert removed(plans) == gone


@pytest.mark.parametrize("planned", [(), (mac(2),)])
def test_no_removal_is_planned_for_an_eni_that_the_new_backend_does_not_configure(
    backends: dict[str, GuardedBackend], planned: tuple[Mac, ...]
) -> None:
    """Ignored, pending, refused, or not of this pass: what it has stays."""
    plans: dict[str, Plan] = {}
    assert list(add_leftovers(backends, chosen("plain", "plain"), planned, plans)) == []
    assert removed(plans) == ({"with-files": [*planned]} if planned else {})


@pytest.mark.parametrize("of", [mac(1), None], ids=["said by the item", "not said"])
def test_a_removal_counts_as_a_change_of_its_eni(of: Mac | None) -> None:
    """The removal belongs to an ENI that is only observed, or held; and not to a detached one."""
    removal = Change(Action.REMOVE, Owning(mac(1)) if of else File(mac(1)), None)
    assert removal.whose == of
    plan, host_ = Plan((removal,)), HostIntent((outcome(1), outcome(2)))
    assert plan.without({mac(2)}).changes == plan.of(of).changes == (removal,)
    assert plan.without({mac(1)}).changes == (() if of else (removal,))
    assert ("left over from detached ENIs" in text.plan(plan, host_)) is (of is None)


def test_removals_follow_the_changes_of_the_new_backend(
    backends: dict[str, GuardedBackend],
) -> None:
    own = Change(Action.ADD, File(mac(9)), mac(2))
    plans = {"with-files": Plan((own,)), "plain": Plan((own,))}
    assert list(add_leftovers(backends, chosen("plain", "with-files"), BOTH, plans)) == []
    assert list(plans) == ["plain", "with-files"]
    assert plans["with-files"].changes == (own, Change(Action.REMOVE, File(mac(1)), None))


def test_a_former_backend_that_fails_is_a_problem_and_keeps_its_settings(
    backends: dict[str, GuardedBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WithFiles, "broken", True)
    plans: dict[str, Plan] = {}
    [problem] = add_leftovers(backends, chosen("plain", "plain"), BOTH, plans)
    assert isinstance(problem, Ec2netError)
    assert plans == {}


class Asked(Plain):
    """Records the MTU that it gets."""

    asked: ClassVar[list[object]] = []

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        self.asked.append((str(intent.link), intent.mtu))
        return ()


def test_no_backend_gets_an_mtu_that_the_device_refuses() -> None:
    """Whichever way a backend sets an MTU: by netlink, in a file for networkd, in a connection of
    NetworkManager."""
    Asked.asked.clear()
    whole = compute(host(eni(0), eni(1)), Config(eni=EniSettings(mtu=9001)))
    snapshot = Snapshot((link(0), link(1, mtu=1500, mtu_max=3498)))
    choices = {mac(n): Choice("asked", ()) for n in (0, 1)}
    backends = {"asked": GuardedBackend(Asked(Host(Kernel(236), RunDir())))}
    made = planned(whole, choices, backends, snapshot, Wanted(), Deadline(5))
    assert Asked.asked == [("ens5", 9001), ("ens6", MtuPolicy.KEEP)]
    (told,) = made.plans["asked"].conflicts
    assert (told.mac, bool(made.plans["asked"])) == (mac(1), False)
