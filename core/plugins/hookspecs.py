# SPDX-License-Identifier: Apache-2.0
"""The plugin door: every hook, typed, with its contract. Built-in backends use it as well.

A plugin is a module or object with functions of these names marked by ``hookimpl``, made known
by an entry point in the group ``ec2net``. It is loaded when the configuration names it: as
``backend = "NAME"`` or in ``plugins.enabled``. docs/plugins.md has a complete example.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:  # so that importing the interface loads only pluggy
    from ec2net.core.decide.intent import EniIntent
    from ec2net.core.model.facts import Facts
    from ec2net.core.plugins.backend import Backend
    from ec2net.core.plugins.report import PassReport

GROUP = "ec2net"

API = 1
"""The version of ``ec2net.core.plugins.api`` and of the contract behind it."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Decorator that marks a plugin's functions as hooks."""


@hookspec
def ec2net_backends() -> "Sequence[type[Backend]]":  # type: ignore[empty-body]
    """Return the backend classes of this plugin. Called once; import heavy modules inside."""


@hookspec(firstresult=True)
def ec2net_adjust_intent(intent: "EniIntent", facts: "Facts") -> "EniIntent | None":
    """Change the intent of one ENI: return another intent, or None for no change.

    ec2net calls this hook for each ENI in each pass, before it makes the plan. The hook must be pure
    and quick. The first plugin that returns an intent wins. MAC, link, number and table must stay. If
    an intent changes them, or if the hook raises an exception, ec2net reports that and uses the
    original intent.
    """


@hookspec
def ec2net_pass_finished(report: "PassReport") -> None:
    """Receive the report at the end of each pass. ec2net only reports an exception."""
