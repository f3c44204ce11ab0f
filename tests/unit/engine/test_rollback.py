# SPDX-License-Identifier: Apache-2.0
"""Changes are rolled back, journals included, and the failing ENI is found."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from ec2net.backends.networkd import apply as networkd
from ec2net.backends.networkd.files import NetworkFile
from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.engine.reachability import Reached
from ec2net.core.engine.rollback import Trial
from ec2net.core.live.apply import apply
from ec2net.core.live.owned_file import HEADER
from ec2net.core.model.errors import KernelError, LinkGone
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import (
    Address,
    KernelObject,
    LinkRef,
    LinkSetting,
    Route,
    Rule,
    Setting,
)
from ec2net.core.model.plan import Action, Applied, Change, Failure, Plan
from ec2net.core.plugins.backend import Host
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.run_dir import RunDir

FIRST, SECOND, THIRD = (Mac(f"06:ec:02:00:00:0{n}") for n in range(3))
LINKS = {mac: LinkRef(n + 2, f"ens{n + 5}") for n, mac in enumerate((FIRST, SECOND, THIRD))}
HOST = HostIntent(tuple(EniOutcome(mac, Standing.READY, "", link) for mac, link in LINKS.items()))
ALL = Reached(imds=True, gateways=frozenset((4, 6)))
IMDS = Reached(imds=True)
NOTHING = Reached()


class Ways:
    """Reports lost targets, one answer after the other; the last one repeats."""

    def __init__(self, *lost: Reached) -> None:
        self._lost = list(lost)
        self.asked = 0

    def now(self, deadline: Deadline) -> Reached:
        return ALL

    def lost(self, before: Reached, deadline: Deadline) -> Reached:
        self.asked += 1
        return self._lost.pop(0) if len(self._lost) > 1 else self._lost[0]


class Kernel:
    """A set of objects by identity. It cannot mark addresses, as before Linux 5.18."""

    marks_addresses = False

    def __init__(self, *items: KernelObject) -> None:
        self.items = {item.identity: item for item in items}

    def add(self, item: KernelObject) -> None:
        self.items[item.identity] = item

    replace = add

    def addresses(self) -> frozenset[object]:
        return frozenset()

    def remove(self, item: KernelObject) -> None:
        self.items.pop(item.identity, None)


def outcome(
    run: RunDir, ways: Ways, kernel: Any, *changes: Change, after: float = 1
) -> tuple[PassReport, Trial]:
    """Apply and end the trial, as the engine does."""

    def make(plans: Mapping[str, Plan], deadline: Deadline) -> Applied:
        parts = [apply(plan, kernel, Journals(run), deadline) for plan in plans.values() if plan]
        done = tuple(c for part in parts for c in part.done)
        return Applied(done, tuple(f for part in parts for f in part.failed))

    anything: Any = ways
    trial = Trial.start(run, anything, HOST, after, Deadline(5))
    plans = {"netlink": Plan(changes)}
    applied = make(plans, Deadline(5))
    report = PassReport(HOST, Plan(changes), {}, done=applied.done, failed=applied.failed)
    return trial.end(plans, report, make, lambda mac: f"of {mac}", 5), trial


def setting(mac: Mac, kind: Setting, value: int | str) -> LinkSetting:
    return LinkSetting(LINKS[mac], kind, value)


def address(mac: Mac, text: str) -> Address:
    return Address(LINKS[mac], ip_interface(text))


def of(mac: Mac, action: Action, item: KernelObject, before: KernelObject | None = None) -> Change:
    return Change(action, item, mac, before)


def changes_of(mac: Mac) -> Iterator[Change]:
    """Changes of every kind, in a plan's order."""
    table = 10000 + list(LINKS).index(mac)
    route = Route(ip_network("0.0.0.0/0"), table, 0, LINKS[mac], ip_address("10.0.1.1"))
    yield of(mac, Action.REPLACE, setting(mac, Setting.MTU, 1500), setting(mac, Setting.MTU, 9001))
    yield of(mac, Action.REPLACE, setting(mac, Setting.GROUP, 236), setting(mac, Setting.GROUP, 0))
    yield of(mac, Action.ADD, setting(mac, Setting.ALTNAME, f"eni-{table}"))
    yield of(mac, Action.ADD, Rule(ip_network("10.0.1.9/32"), table, table))
    yield of(mac, Action.ADD, address(mac, "10.0.1.9/32"))
    yield of(mac, Action.REPLACE, route, replace(route, gateway=ip_address("10.0.1.254")))
    yield of(mac, Action.REMOVE, address(mac, "10.0.1.8/32"))
    yield of(mac, Action.REMOVE, Rule(ip_network("10.0.1.8/32"), table, table))
    yield of(mac, Action.REMOVE, setting(mac, Setting.ALTNAME, f"old-{table}"))


def before(*macs: Mac) -> Kernel:
    """The kernel that ``changes_of`` these ENIs starts from."""
    items = []
    for mac in macs:
        for change in changes_of(mac):
            if change.action is Action.REPLACE:
                items.append(change.before)
            elif change.action is Action.REMOVE:
                items.append(change.item)
    return Kernel(*(item for item in items if isinstance(item, KernelObject)))


def journal(run: RunDir, mac: Mac, *, mtu: int | None = None) -> None:
    """The state after an earlier pass, which added the items to be removed."""
    table = 10000 + list(LINKS).index(mac)
    settings = {} if mtu is None else {Setting.MTU: mtu}
    left = Journal(LINKS[mac].index, settings, {f"old-{table}"}, {ip_interface("10.0.1.8/32")})
    Journals(run).write(mac, left)


def files(run: RunDir) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


@pytest.mark.parametrize("mtu", [None, 8500], ids=["first change", "changed before"])
def test_rollback_restores_the_kernel_and_the_journal(run: RunDir, mtu: int | None) -> None:
    """With settings of the host, or of ec2net, and addresses that cannot be marked."""
    kernel = before(SECOND)
    journal(run, SECOND, mtu=mtu)
    items, stored = dict(kernel.items), files(run)
    changes = tuple(changes_of(SECOND))
    report, _ = outcome(run, Ways(IMDS, NOTHING), kernel, *changes)
    assert kernel.items == items
    assert files(run) == stored
    assert (report.done, report.undone) == ((), changes)
    assert report.held[SECOND].fingerprint == f"of {SECOND}"
    assert report.exit_status == 1


def test_a_setting_that_was_given_back_is_set_again(run: RunDir) -> None:
    given = setting(SECOND, Setting.MTU, 1500)
    kernel = Kernel(given)
    journal(run, SECOND, mtu=9001)
    stored = files(run)
    outcome(run, Ways(IMDS, NOTHING), kernel, of(SECOND, Action.REMOVE, given))
    assert kernel.items == {given.identity: given}
    assert files(run) == stored


def test_without_a_loss_nothing_is_rolled_back(run: RunDir) -> None:
    kernel, ways = before(SECOND), Ways(NOTHING)
    report, _ = outcome(run, ways, kernel, *changes_of(SECOND))
    assert ways.asked == 1
    assert (report.undone, report.held, report.problems) == ((), {}, ())
    assert len(report.done) == 9


def test_zero_seconds_turn_the_check_off(run: RunDir) -> None:
    ways = Ways(IMDS)
    report, trial = outcome(run, ways, before(SECOND), *changes_of(SECOND), after=0)
    assert (ways.asked, trial.reached, report.undone) == (0, NOTHING, ())


def test_a_loss_that_the_rollback_does_not_end_had_another_cause(run: RunDir) -> None:
    kernel = before(SECOND)
    items = dict(kernel.items)
    report, _ = outcome(run, Ways(ALL, IMDS), kernel, *changes_of(SECOND))
    assert kernel.items == items
    assert report.held == {}
    (problem,) = report.problems
    assert "IMDS is still unreachable" in str(problem)


def every(*macs: Mac) -> tuple[Change, ...]:
    found = [change for mac in macs for change in changes_of(mac)]
    return tuple(sorted(found, key=lambda change: change.action is Action.REMOVE))


@pytest.mark.parametrize(
    ("lost", "held"),
    [
        pytest.param([IMDS, NOTHING], {THIRD}, id="back with the first that is undone"),
        pytest.param([IMDS, IMDS, NOTHING], {SECOND}, id="with the second"),
        pytest.param([IMDS, IMDS, IMDS, NOTHING], {FIRST}, id="with the last"),
        pytest.param([IMDS, IMDS, IMDS, IMDS, NOTHING], {FIRST, SECOND, THIRD}, id="later"),
        pytest.param([IMDS, IMDS, NOTHING, IMDS], set(), id="not for long"),
    ],
)
def test_all_changes_are_rolled_back_and_their_eni_is_held(
    run: RunDir, lost: list[Reached], held: set[Mac]
) -> None:
    kernel = before(FIRST, SECOND, THIRD)
    items = dict(kernel.items)
    report, _ = outcome(run, Ways(*lost), kernel, *every(FIRST, SECOND, THIRD))
    assert kernel.items == items
    assert len(report.undone) == 27
    assert set(report.held) == held


def test_a_change_that_cannot_be_rolled_back_counts_as_made_and_is_reported(run: RunDir) -> None:
    kernel = before(SECOND)
    changes = tuple(changes_of(SECOND))
    old = address(SECOND, "10.0.1.8/32")
    kernel.items[old.identity] = old

    class Stubborn(Kernel):
        def add(self, item: KernelObject) -> None:
            if item == old:
                raise KernelError("refused")
            super().add(item)

        replace = add

    stubborn = Stubborn(*kernel.items.values())
    report, _ = outcome(run, Ways(IMDS, NOTHING), stubborn, *changes)
    assert of(SECOND, Action.REMOVE, old) in report.done
    assert "rollback failed: refused" in " ".join(map(str, report.problems))
    # The journal keeps items that may still be ec2net's.
    assert Journals(run).read(SECOND, LINKS[SECOND].index).altnames


def test_a_link_removed_meanwhile_needs_no_rollback(run: RunDir) -> None:
    gone = LinkGone("the link was removed")
    changes = tuple(changes_of(SECOND))

    def make(plans: Mapping[str, Plan], _: Deadline) -> Applied:
        steps = [step for plan in plans.values() for step in plan.changes]
        return Applied(failed=tuple(Failure(step, gone) for step in steps))

    anything: Any = Ways(IMDS, NOTHING)
    trial = Trial.start(run, anything, HOST, 1, Deadline(5))
    report = PassReport(HOST, Plan(changes), {}, done=changes)
    report = trial.end({"netlink": Plan(changes)}, report, make, str, 5)
    assert report.done == ()


def test_leftovers_of_detached_enis_are_not_restored(run: RunDir) -> None:
    leftover = Change(Action.REMOVE, Rule(ip_network("10.0.9.4/32"), 10009, 10009), None)
    kernel = before(SECOND)
    report, _ = outcome(run, Ways(IMDS, NOTHING), kernel, *changes_of(SECOND), leftover)
    assert report.done == (leftover,)
    assert len(report.undone) == 9


def test_files_for_networkd_get_their_content_back(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloads = []
    monkeypatch.setattr(networkd, "reload", lambda _: reloads.append(1))
    folder = tmp_path / "network"
    folder.mkdir()
    old, changed, new = (NetworkFile(folder / f"70-{n}.network", f"# {n}\n") for n in "abc")
    changes = (
        Change(Action.ADD, new, SECOND),
        Change(Action.REPLACE, replace(changed, content="# other\n"), SECOND, changed),
        Change(Action.REMOVE, old, SECOND),
    )
    for file in (old, changed):
        file.path.write_text(file.content)
    stored = files(RunDir(folder))

    def make(plans: Mapping[str, Plan], deadline: Deadline) -> Applied:
        (plan,) = plans.values()
        return networkd.apply(plan, Host(kernel, run), lambda *_: Applied(), {}, deadline)

    kernel: Any = Kernel()
    anything: Any = Ways(IMDS, NOTHING)
    trial = Trial.start(run, anything, HOST, 1, Deadline(5))
    plans = {"networkd": Plan(changes)}
    report = PassReport(HOST, plans["networkd"], {}, done=make(plans, Deadline(5)).done)
    assert files(RunDir(folder)) != stored
    report = trial.end(plans, report, make, str, 5)
    assert files(RunDir(folder)) == stored
    assert set(report.undone) == set(changes)
    assert len(reloads) == 2


def test_a_file_of_the_former_backend_returns_without_a_call_to_networkd(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its removal had no reload either: at networkd's next start the ENI would lack the file."""
    monkeypatch.setattr(networkd, "reload", lambda _: pytest.fail("a reload"))
    folder = tmp_path / "network"
    folder.mkdir()
    left = NetworkFile(folder / "70-ens6.network", f"{HEADER} ens6 {SECOND}\n")
    gone = NetworkFile(folder / "70-ens9.network", f"{HEADER} ens9 06:ec:02:00:00:09\n")
    for file in (left, gone):
        file.path.write_text(file.content)
    removals = tuple(Change(Action.REMOVE, file, None) for file in (left, gone))
    plans = {"netlink": Plan(tuple(changes_of(SECOND))), "networkd": Plan(removals)}
    kernel: Any = before(SECOND)

    def make(plans: Mapping[str, Plan], deadline: Deadline) -> Applied:
        lively = apply(plans["netlink"], kernel, Journals(run), deadline)
        files_ = networkd.apply(
            plans["networkd"], Host(kernel, run), lambda *_: Applied(), {}, deadline
        )
        return Applied((*lively.done, *files_.done), (*lively.failed, *files_.failed))

    anything: Any = Ways(IMDS, NOTHING)
    trial = Trial.start(run, anything, HOST, 1, Deadline(5))
    report = PassReport(HOST, Plan(), {}, done=make(plans, Deadline(5)).done)
    assert not left.path.exists()
    report = trial.end(plans, report, make, str, 5)
    assert left.path.read_text() == left.content
    assert (report.done, gone.path.exists()) == ((removals[1],), False)
    assert report.held[SECOND].changes[-1] == f"- file {left.path}"
