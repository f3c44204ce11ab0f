# SPDX-License-Identifier: Apache-2.0
"""Which plugins there are: built-ins from a fixed table, others by entry point when named.

Reading entry points costs more than the rest of a start (importlib.metadata), so it is done
only for a name that is not built in.
"""

import importlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from ec2net.core import hookspecs
from ec2net.core.backend import Backend
from ec2net.core.errors import PluginError
from ec2net.core.facts import Facts
from ec2net.core.intent import EniIntent
from ec2net.core.report import PassReport

_log = logging.getLogger("ec2net.plugins")

BUILT_IN = {
    "networkd": "ec2net.backends.networkd",
    "networkmanager": "ec2net.backends.networkmanager",
    "netlink": "ec2net.backends.netlink",
}
"""In the order in which they are asked whether they suit a link."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a backend comes from, for people."""

    name: str
    source: str


class Plugins:
    """The loaded plugins. ``names`` are those that the configuration asks for."""

    def __init__(self, names: Iterable[str] = (), *, disabled: Iterable[str] = ()) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._disabled = frozenset(disabled)
        for name in self._disabled:
            self._manager.set_blocked(name)
        for name, module in BUILT_IN.items():
            if name not in self._disabled:
                self._manager.register(importlib.import_module(module), name)
        for name in names:
            self.load(name)
        self._check()

    def load(self, name: str) -> None:
        """Load the plugin called ``name`` by its entry point. Raises ``PluginError``."""
        if name in BUILT_IN or self._manager.has_plugin(name):
            return
        if name in self._disabled:
            raise PluginError(
                "is named and disabled in the configuration", subject=f"plugin {name}"
            )
        try:
            found = self._manager.load_setuptools_entrypoints(hookspecs.GROUP, name=name)
        except Exception as error:  # whatever importing a third party's module raises
            raise PluginError(
                f"cannot be loaded: {type(error).__name__}: {error}", subject=f"plugin {name}"
            ) from error
        if not found:
            raise PluginError(
                f"there is no entry point of this name in the group {hookspecs.GROUP!r}",
                subject=f"plugin {name}",
                remedy="install it, or correct the configuration; 'ec2net backends' lists names",
            )
        self._check()

    def backends(self) -> dict[str, type[Backend]]:
        """The backend classes by name, in the order in which the plugins were loaded.

        A plugin that fails here, and a class that is no backend, is reported and left out: its
        ENIs are then without a backend, the others are not. Raises ``PluginError`` if two
        backends share a name.
        """
        found: dict[str, type[Backend]] = {}
        for implementation in self._manager.hook.ec2net_backends.get_hookimpls():
            plugin = implementation.plugin_name
            try:
                brought: Any = implementation.function()
                classes = tuple(brought)
            except Exception:  # whatever a plugin raises: it must not cost the pass
                _log.exception("plugin %s failed in ec2net_backends; left out", plugin)
                continue
            for backend in classes:
                fault = _fault(backend)
                if fault:
                    _log.error("plugin %s brings %r, which %s; left out", plugin, backend, fault)
                elif backend.name in found:
                    raise PluginError("two plugins bring it", subject=f"backend {backend.name}")
                else:
                    found[backend.name] = backend
        return found

    def adjust(self, intent: EniIntent, facts: Facts) -> EniIntent:
        """``intent`` as plugins want it; as it was if one breaks the contract."""
        try:
            adjusted = self._manager.hook.ec2net_adjust_intent(intent=intent, facts=facts)
        except Exception:  # whatever a plugin raises: it must not cost the pass
            _log.exception("%s: a plugin failed in ec2net_adjust_intent; ignored", intent.link)
            return intent
        if adjusted is None:
            return intent
        if not isinstance(adjusted, EniIntent) or _place(adjusted) != _place(intent):
            _log.error(
                "%s: a plugin's ec2net_adjust_intent changed MAC, link, number or table; ignored",
                intent.link,
            )
            return intent
        return adjusted

    def pass_finished(self, report: PassReport) -> None:
        try:
            self._manager.hook.ec2net_pass_finished(report=report)
        except Exception:  # whatever a plugin raises: the pass is done already
            _log.exception("a plugin failed in ec2net_pass_finished; ignored")

    def _check(self) -> None:
        """A misspelt hook is an error, not a plugin that silently does nothing."""
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(str(error), subject="plugins") from error


def _fault(backend: object) -> str:
    """What keeps a class from being a backend; empty if nothing does."""
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        return "is not derived from Backend"
    missing = sorted(getattr(backend, "__abstractmethods__", ()))
    if missing:
        return f"lacks {', '.join(missing)}"
    return "" if isinstance(getattr(backend, "name", None), str) else "has no name"


def _place(intent: EniIntent) -> tuple[object, ...]:
    return (intent.mac, intent.link, intent.number, intent.table)


def origins() -> tuple[Origin, ...]:
    """Every backend and plugin that could be named, built in or installed."""
    from importlib.metadata import entry_points

    found = [Origin(name, "built in") for name in BUILT_IN]
    for entry in entry_points(group=hookspecs.GROUP):
        if entry.name not in BUILT_IN:
            dist = entry.dist
            found.append(Origin(entry.name, f"{dist.name} {dist.version}" if dist else entry.value))
    return tuple(found)
