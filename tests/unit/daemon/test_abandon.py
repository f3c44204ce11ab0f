# SPDX-License-Identifier: Apache-2.0
"""A third party's backend that hangs is left behind at its deadline, and costs one thread."""

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from patience import HANGS

from ec2net.core.daemon import abandon
from ec2net.core.daemon.abandon import AbandonableBackend
from ec2net.core.model.errors import Ec2netError, PluginError
from ec2net.core.model.plan import Applied, Plan
from ec2net.core.plugins.backend import Backend, Host, Observed, Suitability
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.runtime.deadline import Deadline


class Hanging(Backend):
    name = "hanging"
    release = threading.Event()

    @classmethod
    def suits(cls, link: Any, environment: Any) -> Suitability:
        return Suitability(True, "")

    def observe(self, snapshot: Any, links: Any, deadline: Deadline) -> Observed:
        self.release.wait(3 * HANGS)
        return Observed(snapshot)

    def wanted(self, intent: Any, host: Any, seen: Any) -> Any:
        return ()

    def apply(self, plan: Plan, goals: Any, seen: Any, deadline: Deadline) -> Applied:
        raise Ec2netError("refused")

    def check(self, intent: Any, seen: Any) -> Any:
        raise ValueError("a bug")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(abandon, "GRACE", 0.05)
    Hanging.release.clear()
    yield
    Hanging.release.set()
    for thread in ours():
        thread.join(HANGS)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "backend"]


def backend() -> AbandonableBackend:
    return AbandonableBackend(Hanging(cast(Host, None)))


def observe(one: GuardedBackend) -> Observed:
    return one.observe(cast(Any, None), (), Deadline(0.1))


def test_a_call_that_hangs_is_abandoned_at_its_deadline() -> None:
    one, began = backend(), time.monotonic()
    with pytest.raises(PluginError, match="backend hanging: did not return from observe"):
        observe(one)
    assert time.monotonic() - began < HANGS


def test_an_abandoned_call_is_not_repeated_and_threads_do_not_accumulate() -> None:
    one = backend()
    with pytest.raises(PluginError, match="did not return"):
        observe(one)
    for _ in range(20):
        with pytest.raises(
            PluginError, match="still hangs in observe; ec2net does not call this plugin again"
        ):
            one.wanted(cast(Any, None), cast(Any, None), cast(Any, None))
    assert len(ours()) == 1
    Hanging.release.set()
    for thread in ours():
        thread.join(HANGS)
    assert observe(one) == Observed(cast(Any, None))
    for thread in ours():
        thread.join(HANGS)
    assert ours() == []


def test_a_reload_does_not_repeat_an_abandoned_call() -> None:
    with pytest.raises(PluginError, match="did not return"):
        observe(backend())
    for _ in range(3):
        with pytest.raises(PluginError, match="still hangs in observe"):
            observe(backend())
    assert len(ours()) == 1


def test_exceptions_pass_through_unchanged() -> None:
    one = backend()
    assert (
        one.apply(Plan(), {}, cast(Any, None), Deadline(1)) == Applied()
    )  # nothing was to be done
    with pytest.raises(PluginError, match="failed in check: ValueError: a bug"):
        one.check(cast(Any, None), cast(Any, None))


def test_built_in_backends_are_called_directly() -> None:
    made = AbandonableBackend.unless_built_in(Hanging(cast(Host, None)), True)
    assert type(made) is GuardedBackend
    other = AbandonableBackend.unless_built_in(Hanging(cast(Host, None)), False)
    assert type(other) is AbandonableBackend
