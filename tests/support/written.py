# SPDX-License-Identifier: Apache-2.0
"""The files that the program writes, from its sources: the table of docs/security.md.

The calls that write state files contain their names and modes. Writers of other files are found as
well, and ``ELSEWHERE`` must list the paths of each.
"""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass

from checkout import TOP

STATE = "/run/ec2net/"
READABLE, SECRET = 0o644, 0o600

WRITERS = {"write_whole", "write_file", "synced_write", "open_regular", "bind", "mkstemp"}
"""Functions that make files, but for those of ``RunDir``."""

PARTS = {
    "core/runtime/files.py",
    "core/state/run_dir.py",
    "core/state/per_eni.py",
    "core/state/codec.py",
    "core/live/owned_file.py",
}
"""Modules by which others write."""

ELSEWHERE = {
    "core/daemon/control.py": "/run/ec2net/control",
    "core/daemon/sole.py": "/run/ec2net/resident.lock",
    "core/state/lock.py": "/run/ec2net/lock",
    "core/migration/record.py": "/var/lib/ec2net/adopted.json",
    "core/state/pause.py": "/var/lib/ec2net/paused.json",
    "core/migration/kept.py": "/var/lib/ec2net/migrated-TOOL.json",
    "core/cli/commands/migrate.py": "/etc/default/cloud-netconfig",
    "core/cli/commands/record.py": "`record FILE`",
    "core/cli/commands/support.py": "`support FILE`",
    "core/report/metrics.py": "the file of `metrics_file`",
    "core/engine/connect.py": "",
    "core/kernel/link_events.py": "",
    "backends/networkd/files.py": "/run/systemd/network/",
    "backends/networkmanager/conf.py": "/run/NetworkManager/conf.d/80-ec2net.conf",
}
"""Paths that these modules write; empty: no file."""

BY_STEPS = {
    "/run/ec2net/last-pass": ("0644", "core/state/last_pass.py"),
    "masks in /etc/systemd/system and /etc/udev/rules.d": ("link", "core/migration/steps.py"),
    "/etc/systemd/network/95-ec2net-adopted.network": ("0644", "backends/networkd/fallback.py"),
    "/etc/resolv.conf.before-ec2net": ("unchanged", "core/migration/resolv_conf.py"),
}
"""Files that no call of ``WRITERS`` writes, with the mode and the module; the tests compare the modules."""

WHAT = {
    "/run/ec2net/last-pass": "an empty file: its time is that of the last pass over all ENIs",
    "masks in /etc/systemd/system and /etc/udev/rules.d": "by `migrate --apply` and `adopt networkd"
    " --apply` alone: links to /dev/null, or to a unit that they enable",
    "/etc/systemd/network/95-ec2net-adopted.network": "by `adopt networkd --apply` alone: DHCP for"
    " links that are no ENIs",
    "/etc/resolv.conf.before-ec2net": "by `adopt networkd --apply` alone: the former file, while"
    " /etc/resolv.conf is a link",
    "/run/ec2net/at-boot.json": "the ENIs that the host had at boot",
    "/run/ec2net/begun/": "the links that ec2net has changed",
    "/run/ec2net/config.json": "the last good configuration",
    "/run/ec2net/control": "a socket by which root can ask for a pass, and nothing else",
    "/run/ec2net/drift/": "for each ENI, the changes by other programs",
    "/run/ec2net/facts/": "for each ENI, the last known good values of IMDS",
    "/run/ec2net/held.json": "changes that were rolled back and are on hold",
    "/run/ec2net/imds-token.json": "the session token of IMDS, for six hours",
    "/run/ec2net/journal/": "for each ENI, owned objects without a mark, and former settings",
    "/run/ec2net/lock": "a lock of passes, which only root can open; `status` reads /proc/locks",
    "/run/ec2net/metrics.json": "counters of this boot",
    "/run/ec2net/networkmanager/": "for each ENI, the activation that ec2net asked for",
    "/run/ec2net/primary.json": "the primary ENI",
    "/run/ec2net/quiet.json": "the time of the last pass on a quiet host",
    "/run/ec2net/reload-due.json": "files that systemd-networkd has not read yet",
    "/run/ec2net/resident.json": "the states of ENIs in the daemon",
    "/run/ec2net/resident.lock": "the lock of the daemon",
    "/run/ec2net/status.json": "addresses, ids, states; `ip addr` shows the same to every user",
    "/run/systemd/network/": "files with a header that names the ENI",
    "/run/NetworkManager/conf.d/80-ec2net.conf": "defaults for the profiles of ENIs",
    "/var/lib/ec2net/migrated-TOOL.json": "by `migrate` alone: files of the former tool, as they were; `--undo`"
    " restores these files",
    "/var/lib/ec2net/adopted.json": "by `adopt networkd` alone: units, DHCP clients with their"
    " arguments, sysctls, as they were",
    "/var/lib/ec2net/paused.json": "by `pause` alone: the end of the pause, and its reason",
    "/etc/default/cloud-netconfig": "by `migrate --from cloud-netconfig --apply` alone: the setting that"
    " turns this tool off",
    "`record FILE`": "a record (see below)",
    "`support FILE`": "an archive with a record, the output of other commands and the journal",
    "the file of `metrics_file`": "the metrics, for every user to read",
}
"""The content of each file. The tests compare the keys with the sources."""


@dataclass(frozen=True, slots=True, order=True)
class Written:
    """A file or a folder of files."""

    where: str
    mode: str
    module: str


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("core", "backends"):
        for path in sorted((TOP / folder).rglob("*.py")):
            name = str(path.relative_to(TOP))
            if not name.startswith("core/simulation/"):
                yield name, ast.parse(path.read_text())


def state_files() -> Iterator[Written]:
    """From the calls ``run.write(NAME, ...)``, ``codec.write(run, NAME, ...)``,
    ``per_eni.write``."""
    for module, tree in modules():
        if module in PARTS:
            continue
        for call in _calls(tree):
            name = _state_name(call)
            if name is not None:
                mode = next((_number(k.value) for k in call.keywords if k.arg == "mode"), READABLE)
                yield Written(STATE + _resolved(name, module), f"{mode:04o}", module)


def other_writers() -> dict[str, str]:
    """The modules that call one of ``WRITERS``, each with the mode of its files."""
    found = {}
    for module, tree in modules():
        called = {_name(call.func) for call in _calls(tree)}
        opened = any(ast.unparse(call.func) == "files.write" for call in _calls(tree))
        if module in PARTS or not (called & WRITERS or (opened and module.startswith("core/"))):
            continue
        modes = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in (READABLE, SECRET)
        }
        if "synced_write" in called:
            found[module] = f"{SECRET:04o}"
        elif "write_whole" in called and not modes:
            found[module] = "unchanged"
        elif opened and module.startswith("core/"):
            found[module] = "umask"
        else:
            found[module] = f"{SECRET if SECRET in modes else READABLE:04o}"
    return found


def written() -> tuple[Written, ...]:
    """State files first; a folder has a file for each ENI or link in it."""
    elsewhere = (
        Written(where, mode, module)
        for module, mode in other_writers().items()
        if (where := ELSEWHERE[module])
    )
    steps = (Written(where, mode, module) for where, (mode, module) in BY_STEPS.items())
    return (*sorted(set(state_files())), *sorted((*elsewhere, *steps)))


def table() -> str:
    rows = ["| where | mode | what | written by |", "| --- | --- | --- | --- |"]
    for one in written():
        rows.append(f"| {one.where} | {one.mode} | {WHAT[one.where]} | `{one.module}` |")
    return "\n".join(rows)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _state_name(call: ast.Call) -> ast.expr | None:
    """The expression for the name that a call writes; None if it writes no state file."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr != "write" or not call.args:
        return None
    by = ast.unparse(function.value)
    if by in ("codec", "per_eni"):
        return call.args[1]
    return call.args[0] if by.rpartition(".")[2].strip("_") in ("run", "directory") else None


def _resolved(name: ast.expr, module: str) -> str:
    """A constant of a module, or the folder of ``file(FOLDER, mac)``."""
    loaded = importlib.import_module("ec2net." + module.removesuffix(".py").replace("/", "."))
    if isinstance(name, ast.Call):
        return f"{loaded._FOLDER}/"
    if isinstance(name, ast.Constant):
        return str(name.value)
    value = eval(ast.unparse(name), vars(loaded))
    return str(value) if str(value).endswith(".json") else f"{value}/"


def _number(node: ast.expr) -> int:
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    return node.value
