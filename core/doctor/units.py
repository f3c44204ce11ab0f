# SPDX-License-Identifier: Apache-2.0
"""Our units: masked ones by the file system, failed ones as systemd lists them. Pure."""

from collections.abc import Iterable, Iterator

from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.host.files import Environment
from ec2net.core.host.service import Fault
from ec2net.core.runtime.clock import date

PATTERN = "ec2net*"
"""The arguments of systemctl."""

_OURS = ("ec2net.", "ec2net-", "ec2net@")
_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
)
_ON_DEMAND = "ec2net-on-demand.target"


def masked(environment: Environment) -> Iterator[Finding]:
    """A link to /dev/null (systemd.unit(5)). An error if nothing else does its work."""
    wants = environment.read_link(f"/etc/systemd/system/multi-user.target.wants/{_ON_DEMAND}")
    needed = (_ON_DEMAND, "ec2net-refresh.timer") if wants else ("ec2net.service",)
    for folder in _FOLDERS:
        for unit in environment.list_folder(folder):
            is_mask = environment.is_masked(f"{folder}/{unit}")
            if not unit.startswith(_OURS) or not is_mask:
                continue
            runtime = " --runtime" if folder.startswith("/run") else ""
            yield Finding(
                Severity.ERROR if unit in needed else Severity.WARNING,
                Check.UNIT_MASKED,
                unit,
                f"{folder}/{unit} is a link to /dev/null: systemd cannot start the unit",
                f"run: systemctl unmask{runtime} {unit}",
            )


def service(fault: Fault | None, last_pass: str | None) -> Iterator[Finding]:
    """The unit that keeps ENIs configured does not run. A masked one has its own finding."""
    if fault is not None and not fault.masked:
        passed = f"the last pass was at {date(last_pass)}" if last_pass else "no pass in this boot"
        yield Finding(
            Severity.ERROR if fault.now else Severity.WARNING,
            Check.SERVICE,
            fault.unit,
            f"{fault.problem}; {passed}" if fault.now else fault.problem,
            fault.remedy,
        )


def failed(units: Iterable[str], fault: Fault | None = None) -> Iterator[Finding]:
    """``fault``: the unit with a finding of its own."""
    for unit in units:
        if fault is not None and unit == fault.unit:
            continue
        yield Finding(
            Severity.ERROR,
            Check.UNIT_FAILED,
            unit,
            "the unit has failed",
            f"see why: journalctl -b -u {unit}; then: systemctl restart {unit}",
        )
