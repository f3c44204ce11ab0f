# SPDX-License-Identifier: Apache-2.0
"""Whether the unit that keeps ENIs configured runs, and does so after the next boot.

There are two modes (docs/resident.md): the daemon, and on-demand mode, where a timer starts passes. A
failed unit of ec2net is collected at once (``CollectMode=inactive-or-failed``), so systemd reports
many a failed one as inactive: the journal has the reason.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from ec2net.core.host.files import Environment
from ec2net.core.host.systemctl import BOOTED
from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline

SERVICE, TARGET, TIMER = "ec2net.service", "ec2net-on-demand.target", "ec2net-refresh.timer"

_SECONDS = 2.0
"""For systemctl, which answers within 20 ms."""
_WANTS = f"/etc/systemd/system/multi-user.target.wants/{SERVICE}"
_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState"

_log = logging.getLogger("ec2net.units")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit's properties, as ``systemctl show`` reports them (org.freedesktop.systemd1(5))."""

    load: str
    active: str
    sub: str
    file: str

    @property
    def installed(self) -> bool:
        return self.load not in ("not-found", "")

    @property
    def masked(self) -> bool:
        return self.load == "masked" or self.file.startswith("masked")

    @property
    def enabled(self) -> bool:
        return self.file.startswith("enabled")

    @property
    def runs(self) -> bool:
        """Whether it is active, or starts for the first time."""
        return self.active in ("active", "activating", "reloading") and self.sub != "auto-restart"


_ABSENT = Unit("not-found", "inactive", "dead", "")


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of the unit that keeps ENIs configured."""

    unit: str
    problem: str
    remedy: str
    masked: bool = False
    now: bool = True
    """False if only the next boot lacks the unit."""

    def __str__(self) -> str:
        return f"{self.unit} {self.problem}"


def service_fault(daemon_runs: bool, environment: Environment) -> Fault | None:
    """The fault; None if there is none, and where systemd does not run the host or does not answer.

    systemd is not asked where the daemon runs and its unit is enabled in the usual place.
    """
    if not BOOTED.is_dir() or (daemon_runs and environment.read_link(_WANTS) is not None):
        return None
    try:
        units = _read()
    except CommandFailed as error:
        _log.debug("systemctl show: %s", error)
        return None
    return fault(units, daemon_runs)


def fault(units: Mapping[str, Unit], daemon_runs: bool) -> Fault | None:
    """The fault that follows from the three units of the two modes. Pure."""
    service, target, timer = (units.get(name, _ABSENT) for name in (SERVICE, TARGET, TIMER))
    if not daemon_runs and target.installed and (target.enabled or target.active == "active"):
        return _unit(TARGET, target) or _unit(TIMER, timer, enabled=True)
    if not service.installed:
        return None
    return _unit(SERVICE, service, runs=daemon_runs)


def _unit(name: str, unit: Unit, *, runs: bool = False, enabled: bool = False) -> Fault | None:
    """``runs``, ``enabled``: known from elsewhere."""
    runs, enabled = runs or unit.runs, enabled or unit.enabled
    if unit.masked:
        text = "runs, but is masked: nothing configures ENIs after the next boot"
        return Fault(
            name,
            text if runs else "is masked: nothing keeps the ENIs in line with EC2",
            f"run: systemctl unmask {name} && systemctl enable --now {name}",
            masked=True,
            now=not runs,
        )
    if runs:
        if enabled or unit.file != "disabled":
            return None
        text = "runs, but is disabled: nothing configures ENIs after the next boot"
        return Fault(name, text, f"run: systemctl enable {name}", now=False)
    why = f"see why: journalctl -b -u {name}; then: systemctl"
    if unit.active == "failed" or unit.sub == "auto-restart":
        text = "has failed: nothing keeps the ENIs in line with EC2"
        return Fault(name, text, f"{why} restart {name}")
    if enabled or unit.file != "disabled":
        return Fault(
            name, "is stopped: nothing keeps the ENIs in line with EC2", f"{why} start {name}"
        )
    text = "is stopped and disabled: nothing keeps the ENIs in line with EC2"
    return Fault(name, text, f"run: systemctl enable --now {name}")


def _read() -> dict[str, Unit]:
    """Raises ``CommandFailed``."""
    words = ("systemctl", "show", f"--property={_PROPERTIES}", "--", SERVICE, TARGET, TIMER)
    return parsed(output(words, Deadline(_SECONDS, "systemctl show")))


def parsed(text: str) -> dict[str, Unit]:
    """The units of what ``systemctl show`` prints: blocks of ``KEY=value``, an empty line between."""
    units = {}
    for block in text.split("\n\n"):
        keys = dict(line.partition("=")[::2] for line in block.splitlines())
        if name := keys.get("Id"):
            units[name] = Unit(
                keys.get("LoadState", ""),
                keys.get("ActiveState", ""),
                keys.get("SubState", ""),
                keys.get("UnitFileState", ""),
            )
    return units
