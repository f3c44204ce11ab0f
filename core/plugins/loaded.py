# SPDX-License-Identifier: Apache-2.0
"""Which plugins there are: built-ins from a fixed table, others by entry point when named.

Reading entry points costs more than the rest of a start (importlib.metadata: some 40 ms), so it is
done only for a name that is not built in.
"""

import importlib
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from ec2net.core.config.settings import Config
from ec2net.core.decide.intent import EniIntent
from ec2net.core.model.errors import PLUGIN_FAULTS, PluginError, in_one_line
from ec2net.core.model.facts import Facts
from ec2net.core.plugins import entrypoints, hookspecs
from ec2net.core.plugins.backend import Backend, Host
from ec2net.core.plugins.entrypoints import Unreadable
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime import openssl

_log = logging.getLogger("ec2net.plugins")

BUILT_IN = {
    "networkd": "ec2net.backends.networkd",
    "networkmanager": "ec2net.backends.networkmanager",
    "netlink": "ec2net.backends.netlink",
}
"""In the order in which they are asked whether they suit a link."""

_HTTP = "ec2net.core.imds.transport"
"""The module that has requests without TLS; the next client of IMDS imports it anew."""

_CORRECT = (
    "correct the plugin ('ec2net backends -v' shows where it fails), then run 'systemctl "
    "restart ec2net.service'"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a backend, for people."""

    name: str
    source: str


class Plugins:
    """The loaded plugins.

    ``names`` must exist: they may adjust any intent, so nothing is right without one of them
    (``PluginError``). A missing or broken one of ``backends`` affects only its own ENIs, and is
    among ``problems``. An upgrade of Python, which searches another folder, can lose a plugin.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        backends: Iterable[str] = (),
        disabled: Iterable[str] = (),
    ) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._disabled = frozenset(disabled)
        for name in self._disabled:
            self._manager.set_blocked(name)
        for name, module in BUILT_IN.items():
            if name not in self._disabled:
                self._manager.register(importlib.import_module(module), name)
        for name in names:
            self._load(name)
        self._missing: list[PluginError] = []
        self._faults: list[PluginError] = []
        for name in backends:
            try:
                self._load(name)
            except PluginError as error:
                self._missing.append(error)

    @classmethod
    def of(cls, config: Config) -> "Plugins":
        """The plugins that the configuration names. Raises ``PluginError``."""
        return cls(
            config.enabled_plugins,
            backends=config.named_backends,
            disabled=config.disabled_plugins,
        )

    @property
    def problems(self) -> tuple[PluginError, ...]:
        """Backends that cannot be had, and why; complete once they were ``made``."""
        return (*self._missing, *self._faults)

    def _load(self, name: str) -> None:
        """Load the plugin called ``name`` by its entry point. Raises ``PluginError``."""
        if name in BUILT_IN or self._manager.has_plugin(name):
            return
        subject = f"plugin {name}"
        if name in self._disabled:
            raise PluginError("the configuration both names and disables it", subject=subject)
        unreadable, others = [], list(BUILT_IN)
        for entry in entrypoints.installed():
            if isinstance(entry, Unreadable):
                unreadable.append(entry)
            elif entry.name != name:
                others.append(entry.name)
            else:
                openssl.allow(_HTTP)
                try:
                    plugin = entry.load()
                    self._manager.register(plugin, name)
                    self._manager.check_pending()  # a misspelt hook would silently do nothing
                # importing a third party's module may raise anything
                except PLUGIN_FAULTS as error:
                    self._manager.unregister(name=name)
                    raise _broken(subject, "cannot be loaded", error) from error
                if (version := getattr(plugin, "EC2NET_API", 1)) != hookspecs.API:
                    self._manager.unregister(name=name)
                    raise PluginError(
                        f"is made for version {version} of the plugin interface, but this "
                        f"ec2net has version {hookspecs.API}",
                        subject=subject,
                        remedy=f"install a release of the plugin for version {hookspecs.API}",
                    )
                return
        problem = f"there is no entry point of this name in the group {hookspecs.GROUP!r}"
        raise PluginError(
            "; ".join((problem, *map(str, unreadable))),
            subject=subject,
            remedy=f"{_meant(name, others)}install it, or correct the configuration;"
            " 'ec2net backends' lists the names",
        )

    def backends(self) -> dict[str, type[Backend]]:
        """The backend classes by name, in the order in which the plugins were loaded.

        A plugin that fails here, and a class that is no backend or has the name of another one, is
        left out, and among ``problems``: its ENIs are then without a backend, the others are not.
        """
        found: dict[str, type[Backend]] = {}
        self._faults.clear()
        for implementation in self._manager.hook.ec2net_backends.get_hookimpls():
            subject = f"plugin {implementation.plugin_name}"
            try:
                brought: Any = implementation.function()
                classes = tuple(brought)
            except PLUGIN_FAULTS as error:  # a plugin may raise anything: it must not stop the pass
                self._faults.append(_broken(subject, "failed in ec2net_backends", error))
                continue
            for backend in classes:
                if fault := _fault(backend, found):
                    problem = f"provides {backend!r}, which {fault}"
                    self._faults.append(PluginError(problem, subject=subject, remedy=_CORRECT))
                else:
                    found[backend.name] = backend
        return found

    def made(self, host: Host) -> dict[str, Backend]:
        """Each of ``backends`` for this host. One that cannot be made is left out like the
        others."""
        made = {}
        for name, kind in self.backends().items():
            try:
                made[name] = kind(host)
            except PLUGIN_FAULTS as error:  # a plugin may raise anything: it must not stop the pass
                self._faults.append(_broken(f"backend {name}", "cannot be created", error))
        return made

    def adjust(self, intent: EniIntent, facts: Facts) -> EniIntent:
        """``intent`` after the plugins' hooks; the original intent if a plugin breaks the
        contract."""
        try:
            adjusted = self._manager.hook.ec2net_adjust_intent(intent=intent, facts=facts)
        except PLUGIN_FAULTS:  # a plugin may raise anything: it must not stop the pass
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
        except PLUGIN_FAULTS:  # a plugin may raise anything: the pass is complete already
            _log.exception("a plugin failed in ec2net_pass_finished; ignored")


def _meant(name: str, names: Collection[str]) -> str:
    """A question for the name that is spelled alike; empty if there is none."""
    from difflib import get_close_matches  # only when something is misspelt

    near = get_close_matches(name[:64], names, n=1)
    return f'did you mean "{near[0]}"? ' if near else ""


def _broken(subject: str, what: str, error: BaseException) -> PluginError:
    """For people, on one line; ``--verbose`` adds the traceback."""
    _log.debug("%s %s", subject, what, exc_info=error)
    return PluginError(f"{what}: {in_one_line(error)}", subject=subject, remedy=_CORRECT)


def _fault(backend: object, others: Collection[str]) -> str:
    """The reason why a class is no backend; empty if it is one."""
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        return "is not derived from Backend"
    missing = sorted(getattr(backend, "__abstractmethods__", ()))
    if missing:
        return f"lacks {', '.join(missing)}"
    name = getattr(backend, "name", None)
    if not isinstance(name, str):
        return "has no name"
    return f"has the same name as another backend, {name}" if name in others else ""


def _place(intent: EniIntent) -> tuple[object, ...]:
    return (intent.mac, intent.link, intent.number, intent.table)


def built_in(name: str) -> type[Backend]:
    """A built-in backend's class, without the other plugins."""
    backends: tuple[type[Backend], ...]
    backends = importlib.import_module(BUILT_IN[name]).ec2net_backends()
    return backends[0]


def origins() -> tuple[Origin, ...]:
    """Every backend and plugin that could be named, built in or installed."""
    found = {name: Origin(name, "built in") for name in BUILT_IN}
    for entry in entrypoints.installed():
        if not isinstance(entry, Unreadable) and entry.name not in found:
            found[entry.name] = Origin(entry.name, entrypoints.source(entry))
    return tuple(found.values())
