# SPDX-License-Identifier: Apache-2.0
"""The plan that ends another tool, and the plan that restores the tool. Pure.

The order keeps the tool from starting in the middle. Masks first close every way by which udev,
systemd, dispatchers and cron jobs start a unit. Then its timers and services stop, and systemd
confirms that. Its files are deleted last.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ec2net.core.config.settings import Rival
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import NETWORKD_LINKS, NETWORKD_UNIT
from ec2net.core.host.other_tools import CLOUD_NETCONFIG_SETTINGS, MANAGE
from ec2net.core.host.wiring import NET_UTILS, WIRINGS, Wiring
from ec2net.core.migration import net_utils
from ec2net.core.migration.kept import Migrated, path_of
from ec2net.core.migration.steps import Command, Delete, Mask, Step, Work
from ec2net.core.runtime.deadline import Deadline

DAEMON_RELOAD = Command(("systemctl", "daemon-reload"))
UDEV_RELOAD = Command(("udevadm", "control", "--reload"))

PERIODS = {Rival.NET_UTILS: 95, Rival.NM_CLOUD_SETUP: 300, Rival.CLOUD_NETCONFIG: 60}
"""Seconds between two runs of each tool's timer, at most."""

_CALLERS = (
    "/etc/crontab",
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/var/spool/cron",
    "/var/spool/cron/crontabs",
    "/etc/NetworkManager/dispatcher.d",
    "/etc/networkd-dispatcher/routable.d",
    "/etc/networkd-dispatcher/configured.d",
    "/etc/udev/rules.d",
    "/etc/systemd/system",
)
"""Files in which an administrator may start a tool."""


@dataclass(frozen=True, slots=True)
class Found:
    """A tool on this host."""

    wiring: Wiring
    units: tuple[str, ...] = ()
    """Units that are active, have a job, or that a boot starts; timers first."""
    rule: str = ""
    """The mask to make for its udev rule."""
    masks: tuple[str, ...] = ()
    """The masks to make for its unit files."""
    links: tuple[str, ...] = ()
    """Links that enable its units."""
    files: tuple[str, ...] = ()
    """Files that it wrote."""
    settings: str = ""
    """A file whose setting lets network managers run it."""
    made: tuple[str, ...] = ()
    """Its rules and routes that NetworkManager creates for it, as descriptions."""
    restart: bool = False
    """Whether systemd-networkd reads its files anew by a restart that keeps all leases."""
    others: tuple[str, ...] = ()
    """Links of no ENI that systemd-networkd manages: a restart would concern them."""
    callers: tuple[str, ...] = ()
    """Files of an administrator that name its programs."""
    foreign_units: tuple[str, ...] = ()
    """Files of an administrator where a mask would have to be."""
    installed: tuple[str, ...] = ()

    @property
    def rival(self) -> Rival:
        return self.wiring.rival

    @property
    def is_off(self) -> bool:
        """Whether nothing runs and nothing starts it, and no file of it is in force."""
        left = self.files or self.settings or self.made
        return not (self.units or self.rule or self.links or left)

    @property
    def touched(self) -> tuple[str, ...]:
        """Every path that the plan changes."""
        paths = (self.rule, *self.masks, *self.links, *self.files, self.settings)
        return tuple(path for path in paths if path)


def look(rival: Rival, environment: Environment, made: tuple[str, ...] = ()) -> Found:
    """The state of a tool. ``environment`` has the links of all ENIs; asks systemd.

    ``made``: see ``Found.made``.
    """
    wiring = WIRINGS[rival]
    startable = [path for path in wiring.masks() if not environment.is_masked(path)]
    own = tuple(path for path in startable if environment.read_file(path) is not None)
    installed = wiring.installed(environment)
    units = wiring.working(environment)
    rule = wiring.rule_mask() if wiring.rule_in_force(environment) else ""
    files = tuple(net_utils.files(environment)) if wiring is NET_UTILS else ()
    others = tuple(_others_of_networkd(environment))
    return Found(
        wiring,
        units,
        rule,
        tuple(p for p in startable if p not in own) if installed or units else (),
        tuple(wiring.enabling_links(environment)),
        files,
        _settings(wiring, environment),
        made,
        restart=bool(files) and not others and environment.unit_is_active(NETWORKD_UNIT),
        others=others if files else (),
        callers=tuple(_callers(wiring, environment)),
        foreign_units=own,
        installed=installed,
    )


def _settings(wiring: Wiring, environment: Environment) -> str:
    if wiring.rival is not Rival.CLOUD_NETCONFIG:
        return ""
    if environment.read_file(CLOUD_NETCONFIG_SETTINGS) is None:
        return ""
    said = environment.keys(CLOUD_NETCONFIG_SETTINGS).get(MANAGE, "yes")
    return "" if said == "no" else CLOUD_NETCONFIG_SETTINGS


def _others_of_networkd(environment: Environment) -> Iterator[str]:
    """Links of no ENI that it configures, by their index where no name is known."""
    enis = {str(link.index) for link in environment.eni_links}
    for index in environment.list_folder(NETWORKD_LINKS):
        keys = environment.keys(f"{NETWORKD_LINKS}/{index}")
        if index not in enis and keys.get("ADMIN_STATE") in ("configured", "configuring"):
            yield index


def _callers(wiring: Wiring, environment: Environment) -> Iterator[str]:
    for place in _CALLERS:
        names = environment.list_folder(place)
        for path in [f"{place}/{name}" for name in names] or [place]:
            if wiring.rule and path == wiring.rule_mask():
                continue  # the mask's path, or an administrator's version of the rule itself
            text = environment.read_file(path) or ""
            code = "\n".join(
                line for line in text.splitlines() if not line.lstrip().startswith("#")
            )
            if any(word in code for word in wiring.programs):
                yield path


@dataclass(frozen=True, slots=True)
class Works:
    """Steps that the program does itself.

    ``record``: keep the host's state. ``stopped``: confirm that systemd runs nothing of the tool.
    ``prepare``: write the ENIs' files for systemd-networkd. ``restart``: restart the network manager
    without the loss of a lease. ``claim``: mark the tool's routes and addresses, so that the next
    pass keeps or removes each.
    ``settings``: turn cloud-netconfig off in its settings. ``give_back``: remove ec2net's
    configuration. ``forget``: the record.
    """

    record: Callable[[Deadline], None]
    stopped: Callable[[Deadline], None]
    prepare: Callable[[Deadline], None]
    restart: Callable[[Deadline], None]
    claim: Callable[[Deadline], None]
    settings: Callable[[Deadline], None]
    give_back: Callable[[Deadline], None]
    forget: Callable[[Deadline], None]


def forward(found: Found, works: Works) -> tuple[Step, ...]:
    """End the tool. No step if the tool is off; a second run continues where the first one ended."""
    if found.is_off:
        return ()
    steps: list[Step] = [Work(f"record the host's state in {path_of(found.rival)}", works.record)]
    if found.rule:
        steps += [Mask(found.rule), UDEV_RELOAD]
    if found.masks:
        steps += [*map(Mask, found.masks), DAEMON_RELOAD]
    if found.settings:
        steps.append(Work(f'set {MANAGE}="no" in {found.settings}', works.settings))
    if active := [
        unit for unit in found.units if unit not in found.wiring.templates or _plain(unit)
    ]:
        steps.append(Command(("systemctl", "stop", *active)))
    steps += map(Delete, found.links)
    steps.append(
        Work(
            "check that systemd runs no unit of the tool, and has no job for such a unit",
            works.stopped,
        )
    )
    steps += _files(found, works)
    if found.made:
        steps += [
            Work(
                "restart NetworkManager, so that it no longer restores the tool's addresses, routes and "
                "rules; every lease and address stays",
                works.restart,
            ),
            Work(
                "add the addresses again with prefix length /32, and remove those with the tool's prefix length",
                works.claim,
            ),
        ]
    return tuple(steps)


def _plain(unit: str) -> bool:
    """Whether it is no template, which cannot be stopped."""
    return "@." not in unit


def _files(found: Found, works: Works) -> Iterator[Step]:
    yield from map(Delete, found.files)
    if found.restart:
        yield Work("write the files of the ENIs for systemd-networkd", works.prepare)
        yield Work(
            "restart systemd-networkd with SIGKILL, so that it keeps every lease and address",
            works.restart,
        )
        yield Work(
            "mark the tool's routes and addresses as ec2net's: those that ec2net needs stay, "
            "and ec2net removes the others",
            works.claim,
        )


def remarks(found: Found) -> Iterator[str]:
    """Remarks of the plan: things that stay unchanged, and facts that a user should know first."""
    if found.is_off:
        return
    for path in found.callers:
        yield (
            f"{path} names a program or unit of {found.rival}: remove that line yourself, since "
            "ec2net does not change the file"
        )
    for path in found.foreign_units:
        yield (
            f"{path} belongs to an administrator and is not masked: delete it, or it can start "
            "the tool"
        )
    if found.others:
        yield (
            f"systemd-networkd also manages {len(found.others)} link(s) that are not ENIs, so "
            "ec2net does not restart it: it reloads its files, and each ENI may lose its lease "
            "for up to 3 s"
        )
    if found.made:
        yield (
            "a restart of NetworkManager ends VPN connections, and discards changes to active "
            "connections if these changes are not saved in a profile"
        )


def back(before: Migrated, boot: str, works: Works, link_names: str) -> tuple[Step, ...]:
    """Restore the tool. Its units can start first, so that ec2net refuses the ENIs."""
    kept = sorted(before.of_now(boot), key=lambda one: (one.mode == 0, one.path))
    units = [one for one in kept if one.path.startswith("/etc/")]
    files = [one for one in kept if not one.path.startswith("/etc/")]
    start = Command(("systemctl", "start", *reversed(before.units)))
    networkd = any(one.path.startswith(net_utils.FOLDER) for one in files)
    return (
        *units,
        DAEMON_RELOAD,
        UDEV_RELOAD,
        Work(f"remove the configuration of ec2net from {link_names}", works.give_back),
        *files,
        *([Command(("networkctl", "reload"))] if networkd else []),
        *([start] if before.units else []),
        Work("delete the record of the host's state", works.forget),
    )


def with_manage_off(text: str) -> str:
    """The settings of cloud-netconfig with the tool turned off; every other line stays."""
    line, pattern = f'{MANAGE}="no"', re.compile(rf"^[ \t]*{MANAGE}=.*$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(line, text)
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"


def state_of(found: Found) -> str:
    """One sentence: what this tool does on this host, and how that was found."""
    if not found.is_off:
        reasons = []
        if found.units:
            reasons.append(f"{len(found.units)} units are active or enabled")
        if found.rule:
            reasons.append(f"its udev rule {found.wiring.rule} is in force")
        if found.files:
            reasons.append(f"{len(found.files)} of its files are in {net_utils.FOLDER}")
        if found.settings:
            reasons.append(f"{found.settings} makes network managers run it")
        if found.made:
            reasons.append(f"{len(found.made)} of its rules and routes are in the kernel")
        if found.links and not found.units:
            reasons.append(f"{found.links[0]} remains")
        return f"{found.rival} is active on this host: {', '.join(reasons)}."
    if not found.installed:
        return f"{found.rival} is not on this host: it has no unit, no udev rule and no file here."
    return (
        f"{found.rival} is installed ({found.installed[0]}) and off: systemd runs none of its "
        "units, has no job for one and starts none at boot. The package can be removed safely."
    )
