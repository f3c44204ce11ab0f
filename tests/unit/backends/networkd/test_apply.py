# SPDX-License-Identifier: Apache-2.0
"""Live changes around a lease: each is made once, and none is compared with all others."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eni_facts import mac

from ec2net.backends.networkd import files
from ec2net.backends.networkd.apply import apply, apply_while_down
from ec2net.backends.networkd.files import NetworkFile
from ec2net.backends.networkd.lease import Lease
from ec2net.backends.networkd.unread import UnreadFiles
from ec2net.core.live.owned_file import HEADER
from ec2net.core.model.objects import Address, LinkRef, Route
from ec2net.core.model.plan import Action, Applied, Change, Item, Plan
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

LINK, FIRST = LinkRef(3, "ens6"), IPv4Address("10.0.1.4")


def changes(count: int) -> tuple[Change, ...]:
    """Addresses of an ENI and a route that prefers its first one, which is not there."""
    items: list[Item] = [
        Address(LINK, IPv4Interface((int(FIRST) + n, 32))) for n in range(1, count)
    ]
    items.append(Route(IPv4Interface("10.0.1.0/24").network, 10001, 0, LINK, source=FIRST))
    return tuple(Change(Action.ADD, item, mac(1)) for item in items)


def test_changes_that_await_a_lease_are_found_without_comparing_each_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = SimpleNamespace(addresses=frozenset)
    host: Any = SimpleNamespace(kernel=kernel, run=RunDir(tmp_path), patience=0.0)
    leases = {mac(1): Lease(LINK, FIRST, ours=False)}
    compared = 0

    def equal(self: Change, other: object) -> bool:
        nonlocal compared
        compared += 1
        return self is other

    plan = Plan((*changes(400), Change(Action.ADD, Address(LINK, IPv4Interface("10.9.9.9")), None)))
    monkeypatch.setattr(Change, "__eq__", equal)
    made: list[Change] = []

    def live(part: Plan, _: Any) -> Applied:
        made.extend(part.changes)
        return Applied(part.changes)

    applied = apply(plan, host, live, leases, Deadline(5))
    assert compared <= len(plan.changes)
    assert len(made) == len(applied.done) == len(plan.changes)
    assert made[0] is plan.changes[-1]


def test_while_networkd_is_down_no_reload_starts_it_and_the_file_counts_as_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have stopped networkd; it may also have read its files before this file
    existed."""
    monkeypatch.setattr(files, "write", lambda file: None)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a command was run"))
    run = RunDir(tmp_path)
    guards: list[object] = []
    kernel = SimpleNamespace(replace=guards.append, remove=guards.append)
    host: Any = SimpleNamespace(kernel=kernel, run=run, patience=0.0)
    file = NetworkFile(tmp_path / "70-ens6.network", f"{HEADER} ens6 {mac(1)}\n")
    table = Route(IPv4Interface("0.0.0.0/0").network, 10001, 0, LINK)
    plan = Plan((Change(Action.ADD, file, mac(1)), Change(Action.ADD, table, mac(1))))
    applied = apply_while_down(plan, host, lambda part, _: Applied(part.changes), Deadline(5))
    assert applied == Applied(plan.changes)
    assert [unread.path for unread in UnreadFiles(run).all()] == [file.path]
    assert len(guards) == 2  # put before, lifted after
