# SPDX-License-Identifier: Apache-2.0
"""The definition of a foreign change, its record, and when it is logged again."""

import json
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_host import HOST, OURS, SECOND, SNAPSHOT, STATIC, default, intents, view
from eni_facts import link, mac

from ec2net.core.config.settings import Manage
from ec2net.core.engine import drift
from ec2net.core.engine.drift import STORY, follow, suspects
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.live.owned_file import OwnedFile
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, LaterAddress, LinkSetting, Setting
from ec2net.core.model.plan import Action, Change, Conflict, Plan
from ec2net.core.model.snapshot import Found
from ec2net.core.state import drift_record
from ec2net.core.state.drift_record import Drift, Drifts
from ec2net.core.state.memory import Memory
from ec2net.core.state.per_eni import keep_only
from ec2net.core.state.run_dir import RunDir

ENI = mac(1)
RULES = HOST.ready[1].rules
ROUTE = default(4, 10001, SECOND)
NOWHERE = Environment(lambda path: None, lambda path: None, lambda path: (), (), lambda _: ())
IFINDEX = SECOND.index


def missing(*items: Any) -> Plan:
    return Plan(tuple(Change(Action.ADD, item, ENI) for item in items))


class Host:
    """Passes over one ENI."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDir(folder)
        self.now = "2024-08-17T12:00:00Z"

    def look(
        self,
        plan: Plan | None = None,
        *,
        wanted: Any = RULES,
        made: bool = True,
        back: Collection[Mac] = (),
        **seen: Any,
    ) -> Drifts:
        """A pass that applies its plan, or does not."""
        plan = plan or Plan()
        seen = {"plans": {"netlink": plan}, "wanted": {ENI: tuple(wanted)}, **seen}
        return self.follow(view(**seen), plan.changes if made else (), back)

    def follow(
        self, seen: View, done: Collection[Change] = (), back: Collection[Mac] = ()
    ) -> Drifts:
        before = Memory.read(self.run)
        drifts, records = follow(replace(seen, memory=before), done, back, NOWHERE)
        replace(before, drift={**before.drift, **records}).write(self.run, before)
        return drifts

    def story(self) -> tuple[Drift, ...]:
        return Memory.read(self.run).drift_of(ENI, IFINDEX).story


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(drift, "now", lambda: made.now)
    return made


def test_only_an_item_that_was_in_place_and_is_still_intended_has_drifted(host: Host) -> None:
    first, second = RULES[:2]
    assert host.look(missing(first, second), wanted=(first, second)) == Drifts()  # the beginning
    assert host.look(missing(ROUTE), wanted=(first, second, ROUTE)) == Drifts()  # newly wanted
    gone = Plan((Change(Action.REMOVE, second, ENI),))
    assert host.look(gone, wanted=(first, ROUTE)) == Drifts()  # wanted no more
    assert host.look(missing(second), wanted=(first, second, ROUTE)) == Drifts()  # once more
    other = replace(ROUTE, metric=7)
    changed = Plan((Change(Action.REPLACE, other, ENI, before=ROUTE),))
    assert host.look(changed, wanted=(first, second, other)) == Drifts()  # wanted otherwise
    assert host.story() == ()
    back = Plan((Change(Action.REPLACE, other, ENI, before=ROUTE),))
    ((_, found),) = host.look(back, wanted=(first, second, other)).news
    assert found.what == (f"{other.describe()} differs ({ROUTE.describe()})",)
    assert (found.open, found.repair) == (False, drift_record.REPAIRED)
    assert host.story() == (found,)


def test_changes_of_a_killed_pass_count_as_in_place(host: Host) -> None:
    host.look(missing(RULES[0]), wanted=RULES[:1])
    host.look(wanted=RULES)  # the others are in place, and no pass logged that
    ((_, found),) = host.look(missing(RULES[1])).news
    assert found.what == (f"{RULES[1].describe()} is missing",)


def test_a_failed_change_does_not_count_as_in_place(host: Host) -> None:
    host.look(missing(*RULES), made=False)
    assert host.look(missing(*RULES)).news == ()
    ((_, found),) = host.look(missing(RULES[0]), made=False).news
    assert (found.open, found.times) == (True, 1)
    assert host.look(missing(RULES[0]), made=False).news == ()
    ((_, found),) = host.look(missing(RULES[0])).news
    assert (found.open, found.repair, found.times) == (False, drift_record.REPAIRED, 1)


def test_a_moved_address_counts_as_in_place(host: Host) -> None:
    interface = HOST.ready[1].base[0]
    moved, there = LaterAddress(SECOND, interface), Address(SECOND, interface)
    move = Plan((Change(Action.REPLACE, moved, ENI, before=there),))
    for _ in range(2):  # a new lease is no foreign change
        assert host.look(move, wanted=(moved,)) == Drifts()
    assert len(host.look(missing(there), wanted=(there,)).news) == 1


def test_changes_that_follow_a_rewritten_file_are_not_drift(host: Host) -> None:
    file = OwnedFile(Path("/run/a"), "b")
    host.look(missing(*RULES, file), wanted=(*RULES, file))
    host.now = "2024-08-17T12:01:00Z"
    assert host.look(missing(RULES[0]), wanted=(*RULES, file)) == Drifts()
    host.now = "2024-08-17T12:02:00Z"
    assert len(host.look(missing(RULES[0]), wanted=(*RULES, file)).news) == 1


def test_after_a_rollback_the_earlier_items_count_as_in_place(host: Host) -> None:
    first, second = RULES[:2]
    host.look(missing(first), wanted=(first,))
    host.look(missing(second), wanted=(second,), made=False, back=[ENI])
    ((_, found),) = host.look(missing(first), wanted=(first,)).news
    assert found.what == (f"{first.describe()} is missing",)


def test_a_restored_item_ends_its_drift(host: Host) -> None:
    host.look(missing(*RULES))
    host.look(missing(RULES[0]), made=False)
    ((_, found),) = host.look().news
    assert not found.open
    assert found.log_text() == f"resolved: {RULES[0].describe()} is missing"
    assert host.look().news == ()


def test_repeated_drift_is_counted_and_logged_again_after_a_while(host: Host) -> None:
    host.look(missing(*RULES))
    taken = missing(RULES[0])
    assert len(host.look(taken).news) == 1
    host.now = "2024-08-17T12:05:00Z"
    assert host.look(taken).news == ()
    assert len(host.look(missing(RULES[1])).news) == 1
    host.now = "2024-08-17T12:14:00Z"
    assert host.look(taken).news == ()  # nine minutes after the last one
    host.now = "2024-08-17T12:24:01Z"
    ((_, found),) = host.look(taken).news
    assert (found.times, found.noticed) == (4, "2024-08-17T12:00:00Z")
    assert len(host.story()) == 2
    assert host.story()[-1] == found


def test_the_history_has_a_limit(host: Host) -> None:
    routes = [default(4, 20000 + n, SECOND) for n in range(3 * STORY)]
    host.look(missing(*routes), wanted=routes)
    for route in routes:
        host.look(missing(route), wanted=routes)
    assert len(host.story()) == STORY
    ((_, all_of_them),) = host.look(missing(*routes), wanted=routes).news
    assert len(all_of_them.what) == drift.SHOWN
    assert f"; and {len(routes) - drift.SHOWN} more: repaired" in all_of_them.describe()


def test_an_eni_without_a_plan_has_no_news(host: Host) -> None:
    host.look(missing(*RULES))
    host.look(missing(RULES[0]))
    before = host.story()
    host.follow(view(plans={"netlink": missing(RULES[1])}))
    assert host.story() == before


def test_removals_by_ec2net_are_not_drift(host: Host) -> None:
    host.look(missing(*RULES))
    host.look(missing(RULES[0]))
    host.follow(view(without=frozenset({ENI})))
    assert host.look(missing(*RULES)).news == ()
    assert len(host.story()) == 1


def test_drift_of_an_observed_eni_is_reported_as_long_as_it_lasts(host: Host) -> None:
    observed: dict[str, Any] = {
        "observed_only": frozenset({ENI}),
        "host": intents(manage=Manage.OBSERVE),
    }
    ((_, found),) = host.look(missing(*RULES[:2]), made=False, **observed).news
    assert (found.open, found.repair) == (True, drift_record.OBSERVED)
    assert host.look(missing(*RULES[:2]), made=False, **observed).news == ()
    ((_, found),) = host.look(missing(RULES[0]), made=False, **observed).news
    assert [one.open for one in host.story()] == [False, True]
    ((_, found),) = host.look(**observed).news
    assert found.log_text().startswith("resolved: ")


def test_a_record_of_another_attachment_or_of_no_form_counts_as_absent(host: Host) -> None:
    host.look(missing(*RULES))
    host.look(missing(RULES[0]))
    assert Memory.read(host.run).drift_of(ENI, IFINDEX + 1).story == ()
    (file,) = (host.run.path / "drift").iterdir()
    good = json.loads(file.read_text())
    bad: list[Any] = [
        [],
        {**good, "story": [{}]},
        {**good, "story": None},
        {**good, "in_place": 7},
        {**good, "given": "once"},
        {**good, "story": [{**good["story"][0], "last": "yesterday"}]},
        {**good, "story": [{**good["story"][0], "last": ""}]},
        {**good, "story": [{**good["story"][0], "last": "2026-11-22T06:59:57"}]},  # no zone
        {**good, "story": [{**good["story"][0], "times": "often"}]},
        {**good, "story": [{**good["story"][0], "open": 1}]},
        {**good, "intended": math.inf},
    ]
    for data in bad:
        file.write_text(json.dumps(data))
        assert host.story() == ()
        host.look(missing(RULES[0]))
        assert host.story() == ()
    keep_only(host.run, [ENI])
    assert file.exists()
    keep_only(host.run, [])
    assert not file.exists()


def test_an_eni_without_items_in_place_has_no_record(host: Host) -> None:
    host.look(wanted=())
    assert host.run.folders() == ()


def test_a_pass_without_news_writes_nothing(host: Host) -> None:
    host.look(missing(*RULES))
    host.look(missing(RULES[0]))
    (file,) = (host.run.path / "drift").iterdir()

    def written() -> tuple[int, int]:
        """Except its access time, which reading may set (mount(8), "relatime")."""
        return file.stat().st_ino, file.stat().st_mtime_ns

    before = written()
    host.now = "2024-08-18T12:00:00Z"
    assert host.look().latest[ENI].times == 1
    assert written() == before


UNITS = "/run/systemd/units/invocation:"


@pytest.mark.parametrize(
    ("drifted", "known"),
    [
        (missing(ROUTE), ()),
        (
            Plan((Change(Action.REPLACE, LinkSetting(SECOND, Setting.UP, 1), ENI, before=ROUTE),)),
            ("ens6 was set down, which removed its routes",),
        ),
        (
            Plan(conflicts=(Conflict(ENI, ROUTE, replace(ROUTE, metric=9)),)),
            ("the object in its place has protocol 4 (static)",),
        ),
        (
            Plan(conflicts=(Conflict(ENI, ROUTE, replace(ROUTE, metric=8)),)),
            ("the object in its place has protocol 99",),
        ),
    ],
)
def test_the_log_names_the_known_author_of_a_change(drifted: Plan, known: tuple[str, ...]) -> None:
    routes = (Found(replace(ROUTE, metric=9), STATIC), Found(replace(ROUTE, metric=8), 99))
    snapshot = replace(SNAPSHOT, routes=(Found(ROUTE, OURS), *routes))
    assert suspects(drifted, link(1), snapshot, NOWHERE) == known
    files = {
        f"/run/systemd/netif/links/{IFINDEX}": "ADMIN_STATE=configured",
        "/etc/netplan/a.yaml": "",
    }
    links = {f"{UNITS}systemd-networkd.service": "1", f"{UNITS}policy-routes@ens6.service": "2"}
    folders = {"/run/systemd/units": ("invocation:policy-routes@ens6.service",)}
    busy = Environment(files.get, links.get, lambda path: folders.get(path, ()), (), lambda _: ())
    assert suspects(drifted, link(1), snapshot, busy) == (
        *known,
        "ens6 is managed by systemd-networkd",
        "amazon-ec2-net-utils: policy-routes@ens6.service is active or enabled",
    )
