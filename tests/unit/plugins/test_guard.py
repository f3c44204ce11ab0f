# SPDX-License-Identifier: Apache-2.0
"""A third party's backend that breaks its contract costs its own part of a pass, with its name."""

import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, NoReturn

import pytest
from eni_facts import eni, host, link

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import KernelError, PluginError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef, LinkSetting, Rule, Setting
from ec2net.core.model.plan import Action, Change, InPlace, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Backend, Observed
from ec2net.core.plugins.choose import choose
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.runtime.deadline import Deadline

MAC = Mac("06:53:e1:d8:f9:29")
LINK = Link(3, "ens6", MAC, "ena", "", 9001, True, 0)
CHANGE = Change(Action.ADD, Rule(ip_network("10.0.1.4/32"), 10001, 10001), MAC)


def broken(*_: Any) -> NoReturn:
    raise ZeroDivisionError("by zero")


def refused(*_: Any) -> NoReturn:
    raise KernelError("no", errno=1)


def leaving(*_: Any) -> NoReturn:
    sys.exit("usage: third ...")


def forgetful(*_: Any) -> None:
    """A backend whose author forgot to return anything."""


def backend(method: Callable[..., None]) -> GuardedBackend:
    """A backend each of whose verbs is ``method``."""
    verbs = ("observe", "leftovers", "wanted", "apply", "check")
    kind = type(
        "Third", (Backend,), {"name": "third", "suits": broken, **dict.fromkeys(verbs, method)}
    )
    made: Backend = object.__new__(kind)
    return GuardedBackend(made)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("observe", (Snapshot(), [LINK], Deadline(1))),
        ("wanted", (None, None, Observed(Snapshot()))),
        ("check", (None, Observed(Snapshot()))),
        ("leftovers", ([MAC], [])),
    ],
)
def test_an_exception_of_a_plugin_is_an_error_with_its_name(
    verb: str, arguments: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PluginError) as caught:
        getattr(backend(broken), verb)(*arguments)
    assert str(caught.value) == (
        f"backend third: failed in {verb}: ZeroDivisionError: by zero (this is a fault of the "
        "plugin: report it to its authors)"
    )
    assert "Traceback" in caplog.text
    with pytest.raises(KernelError):
        getattr(backend(refused), verb)(*arguments)


@pytest.mark.parametrize(("method", "error"), [(broken, PluginError), (refused, KernelError)])
def test_an_apply_that_raises_has_done_nothing_that_is_known(
    method: Callable[..., NoReturn], error: type[Exception]
) -> None:
    applied = backend(method).apply(Plan((CHANGE,)), {}, Observed(Snapshot()), Deadline(1))
    assert applied.done == ()
    assert [failure.change for failure in applied.failed] == [CHANGE]
    assert isinstance(applied.failed[0].error, error)


@pytest.mark.parametrize("method", [leaving, forgetful])
@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("observe", (Snapshot(), [LINK], Deadline(1))),
        ("leftovers", ([MAC], [])),
        ("wanted", (None, None, Observed(Snapshot()))),
        ("check", (None, Observed(Snapshot()))),
    ],
)
def test_a_plugin_that_exits_or_returns_nothing_is_an_error_with_its_name(
    verb: str, arguments: tuple[Any, ...], method: Callable[..., None]
) -> None:
    """The exit ended the process, or the pass of all ENIs, with a traceback."""
    with pytest.raises(PluginError, match=f"backend third: failed in {verb}: "):
        getattr(backend(method), verb)(*arguments)


@pytest.mark.parametrize("method", [leaving, forgetful])
def test_an_apply_that_exits_or_returns_nothing_has_done_nothing_that_is_known(
    method: Callable[..., None],
) -> None:
    applied = backend(method).apply(Plan((CHANGE,)), {}, Observed(Snapshot()), Deadline(1))
    assert [failure.change for failure in applied.failed] == [CHANGE]


def test_a_backend_that_exits_or_returns_nothing_suits_no_link() -> None:
    for method in (leaving, forgetful):
        kind = type("Third", (Backend,), {"name": "third", "suits": method})
        choice = choose("auto", LINK, {"third": kind}, Environment(lambda path: None))
        assert "third does not suit: backend third: failed in suits: " in str(choice)


def test_a_backend_that_fails_when_asked_suits_no_link() -> None:
    choice = choose("auto", LINK, {"third": backend(broken).kind}, Environment(lambda path: None))
    assert choice.backend is None
    assert "third does not suit: backend third: failed in suits: ZeroDivisionError" in str(choice)


def test_the_plan_for_a_renamed_link_has_the_new_name() -> None:
    """A sysctl is set by the link's name."""
    plugin, names = backend(broken), ("ens6", "ens6", "lan-0")
    plans = []
    for name in names:
        there = replace(link(1), name=name)
        intents = compute(host(eni(0), eni(1), links=(link(0), there)), Config())
        setting = LinkSetting(LinkRef(there.index, name), Setting.ACCEPT_RA, 2)
        wanted = {there.mac: (setting,)}
        plans.append(plugin.planned(intents, {there.mac}, wanted, InPlace(), frozenset()))
    assert plans[1] is plans[0]
    items = [change.item for plan in plans for change in plan.changes]
    assert [str(item.link) for item in items if isinstance(item, LinkSetting)] == list(names)
