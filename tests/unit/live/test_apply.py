# SPDX-License-Identifier: Apache-2.0
"""The effect of one failed change on others."""

import errno
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from ec2net.core.live.apply import Broken, apply
from ec2net.core.model.errors import ExitStatus, KernelError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import (
    Address,
    LinkRef,
    LinkSetting,
    Mark,
    ReplyMarks,
    Route,
    Rule,
    RuleAction,
    Setting,
)
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.journal import Journals
from ec2net.core.state.run_dir import RunDir

MAC = Mac.parse("06:ec:02:00:00:01")
OTHER = Mac.parse("06:ec:02:00:00:02")
LINK = LinkRef(1, "lo")
"""A link of this host, so that it exists."""

MTU = LinkSetting(LINK, Setting.MTU, 9600)
ACCEPT_RA = LinkSetting(LINK, Setting.ACCEPT_RA, 0)
GROUP = LinkSetting(LINK, Setting.GROUP, 236)
IPV4 = (
    Rule(ip_network("10.0.1.5/32"), 10001, 10001),
    Address(LINK, ip_interface("10.0.1.5/24")),
    Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address("10.0.1.1")),
)
IPV6 = (
    Rule(ip_network("2001:db8::5/128"), 10001, 10001),
    Address(LINK, ip_interface("2001:db8::5/128")),
    Route(ip_network("::/0"), 10001, 1024, LINK, ip_address("fe80:ec2::1")),
)


class FailingKernel:
    """Refuses some items; takes the others."""

    marks_addresses = True

    def __init__(self, refused: Any, code: int) -> None:
        self._refused = refused
        self._code = code

    def add(self, item: object) -> None:
        if item in self._refused:
            raise KernelError("refused", errno=self._code)

    replace = remove = add


def _failed(tmp_path: Path, refused: Any, code: int = errno.EINVAL) -> list[object]:
    plan = Plan(
        tuple(Change(Action.ADD, item, MAC) for item in (MTU, ACCEPT_RA, GROUP, *IPV4, *IPV6))
    )
    kernel: Any = FailingKernel(refused, code)
    applied = apply(plan, kernel, Journals(RunDir(tmp_path)), Deadline(5))
    assert len(applied.done) + len(applied.failed) == len(plan.changes)
    if code == errno.ENODEV:
        assert all(f.error.exit_status is ExitStatus.FAILED for f in applied.failed)
    return [failure.change.item for failure in applied.failed]


@pytest.mark.parametrize("setting", [MTU, ACCEPT_RA])
def test_a_setting_without_dependents_fails_alone(tmp_path: Path, setting: LinkSetting) -> None:
    """mtu = 9600 on a device that takes 9216 left the ENI without any address."""
    assert _failed(tmp_path, [setting]) == [setting]


def test_a_failure_of_ipv6_does_not_affect_ipv4(tmp_path: Path) -> None:
    assert _failed(tmp_path, [IPV6[1]]) == [*IPV6[1:]]


def test_a_failure_of_ipv4_does_not_affect_ipv6(tmp_path: Path) -> None:
    assert _failed(tmp_path, [IPV4[0]]) == [*IPV4]


def test_without_the_group_nothing_else_is_applied(tmp_path: Path) -> None:
    assert _failed(tmp_path, [GROUP]) == [GROUP, *IPV4, *IPV6]


def test_no_such_device_is_an_error_while_the_link_exists(tmp_path: Path) -> None:
    """The kernel also returns ENODEV where IPv6 is off; taken for a removed link it was no failure
    at all."""
    assert _failed(tmp_path, [IPV6[2]], errno.ENODEV) == [IPV6[2]]


def test_no_such_device_is_a_removed_link_when_the_link_is_missing(tmp_path: Path) -> None:
    """Its exit status is the one that units do not restart."""
    item = Route(ip_network("::/0"), 10001, 1024, LinkRef(2**30, "ens6"), ip_address("fe80::1"))
    kernel: Any = FailingKernel([item], errno.ENODEV)
    plan = Plan((Change(Action.ADD, item, MAC),))
    (failure,) = apply(plan, kernel, Journals(RunDir(tmp_path)), Deadline(5)).failed
    assert failure.error.exit_status is ExitStatus.LINK_GONE
    assert str(failure.error) == "ens6: the link was removed"


MARKS = ReplyMarks(LINK, 10001, Mark(1 << 20, 0xFFF << 20))
MARKED = Rule(ip_network("0.0.0.0/0"), 10001, 10001, mark=MARKS.mark)


@pytest.mark.parametrize(
    ("action", "items", "failed"),
    [
        (Action.REMOVE, (IPV4[0], MARKS, MARKED), [MARKS, MARKED]),
        (Action.ADD, (IPV4[0], MARKS, MARKED), [MARKS]),
    ],
    ids=["removed", "added"],
)
def test_the_rule_for_marked_packets_stays_only_where_the_marks_could_not_be_removed(
    tmp_path: Path, action: Action, items: tuple[object, ...], failed: list[object]
) -> None:
    """The rule shows a later pass that marks exist. Marks that cannot be set have no effect."""
    plan = Plan(tuple(Change(action, item, MAC) for item in items))  # type: ignore[arg-type]
    kernel: Any = FailingKernel([MARKS], errno.EPERM)
    applied = apply(plan, kernel, Journals(RunDir(tmp_path)), Deadline(5))
    assert [failure.change.item for failure in applied.failed] == failed


class Settings(FailingKernel):
    """Refuses nothing, and keeps the settings; the journal at that time is kept as well."""

    def __init__(self, journals: Journals) -> None:
        super().__init__([], 0)
        self._journals = journals
        self.made: list[tuple[object, dict[Setting, int]]] = []

    def add(self, item: object) -> None:
        self.made.append((item, self._journals.read(MAC, LINK.index).before))

    replace = remove = add


@pytest.mark.parametrize("setting", [Setting.MTU, Setting.GROUP, Setting.ACCEPT_RA])
def test_the_earlier_value_is_recorded_before_a_change_and_restored(
    tmp_path: Path, setting: Setting
) -> None:
    journals = Journals(RunDir(tmp_path))
    kernel: Any = Settings(journals)
    was, now, later = (LinkSetting(LINK, setting, value) for value in (1400, 1500, 1600))
    for wanted, present in ((now, was), (later, now)):
        change = Change(Action.REPLACE, wanted, MAC, before=present)
        apply(Plan((change,)), kernel, journals, Deadline(5))
    apply(Plan((Change(Action.REMOVE, later, MAC),)), kernel, journals, Deadline(5))
    journaled = {setting: 1400}
    assert kernel.made == [(now, journaled), (later, journaled), (was, journaled)]
    assert journals.read(MAC, LINK.index).empty


def test_a_table_is_complete_before_rules_lead_to_it_if_the_addresses_are_present(
    tmp_path: Path,
) -> None:
    """As where another tool served them until now: without the route a rule fails their traffic."""
    made: list[object] = []

    class Recording(FailingKernel):
        def add(self, item: object) -> None:
            made.append(item)

    rule, _, route = IPV4
    changes = tuple(Change(Action.ADD, item, MAC) for item in (GROUP, rule, route, *IPV6))
    kernel: Any = Recording((), 0)
    applied = apply(Plan(changes), kernel, Journals(RunDir(tmp_path)), Deadline(5))
    assert made == [GROUP, route, rule, *IPV6]
    assert applied.done == changes


def test_a_link_that_was_brought_up_stays_up(tmp_path: Path) -> None:
    journals = Journals(RunDir(tmp_path))
    kernel: Any = Settings(journals)
    up, down = (LinkSetting(LINK, Setting.UP, value) for value in (1, 0))
    change = Change(Action.REPLACE, up, MAC, before=down)
    apply(Plan((change,)), kernel, journals, Deadline(5))
    apply(Plan((Change(Action.REMOVE, up, MAC),)), kernel, journals, Deadline(5))
    assert kernel.made == [(up, {})]


def test_an_apply_compares_no_change_with_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 ENIs with 100 addresses each have 20,000 changes, and took 94 s of CPU."""
    compared = []
    equal = Change.__eq__

    def counted(self: Change, other: object) -> bool:
        compared.append(other)
        return equal(self, other)

    monkeypatch.setattr(Change, "__eq__", counted)
    rules = [Rule(ip_network(f"10.0.{n}.5/32"), 10001, 10001) for n in range(200)]
    plan = Plan(tuple(Change(Action.ADD, rule, MAC) for rule in rules))
    kernel: Any = FailingKernel([], errno.EINVAL)
    applied = apply(plan, kernel, Journals(RunDir(tmp_path)), Deadline(5))
    assert len(applied.done) == len(plan.changes)
    assert len(compared) < len(plan.changes)


EVERYTHING = ip_network("0.0.0.0/0")
SHARED = Rule(ip_network("10.0.0.0/16"), 22800, 0, action=RuleAction.GOTO, target=22900)
LEAF = Rule(ip_network("10.0.1.5/32"), 22900, 10001, action=RuleAction.GOTO, target=26926)
OF_ENI = Rule(EVERYTHING, 26927, 10001)
END = Rule(EVERYTHING, 29999, 0, action=RuleAction.NOP)


def test_without_a_rule_that_enis_share_the_tree_gets_none_and_the_earlier_rules_stay(
    tmp_path: Path,
) -> None:
    """The rules of an ENI in the tree are for all packets that reach them."""
    plan = Plan(
        (
            Change(Action.ADD, END, None),
            Change(Action.ADD, SHARED, None),
            Change(Action.ADD, OF_ENI, MAC),
            Change(Action.ADD, LEAF, OTHER),
            Change(Action.REMOVE, IPV4[0], MAC),
            Change(Action.REMOVE, IPV6[0], MAC),
        )
    )
    kernel: Any = FailingKernel({END}, errno.ENOMEM)
    made = apply(plan, kernel, Journals(RunDir(tmp_path)), Deadline(60, "apply"))
    assert [change.item for change in made.done] == [IPV6[0]]


def test_rules_that_lead_past_those_of_an_eni_stay_as_long_as_these(tmp_path: Path) -> None:
    removed = [(OF_ENI, MAC), (SHARED, None), (END, None), (IPV4[0], OTHER)]
    plan = Plan(tuple(Change(Action.REMOVE, item, mac) for item, mac in removed))
    kernel: Any = FailingKernel({OF_ENI}, errno.ENOMEM)
    broken: Broken = {}
    made = apply(plan, kernel, Journals(RunDir(tmp_path)), Deadline(60, "apply"), broken)
    assert [change.item for change in made.done] == [IPV4[0]]
    # the plan of another backend has the same removals
    of_other = Plan(plan.changes[1:])
    made = apply(of_other, kernel, Journals(RunDir(tmp_path)), Deadline(60, "apply"), broken)
    assert [change.item for change in made.done] == [IPV4[0]]
