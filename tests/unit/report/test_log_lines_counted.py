# SPDX-License-Identifier: Apache-2.0
"""A pass's message about many items of one kind: one line with a count."""

import logging
from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st
from large_host import Each, large_host

from ec2net.core.config.settings import Config
from ec2net.core.decide.compare import make_plan
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent
from ec2net.core.engine.pass_plan import View
from ec2net.core.live.render import Base, render
from ec2net.core.model.errors import DeadlineExceeded, KernelError
from ec2net.core.model.facts import Facts
from ec2net.core.model.finding import Finding
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, LinkRef
from ec2net.core.model.plan import Action, Change, Conflict, Failure, InPlace, Plan
from ec2net.core.model.problem_code import Code
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.log_lines import lines

FACTS: Facts = large_host(4, Each(8))
HOST: HostIntent = compute(FACTS, Config())
MACS = tuple(intent.mac for intent in HOST.ready)


def addresses(mac: Mac) -> list[Address]:
    eni = HOST.of(mac)
    assert eni is not None
    assert eni.intent is not None
    return [Address(eni.intent.link, interface) for interface in eni.intent.sources]


def report(**found: object) -> PassReport:
    return PassReport(HOST, Plan(), {}, **found)  # type: ignore[arg-type]


def test_a_pass_that_ran_out_of_time_logs_that_once() -> None:
    """Each ENI and IP version had a separate line before: 126 of them for 64 ENIs."""
    failed = tuple(
        Failure(Change(Action.ADD, address, mac), DeadlineExceeded("refresh did not end in 15 s"))
        for mac in MACS
        for address in addresses(mac)
    )
    (line,) = lines(report(failed=failed))
    assert line.level == logging.ERROR
    assert line.text == (
        "refresh did not end in 15 s: 32 changes of 4 ENIs were left out; the next pass makes them"
    )


def test_an_eni_that_ran_out_of_time_is_named() -> None:
    error = DeadlineExceeded("start did not end in 15 s")
    failed = tuple(Failure(Change(Action.ADD, a, MACS[1]), error) for a in addresses(MACS[1]))
    (line,) = lines(report(failed=failed))
    assert line.text == "ens6: start did not end in 15 s; 7 more changes were left out"
    assert line.mac == MACS[1]


def test_other_errors_are_logged_for_each_eni() -> None:
    failed = tuple(
        Failure(Change(Action.ADD, addresses(mac)[0], mac), KernelError("no", errno=1))
        for mac in MACS
    )
    assert [line.mac for line in lines(report(failed=failed))] == list(MACS)


TRAFFIC = (Code.FOREIGN_RULE, Code.DISCARDED)


@given(st.lists(st.tuples(st.sampled_from(MACS), st.sampled_from([*TRAFFIC, Code.VERIFY]))))
def test_findings_of_one_kind_are_one_line_with_their_count(kinds: list[tuple[Mac, Code]]) -> None:
    findings = tuple(Finding(mac, f"finding {n}", code) for n, (mac, code) in enumerate(kinds))
    said = lines(report(findings=findings))
    of_kind = {pair for pair in kinds if pair[1] in TRAFFIC}
    assert len(said) == len(of_kind) + sum(code is Code.VERIFY for _, code in kinds)
    for mac, kind in of_kind:
        count = kinds.count((mac, kind))
        first = next(found.text for found in findings if (found.mac, found.code) == (mac, kind))
        more = f"; and {count - 1} more like this" if count > 1 else ""
        ends = [line for line in said if line.mac == mac and line.text.endswith(f"{first}{more}")]
        assert [line.code for line in ends] == [kind]


def test_conflicts_of_one_kind_are_one_line_with_their_count() -> None:
    link = LinkRef(9, "other")
    conflicts = tuple(
        Conflict(MACS[1], address, Address(link, ip_interface("10.9.9.9/32")))
        for address in addresses(MACS[1])
    )
    (line,) = lines(PassReport(HOST, Plan(conflicts=conflicts), {}))
    assert line.text.endswith("; and 7 more like this")


def test_lines_are_grouped_by_eni_and_the_primary_is_first() -> None:
    snapshot = Snapshot(links=FACTS.links)
    wanted = {eni.mac: render(eni, HOST, snapshot, 236, Base.OURS) for eni in HOST.ready}
    changes = make_plan(wanted, InPlace()).changes
    assert HOST.ready[0].primary
    order = [(MACS.index(change.mac), change.item.rank) for change in changes if change.mac]
    assert order == sorted(order)
    assert len(order) == len(changes)


def test_the_backend_with_the_changes_of_the_primary_is_applied_first() -> None:
    plans = {
        str(n): Plan(tuple(Change(Action.ADD, one, mac) for one in addresses(mac)))
        for n, mac in enumerate((MACS[1], MACS[2], MACS[0]))
    }
    view = View(FACTS, Snapshot(links=FACTS.links), HOST, {}, plans, {})
    assert list(view.applicable(())) == ["2", "0", "1"]
    assert not view.applicable({MACS[1]})["0"]
