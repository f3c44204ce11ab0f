# SPDX-License-Identifier: Apache-2.0
"""The wiring of the three tools that do the same work: their units, and what starts these.

Sources: amazon-ec2-net-utils 2.3.0 (Debian 12) and 2.7.4 (udev rule, units), nm-cloud-setup's units
and dispatcher script, cloud-netconfig 1.20 (its Makefile, units and udev rule).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ec2net.core.config.settings import Rival
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import UNIT_FOLDERS, is_wanted

ETC_UNITS = "/etc/systemd/system"
"""Folder in which administrators enable and mask units."""
ETC_RULES = "/etc/udev/rules.d"
"""Folder in which administrators mask udev rules."""

_INVOCATIONS = "/run/systemd/units"
_VENDOR_RULES = ("/usr/lib/udev/rules.d", "/lib/udev/rules.d")
_WANTS = re.compile(r".+\.(?:wants|requires|upholds)")


@dataclass(frozen=True, slots=True)
class Wiring:
    """How systemd and udev start a tool."""

    rival: Rival
    patterns: tuple[str, ...]
    """Its units, as systemctl takes names: instances, timers, services, paths and sockets."""
    templates: tuple[str, ...]
    """Its unit files. With all of them masked nothing can start a unit of it: no Wants= of another
    unit, no SYSTEMD_WANTS of udev, no dispatcher script, no cron job."""
    instance: re.Pattern[str] | None = None
    """An instance for an ENI; group 1 is the link."""
    rule: str = ""
    """The file name of its udev rule."""
    programs: tuple[str, ...] = ()
    """Words by which scripts and cron jobs of an administrator call it."""

    def installed(self, environment: Environment) -> tuple[str, ...]:
        """Its unit files and its udev rule that a package installed."""
        paths = [f"{f}/{unit}" for f in UNIT_FOLDERS[:2] for unit in self.templates]
        paths += [f"{folder}/{self.rule}" for folder in _VENDOR_RULES if self.rule]
        return tuple(path for path in paths if environment.read_file(path) is not None)

    def masks(self) -> tuple[str, ...]:
        """The links to /dev/null that keep systemd from starting its units."""
        return tuple(f"{ETC_UNITS}/{unit}" for unit in self.templates)

    def rule_mask(self) -> str:
        """The link to /dev/null that keeps udev from reading its rule."""
        return f"{ETC_RULES}/{self.rule}"

    def rule_in_force(self, environment: Environment) -> bool:
        """Whether udev acts on its rule. An empty rule does nothing (the EKS AMI empties it)."""
        if not self.rule or environment.is_masked(self.rule_mask()):
            return False
        own = environment.read_file(self.rule_mask())
        vendors = (environment.read_file(f"{folder}/{self.rule}") for folder in _VENDOR_RULES)
        # A file of the administrator's replaces the vendor's (udev(7)).
        return any((text or "").strip() for text in (vendors if own is None else [own]))

    def startable(self, environment: Environment) -> bool:
        """Whether a unit file of it is installed and not masked."""
        return any(
            not environment.is_masked(f"{ETC_UNITS}/{unit}")
            and any(environment.read_file(f"{f}/{unit}") is not None for f in UNIT_FOLDERS)
            for unit in self.templates
        )

    def owns(self, unit: str) -> bool:
        """Whether a unit of this name is the tool's."""
        return unit in self.templates or bool(self.instance and self.instance.fullmatch(unit))

    def link_of(self, unit: str) -> str | None:
        """The link that an instance is for."""
        found = self.instance.fullmatch(unit) if self.instance else None
        return found[1] if found else None

    def enabling_links(self, environment: Environment) -> Iterator[str]:
        """Links in /etc/systemd/system by which another unit starts one of it."""
        for folder in environment.list_folder(ETC_UNITS):
            if _WANTS.fullmatch(folder):
                for unit in environment.list_folder(f"{ETC_UNITS}/{folder}"):
                    if self.owns(unit):
                        yield f"{ETC_UNITS}/{folder}/{unit}"

    def working(self, environment: Environment, *, ask: bool = True) -> tuple[str, ...]:
        """Its units that are active, or that something starts at boot.

        ``ask``: systemd reports timers, too; else only services count, by systemd's files.
        """
        names = {name.removeprefix("invocation:") for name in environment.list_folder(_INVOCATIONS)}
        names = {name for name in names if self.owns(name)}
        for path in self.enabling_links(environment):
            folder, unit = path.split("/")[-2:]
            if is_wanted(unit, folder, environment):
                names.add(unit)
        if ask:
            names.update(filter(self.owns, environment.working_units(self.patterns)))
        return tuple(sorted(names, key=timers_first))


def timers_first(unit: str) -> tuple[bool, str]:
    """A sort key. A timer that fires while its service is stopped would start the service again."""
    return not unit.endswith(".timer"), unit


NET_UTILS = Wiring(
    Rival.NET_UTILS,
    ("policy-routes@*", "refresh-policy-routes@*"),
    (
        "refresh-policy-routes@.timer",
        "refresh-policy-routes@.service",
        "policy-routes@.service",
    ),
    re.compile(r"(?:refresh-)?policy-routes@(.+)\.(?:service|timer)"),
    "99-vpc-policy-routes.rules",
    ("setup-policy-routes", "policy-routes@"),
)
"""2.7.4's policy-routes@.service starts the timer by Wants=, and the timer has no [Install]."""

NM_CLOUD_SETUP = Wiring(
    Rival.NM_CLOUD_SETUP,
    ("nm-cloud-setup.*",),
    ("nm-cloud-setup.timer", "nm-cloud-setup.service"),
    programs=("nm-cloud-setup",),
)
"""NetworkManager's dispatcher starts the service if systemd says that it is enabled."""

CLOUD_NETCONFIG = Wiring(
    Rival.CLOUD_NETCONFIG,
    ("cloud-netconfig*",),
    ("cloud-netconfig.timer", "cloud-netconfig.service"),
    rule="51-cloud-netconfig-hotplug.rules",
    programs=("cloud-netconfig",),
)
"""NetworkManager's dispatcher and netconfig run it, too; its setting ends that."""

WIRINGS = {wiring.rival: wiring for wiring in (NET_UTILS, NM_CLOUD_SETUP, CLOUD_NETCONFIG)}
"""By the name in the configuration."""
