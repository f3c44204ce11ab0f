# SPDX-License-Identifier: Apache-2.0
"""Units of network managers: which links enable or mask them, and which are active.

The symbolic links below /etc/systemd/system enable units (systemctl(1)). ec2net records the links,
since ``disable`` after ``enable`` need not restore the same ones.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from ec2net.core.host.files import Environment
from ec2net.core.host.systemctl import units_in
from ec2net.core.migration.steps import Delete, Link, Step
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.command import CommandFailed
from ec2net.core.runtime.deadline import Deadline

FOLDER = "/etc/systemd/system"
_INSTALLED = ("/usr/lib/systemd/system", "/lib/systemd/system", FOLDER)

NETWORKD, RESOLVED = "systemd-networkd.service", "systemd-resolved.service"
NEW = re.compile(r"systemd-(networkd|resolved)\b.*")
"""Units of the new managers: with their sockets and what waits for them, by release."""

NETWORKMANAGER = "NetworkManager.service"
NETWORKMANAGERS = (
    "nm-cloud-setup.timer",
    "nm-cloud-setup.service",
    "NetworkManager-wait-online.service",
    "NetworkManager-dispatcher.service",
    NETWORKMANAGER,
)
"""In the order in which they are stopped. nm-cloud-setup starts NetworkManager (Requires=)."""

NETWORKING, IFUP = "networking.service", "ifup@.service"

_CONCERNED = re.compile(
    r"(systemd-network|systemd-resolved|NetworkManager|nm-cloud-setup|networking\.|ifup@"
    r"|dbus-org\.freedesktop\.(network1|resolve1|nm-dispatcher|NetworkManager)\.).*"
)
_FOLDERS = re.compile(r".+\.(wants|requires|upholds)")
_PATTERNS = (
    "systemd-networkd*",
    "systemd-resolved*",
    "NetworkManager*",
    "nm-cloud-setup*",
    "ifup@*",
)
_NULL = "/dev/null"


def is_installed(unit: str, environment: Environment) -> bool:
    paths = (f"{folder}/{unit}" for folder in _INSTALLED)
    return any(environment.read_file(path) for path in paths)


def links(environment: Environment) -> dict[str, str]:
    """Every link that enables or masks one of them, or is another name for it, and its target."""
    found = {}
    for path in _paths(environment):
        target = environment.read_link(path)
        names = (path.rpartition("/")[2], (target or "").rpartition("/")[2])
        if target is not None and any(_CONCERNED.fullmatch(name) for name in names):
            found[path] = target
    return found


def _paths(environment: Environment) -> Iterator[str]:
    for name in environment.list_folder(FOLDER):
        path = f"{FOLDER}/{name}"
        yield path
        if _FOLDERS.fullmatch(name):
            yield from (f"{path}/{unit}" for unit in environment.list_folder(path))


def is_masked(unit: str, present: Mapping[str, str]) -> bool:
    return present.get(f"{FOLDER}/{unit}") == _NULL


def is_wanted(unit: str, present: Mapping[str, str]) -> bool:
    """Whether a boot starts it: something wants it, and it is not masked."""
    wanted = any(path.endswith(f"/{unit}") and path.count("/") == 5 for path in present)
    return wanted and not is_masked(unit, present)


def links_of(names: Collection[str], present: Mapping[str, str]) -> tuple[str, ...]:
    """The links that enable these units, and their other names."""
    return tuple(
        path
        for path, target in sorted(present.items())
        if {path.rpartition("/")[2], target.rpartition("/")[2]} & set(names)
    )


def masked(present: Mapping[str, str]) -> tuple[str, ...]:
    """The masked units of the new managers."""
    names = (path.rpartition("/")[2] for path, target in present.items() if target == _NULL)
    return tuple(sorted(name for name in names if NEW.fullmatch(name)))


def active(deadline: Deadline) -> tuple[str, ...]:
    """The active units, sockets included, as systemd reports. Raises ``Ec2netError``."""
    try:
        names = units_in("active", _PATTERNS, deadline)
    except CommandFailed as error:
        raise Ec2netError(f"systemctl: {error}", subject="adopt") from error
    return tuple(sorted(name for name in names if not name.endswith(".slice")))


def restore(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Step]:
    """Steps from the links that there are to those that there were: what is new goes last."""
    for path, target in sorted(before.items()):
        if now.get(path) != target:
            yield Link(path, target)
    gone = sorted(now.keys() - before.keys())
    yield from map(Delete, gone)


def empty_folders(
    gone: Collection[str], before: Collection[str], environment: Environment
) -> Iterator[Step]:
    """Folders in which nothing but ``gone`` is left, as systemctl deletes them, too."""
    for folder in sorted({path.rpartition("/")[0] for path in gone} - {FOLDER}):
        there = {f"{folder}/{name}" for name in environment.list_folder(folder)}
        if there <= set(gone) and not any(path.startswith(f"{folder}/") for path in before):
            yield Delete(folder)
