# SPDX-License-Identifier: Apache-2.0
"""The plugin door: every hook, typed, with its contract. Built-in backends use it as well.

A plugin is a module or object with functions of these names marked by ``hookimpl``, made known
by an entry point in the group ``ec2net``. It is loaded when the configuration names it: as
``backend = "NAME"`` or in ``plugins.enabled``. docs/plugins.md has a complete example.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:  # the door costs no more than pluggy
    from ec2net.core.decide.intent import EniIntent
    from ec2net.core.model.facts import Facts
    from ec2net.core.plugins.backend import Backend
    from ec2net.core.plugins.report import PassReport

GROUP = "ec2net"

API = 1
"""The version of ``ec2net.core.plugins.api`` and of the contract behind it."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a plugin's functions."""


@hookspec
def ec2net_backends() -> "Sequence[type[Backend]]":  # type: ignore[empty-body]
    """The backend classes that this plugin brings. Called once; import heavy modules inside."""


@hookspec(firstresult=True)
def ec2net_adjust_intent(intent: "EniIntent", facts: "Facts") -> "EniIntent | None":
    """Change what is wanted of one ENI: return another intent, or None to leave it.

    Called for each ENI in each pass, before the plan is made; must be pure and quick. The first
    plugin that returns an intent wins. MAC, link, number and table must stay: an intent that
    changes them, like an exception, is reported and the ENI's own intent stands.
    """


@hookspec
def ec2net_pass_finished(report: "PassReport") -> None:
    """Told at the end of each pass what was found and done. An exception is reported only."""
