# SPDX-License-Identifier: Apache-2.0
"""The end of a pass: applied changes, verification, and the exit status."""

import errno
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.backends.netlink.backend import NetlinkBackend
from ec2net.core.config.settings import Config, EniSettings, Manage
from ec2net.core.decide.intent import EniIntent, EniOutcome
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.imds_reading import ImdsReading
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import RouteAnswer
from ec2net.core.model.errors import DeadlineExceeded, Ec2netError, ExitStatus, KernelError
from ec2net.core.model.facts import Value
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.objects import AnyAddress, KernelObject, LinkSetting, Rule, Setting
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Host, Observed
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.holds import Hold
from ec2net.core.state.last_known import LastKnown
from ec2net.core.state.memory import Memory
from ec2net.core.state.run_dir import RunDir

FACTS = host(eni(0), eni(1), links=(replace(link(0), index=2), replace(link(1), index=1)))
"""The second ENI's link has the loopback's index, so that the link exists."""
OTHER = 2


class Kernel:
    """Takes every change. Traffic leaves by the ENI that has its source, or all by one link."""

    protocol = 236
    marks_addresses = True

    def __init__(self, leaves_by: int | None) -> None:
        self._leaves_by = leaves_by
        self.made: list[KernelObject] = []
        self.refuses: Setting | None = None
        self.state: int | None = None
        self.lookups = 0

    def add(self, item: KernelObject) -> None:
        if isinstance(item, LinkSetting) and item.setting is self.refuses:
            raise KernelError("refused", errno=errno.EINVAL)
        self.made.append(item)

    replace = remove = add

    def snapshot(self, drivers: Iterable[str], subnets: object = ()) -> Snapshot:
        return Snapshot(FACTS.links, state=self.state)

    def route_of(self, *_: object, **__: int) -> None:
        return None

    def lookup(
        self, destination: AnyAddress, source: AnyAddress | None = None, **_: int
    ) -> RouteAnswer:
        self.lookups += 1
        held = dict.fromkeys(_addresses(0), 2) | dict.fromkeys(_addresses(1), 1)
        link = self._leaves_by if source is None or self._leaves_by is not None else held[source]
        return RouteAnswer(link or 0, None, None, 254)


def _addresses(number: int) -> tuple[AnyAddress, ...]:
    found = eni(number)
    assert isinstance(found.local_ipv4s, Value)
    assert isinstance(found.ipv6s, Value)
    return (*found.local_ipv4s.value, *found.ipv6s.value)


class Pass:
    """An engine on a host without any network manager, and its observation."""

    def __init__(
        self, run: RunDir, *, leaves_by: int | None = None, manage: Manage = Manage.FULL
    ) -> None:
        self.kernel = Kernel(leaves_by)
        kernel: Any = self.kernel
        nothing = Environment(lambda _: None, lambda _: None, lambda _: ())
        config = Config(eni=EniSettings(manage=manage), rollback_after=0.0)
        self.engine = Engine(config, run, kernel, None, Plugins(), nothing)
        backend = NetlinkBackend(Host(kernel, run))
        self.engine._backends = {backend.name: GuardedBackend(backend)}
        indices = {found.mac: [found.index] for found in FACTS.links if found.mac is not None}
        reading = ImdsReading(FACTS.imds, indices, LastKnown())
        self.view = self.engine.plan(Deadline(5), reading=reading, attached={})

    def settled(self, view: View | None = None, *, check: Iterable[Mac] = ()) -> PassReport:
        return self.engine.apply(view or self.view, Deadline(5), check=tuple(check))


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Pass]:
    return lambda **how: Pass(RunDir(tmp_path), **how)


def changed(report: PassReport) -> set[Mac | None]:
    return {change.mac for change in report.done}


def test_a_plan_is_applied_and_verified(start: Callable[..., Pass]) -> None:
    one = start()
    report = one.settled()
    assert report.done == one.view.plan.changes
    assert changed(report) == {mac(0), mac(1)}
    assert (report.findings, report.exit_status) == ((), ExitStatus.DONE)


def test_misrouted_traffic_is_a_finding_and_a_failure(
    start: Callable[..., Pass],
) -> None:
    """Every change was applied, and traffic is misrouted all the same."""
    report = start(leaves_by=OTHER).settled()
    assert report.failed == ()
    texts = [finding.text for finding in report.findings]
    assert any("traffic from 10.0.1.4 (and 1 more) to 198.51.100.1, " in t for t in texts)
    assert {finding.mac for finding in report.findings} == {mac(1)}
    assert report.exit_status is ExitStatus.FAILED


def test_an_eni_on_hold_stays_unchanged_and_others_are_changed(
    start: Callable[..., Pass],
) -> None:
    one = start()
    hold = Hold("fingerprint", "2026-01-01T00:00:00+00:00", "IMDS was lost", ())
    report = one.settled(replace(one.view, held={mac(1): hold}))
    assert changed(report) == {mac(0)}
    assert not [item for item in one.kernel.made if isinstance(item, Rule)]
    assert report.held == {mac(1): hold}


def test_an_observed_eni_stays_unchanged(start: Callable[..., Pass]) -> None:
    one = start(manage=Manage.OBSERVE)
    assert one.view.plan.changes
    report = one.settled()
    assert (report.done, one.kernel.made) == ((), [])


def test_an_unchanged_eni_is_verified_on_request(
    start: Callable[..., Pass],
) -> None:
    one = start(leaves_by=OTHER)
    nothing = replace(one.view, plans={})
    assert one.settled(nothing).findings == ()
    assert one.settled(nothing, check={mac(1)}).findings != ()


def test_a_problem_that_the_backend_reports_is_a_finding_too(
    start: Callable[..., Pass], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example a file that its network manager does not use. A backend that fails reports
    that."""
    one = start()
    monkeypatch.setattr(NetlinkBackend, "check", lambda _, intent, __: (f"{intent.link}: no",))
    findings = one.settled(replace(one.view, plans={}), check={mac(1)}).findings
    assert [(found.mac, found.text) for found in findings] == [(mac(1), "ens6: no")]

    def fails(_: NetlinkBackend, intent: EniIntent, __: Observed) -> tuple[str, ...]:
        raise Ec2netError("no answer", subject=intent.link.name)

    monkeypatch.setattr(NetlinkBackend, "check", fails)
    findings = one.settled(replace(one.view, plans={}), check={mac(1)}).findings
    assert [found.text for found in findings] == ["ens6: no answer"]


def test_a_backend_that_cannot_close_its_session_does_not_stop_the_others(
    start: Callable[..., Pass], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    def close(backend: GuardedBackend) -> None:
        closed.append(backend.kind.name)
        raise Ec2netError("it hangs")

    one = start()
    one.engine._backends["second"] = one.engine._backends["netlink"]
    monkeypatch.setattr(GuardedBackend, "close", close)
    one.engine.close()
    assert closed == ["netlink", "netlink"]


def test_state_that_a_kill_must_not_lose_is_written_before_the_first_change(
    start: Callable[..., Pass], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ENIs are the boot's is decided once; a link without its mark is never cleared away."""
    one = start()
    run = one.engine.run
    view = replace(one.view, host=replace(one.view.host, enis=_since_boot(one.view)))
    written: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        one.kernel, "add", lambda _: written.append((*run.names(""), *run.names("begun")))
    )
    one.settled(view)
    assert {"/at-boot.json", "begun/ens5.json", "begun/ens6.json"} <= set(written[0])
    assert "/primary.json" not in written[0]


def _since_boot(view: View) -> tuple[EniOutcome, ...]:
    return tuple(replace(eni, attached=Attached.BOOT) for eni in view.host.enis)


def test_a_pass_without_time_for_changes_stores_the_facts_of_imds(
    start: Callable[..., Pass],
) -> None:
    one = start()
    with pytest.raises(DeadlineExceeded):
        one.engine.apply(one.view, Deadline(0, "the test"))
    assert one.kernel.made == []
    assert Memory.read(one.engine.run).last_known.of({mac(1): [1]}) == {mac(1): eni(1)}


def test_an_eni_without_an_optional_setting_is_verified_too(
    start: Callable[..., Pass],
) -> None:
    """A refused MTU hid misrouted traffic."""
    one = start(leaves_by=OTHER)
    one.kernel.refuses = Setting.GROUP
    assert one.settled().findings == ()
    one = start(leaves_by=OTHER)
    one.kernel.refuses = Setting.ALTNAME
    report = one.settled()
    assert report.failed
    assert {finding.mac for finding in report.findings} == {mac(1)}


def test_an_unchanged_host_is_verified_without_a_lookup(start: Callable[..., Pass]) -> None:
    one = start()
    one.kernel.state = 1
    counts = []
    for state in (1, 1, 2, 2):
        one.kernel.state, before = state, one.kernel.lookups
        assert one.settled(check=(mac(0), mac(1))).findings == ()
        counts.append(one.kernel.lookups - before)
    assert counts == [counts[0], 0, counts[0], 0]
    assert counts[0] > 0


def test_a_finding_is_looked_up_until_it_is_gone(start: Callable[..., Pass]) -> None:
    one = start(leaves_by=OTHER)
    one.kernel.state = 1
    for _ in range(2):
        assert {found.mac for found in one.settled(check=(mac(1),)).findings} == {mac(1)}
    one.kernel._leaves_by = None
    assert one.settled(check=(mac(1),)).findings == ()
