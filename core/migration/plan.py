# SPDX-License-Identifier: Apache-2.0
"""The steps that hand a host to systemd-networkd and systemd-resolved, and those that give it back.

Pure over the readings of ``core/migration/host.py``. A boot in the middle must find a network manager: the
plan enables the new one before it disables the old one. /etc/resolv.conf changes last, when the servers
are known. No program is stopped that would remove addresses at its end.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from ec2net.core.host.managers import Manager, link_manager
from ec2net.core.host.other_tools import interfaces_stanzas
from ec2net.core.live.owned_file import write
from ec2net.core.migration import clients, units
from ec2net.core.migration.clients import Signal
from ec2net.core.migration.host import Host, profiles, sysctls
from ec2net.core.migration.record import PATH as RECORD
from ec2net.core.migration.record import Before
from ec2net.core.migration.resolv_conf import ASIDE, GiveBack, Kept, Kind, Resolve
from ec2net.core.migration.resolv_conf import PATH as RESOLV_CONF
from ec2net.core.migration.steps import Command, Delete, Step, Work
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline

_Work: TypeAlias = Callable[[Deadline], None]


@dataclass(frozen=True, slots=True)
class Works:
    """Steps that ec2net runs in its own process. ``record``: write the host's state. ``prepare``:
    the ENIs' files for the new manager. ``adopted``: check that the new manager has leases and the
    host is reachable. ``reachable``: check only that. ``clear``: remove systemd-networkd's
    leftovers in the kernel. ``reconnect``: activate connections of NetworkManager. ``forget``:
    delete the record."""

    record: _Work
    prepare: _Work
    adopted: _Work
    reachable: _Work
    clear: _Work
    reconnect: _Work
    forget: _Work


def before(host: Host, when: str) -> Before:
    """The present state of the host."""
    environment = host.environment
    return Before(
        when,
        units.links(environment),
        tuple(sorted(host.active)),
        host.clients.of_enis,
        host.resolv_conf.kind,
        profiles(environment),
        sysctls(environment),
        host.link_locals,
        host.own_files,
    )


def refuse(host: Host) -> None:
    """Raises ``Ec2netError`` where a handover cannot be made, or not be reverted."""
    for unit, package in (
        (units.NETWORKD, "systemd-networkd"),
        (units.RESOLVED, "systemd-resolved"),
    ):
        if not units.is_installed(unit, host.environment):
            raise Ec2netError(
                f"{unit} is not installed",
                subject="adopt",
                remedy=f"install the package {package} of the distribution",
            )
    if host.resolv_conf.problem:
        raise Ec2netError(
            f"{RESOLV_CONF} cannot be replaced: {host.resolv_conf.problem}",
            subject="adopt",
            remedy="make it a file or a link that can be renamed, or link it to "
            "systemd-resolved's file yourself",
        )
    if host.clients.another and not units.NEW.fullmatch(_manager(host)):
        raise Ec2netError(
            "dhcpcd is running, and ec2net could not restore it later",
            subject="adopt",
            remedy="exclude the ENIs from dhcpcd first: 'denyinterfaces' in /etc/dhcpcd.conf",
        )


def _manager(host: Host) -> str:
    manager = link_manager(host.primary, host.environment)
    return units.NETWORKD if manager is Manager.NETWORKD else ""


def forward(host: Host, works: Works) -> tuple[Step, ...]:
    """From whatever the host is; none where systemd-networkd and systemd-resolved have it."""
    switch = (*_enable(host), *_start_resolved(host), *_disable(host))
    stop = tuple(_stop(host))
    if stop or _manager(host) != units.NETWORKD:
        takes = (Work("write the files of the ENIs for systemd-networkd", works.prepare),)
        switch = (*switch, *stop, *takes, _start_networkd(host))
    kind = host.resolv_conf.kind
    resolve = () if kind is Kind.RESOLVEDS else (Resolve(replaces=kind is Kind.OTHER),)
    if not (switch or resolve):
        return ()
    first: list[Step] = [Work(f"record the present state of the host in {RECORD}", works.record)]
    fallback = host.fallback
    if fallback and host.environment.read_file(str(fallback.path)) != fallback.content:
        path, content = fallback.path, fallback.content
        first.append(Work(f"write {path}", lambda _: write(path, content)))
    name = host.primary.name
    what = f"check that {name} has its lease, and that everything is still reachable"
    check = Work(f"{what}; if not, restore the former state", works.adopted)
    ended = (Signal(signal.SIGKILL, client) for client in host.clients.of_enis)
    return (*first, *switch, check, *ended, *resolve)


def _enable(host: Host) -> Iterator[Step]:
    present = units.links(host.environment)
    if masked := units.masked(present):
        yield Command(("systemctl", "unmask", *masked))
    wanted = [u for u in (units.NETWORKD, units.RESOLVED) if not units.is_wanted(u, present)]
    if wanted:
        yield Command(("systemctl", "enable", *wanted))


def _start_resolved(host: Host) -> Iterator[Step]:
    if units.RESOLVED not in host.active:
        yield Command(("systemctl", "start", units.RESOLVED))


def _disable(host: Host) -> Iterator[Step]:
    present = units.links(host.environment)
    names = [name for name in units.NETWORKMANAGERS if not units.is_masked(name, present)]
    by_ifupdown = _is_ifupdowns(host)
    if by_ifupdown and units.is_wanted(units.NETWORKING, present):
        names.append(units.NETWORKING)
    # Not by systemctl, which also changes a unit's script in /etc/init.d.
    yield from map(Delete, deleted := units.links_of(names, present))
    if deleted:
        yield Command(("systemctl", "daemon-reload"))
    # udev starts an instance for each new link, whatever is enabled.
    installed = units.is_installed(units.IFUP, host.environment)
    if by_ifupdown and installed and not units.is_masked(units.IFUP, present):
        yield Command(("systemctl", "mask", units.IFUP))


def _is_ifupdowns(host: Host) -> bool:
    """Whether ifupdown manages an ENI, or is configured to do so."""
    stanzas = interfaces_stanzas(host.environment)
    told = (name for _, name, method in stanzas if method != "manual")
    return bool(host.clients.of_enis) or any(name in host.environment.eni_names for name in told)


def _stop(host: Host) -> Iterator[Step]:
    """NetworkManager leaves addresses; units of ifupdown would not, and stay active for the boot."""
    active = [u for u in units.NETWORKMANAGERS if u in host.active]
    # Its dispatcher may outlive it, without effect.
    if units.NETWORKMANAGER in active or "nm-cloud-setup.timer" in active:
        yield Command(("systemctl", "stop", *active))
    yield from (Signal(signal.SIGSTOP, client) for client in host.clients.of_enis)


def _start_networkd(host: Host) -> Step:
    if units.NETWORKD in host.active:
        return Command(("networkctl", "reload"))
    return Command(("systemctl", "start", units.NETWORKD))


def refuse_back(was: Before, host: Host) -> None:
    """Raises ``Ec2netError`` if nothing would configure the network or resolve names, because a
    part of the former state was removed meanwhile."""
    resolves = was.resolv_conf is not Kind.OTHER or units.RESOLVED in was.active
    now = host.resolv_conf
    if not resolves and now.kind is Kind.RESOLVEDS and now.aside is Kept.NOTHING:
        raise Ec2netError(
            f"{ASIDE} is missing: {RESOLV_CONF} would lead to systemd-resolved, which is stopped",
            subject="adopt",
            remedy=f"create that file with the content that {RESOLV_CONF} should have",
        )
    if units.is_wanted(units.NETWORKD, was.links):
        return
    had = [
        unit
        for unit in (units.NETWORKMANAGER, units.NETWORKING)
        if unit in was.active or units.is_wanted(unit, was.links)
    ]
    gone = [unit for unit in had if not units.is_installed(unit, host.environment)]
    programs = (client.words[0] for client in was.clients)
    gone += [p for p in programs if p.startswith("/") and host.environment.read_file(p) is None]
    if gone:
        raise Ec2netError(
            f"{gone[0]} is no longer installed: nothing would configure the network",
            subject="adopt",
            remedy="install its package again",
        )


def back(was: Before, host: Host, works: Works) -> tuple[Step, ...]:
    """From any state to the former state. A second run continues where the first one ended."""
    environment = host.environment
    now = units.links(environment)
    new = {unit for unit in host.active - set(was.active) if units.NEW.fullmatch(unit)}
    networkd = sorted(unit for unit in new if unit.startswith("systemd-networkd"))
    steps: list[Step] = [*_resolv_conf_back(was, host)]
    relinked = [*units.restore(was.links, now)]
    relinked += units.empty_folders(now.keys() - was.links.keys(), [*was.links], environment)
    if relinked:
        steps += [*relinked, Command(("systemctl", "daemon-reload"))]
    if networkd:
        steps.append(Command(("systemctl", "stop", *networkd)))
        steps.append(Work("delete what it leaves in the kernel and nothing uses", works.clear))
    own = [path for path in host.own_files if path not in was.own_files]
    steps += map(Delete, own)
    if own and not networkd and units.NETWORKD in host.active:
        steps.append(Command(("networkctl", "reload")))
    steps += _old_back(was, host, works)
    if resolved := sorted(new - set(networkd)):
        steps.append(Command(("systemctl", "stop", *resolved)))
    if steps:
        steps.append(Work("check that everything is still reachable", works.reachable))
    return (*steps, Work(f"delete {RECORD}", works.forget))


def _resolv_conf_back(was: Before, host: Host) -> Iterator[Step]:
    """Not if a user has changed the file meanwhile."""
    if host.resolv_conf.aside is Kept.THE_SAME:
        yield Delete(str(ASIDE))
    elif host.resolv_conf.aside is Kept.ANOTHER and host.resolv_conf.kind is not Kind.OTHER:
        yield GiveBack()
    elif was.resolv_conf is Kind.NONE and host.resolv_conf.kind is Kind.RESOLVEDS:
        yield Delete(str(RESOLV_CONF))


def _old_back(was: Before, host: Host, works: Works) -> Iterator[Step]:
    stopped = [
        unit
        for unit in reversed(units.NETWORKMANAGERS)
        if unit in was.active
        and unit not in host.active
        and units.is_installed(unit, host.environment)
    ]
    if stopped:
        if units.NETWORKMANAGER in stopped:
            yield Work("write the files of the ENIs for NetworkManager", works.prepare)
        yield Command(("systemctl", "start", *stopped))
    if units.NETWORKMANAGER in was.active:
        yield Work(
            "have NetworkManager activate the ENIs that it does not manage yet", works.reconnect
        )
    running = {client.words for client in host.clients.of_enis}
    suspended = (client for client in host.clients.of_enis if client.suspended)
    yield from (Signal(signal.SIGCONT, client) for client in suspended)
    for number, client in enumerate(was.clients):
        if client.words not in running:
            yield clients.start(client, number)
    changed = {path: text for path, text in was.sysctls.items() if _sysctl(host, path) != text}
    yield from (SetSysctl(path, text) for path, text in sorted(changed.items()))


def _sysctl(host: Host, path: str) -> str | None:
    return (host.environment.read_file(path) or "").strip() or None


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Restore a setting of a link. A missing link is no failure."""

    path: str
    text: str

    def describe(self) -> str:
        return f"write {self.text} to {self.path}"

    def do(self, deadline: Deadline) -> None:
        with suppress(FileNotFoundError), open(self.path, "w") as file:
            file.write(self.text)
