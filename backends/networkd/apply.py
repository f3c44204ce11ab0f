# SPDX-License-Identifier: Apache-2.0
"""Write files, let networkd read them, wait for the base addresses, then make the live changes.

networkd is asked to reload only when a file of an attached link changed; it then configures
that link and no other.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from ec2net.backends.networkd import files
from ec2net.backends.networkd.files import NetworkFile
from ec2net.core.backend import Applied, Failure, Host
from ec2net.core.deadline import Deadline
from ec2net.core.errors import Ec2netError
from ec2net.core.identity import Mac
from ec2net.core.live.leases import await_sources
from ec2net.core.plan import Action, Change, Plan

_log = logging.getLogger("ec2net.networkd")

RELOAD_SECONDS = 10.0
"""networkctl returns when networkd has read its files; a busy boot can make that seconds."""


def apply(
    plan: Plan, host: Host, live: Callable[[Plan, Deadline], Applied], deadline: Deadline
) -> Applied:
    """``live`` makes the changes of kernel objects. The first lease is waited for with the host's
    patience."""
    file_changes = [change for change in plan.changes if isinstance(change.item, NetworkFile)]
    rest = tuple(change for change in plan.changes if not isinstance(change.item, NetworkFile))
    done, failed = _write(file_changes)
    broken: dict[Mac | None, Ec2netError] = {f.change.mac: f.error for f in failed}
    attached = [change for change in done if change.mac is not None]
    if attached:
        try:
            reload(deadline)
            limit = deadline.within(host.patience, "waiting for leases")
            await_sources(rest, {change.mac for change in attached}, host.kernel, limit)
        except Ec2netError as error:
            broken |= {change.mac: error for change in attached}
            failed += [Failure(change, error) for change in attached]
            done = [change for change in done if change not in attached]
    skipped = [change for change in rest if change.mac in broken and change.mac is not None]
    made = live(replace(plan, changes=tuple(c for c in rest if c not in skipped)), deadline)
    failed += [Failure(change, broken[change.mac]) for change in skipped]
    return Applied((*done, *made.done), (*failed, *made.failed))


def _write(changes: list[Change]) -> tuple[list[Change], list[Failure]]:
    done, failed = [], []
    for change in changes:
        assert isinstance(change.item, NetworkFile)
        _log.debug("%s %s", change.action.value, change.item.describe())
        try:
            if change.action is Action.REMOVE:
                files.remove(change.item)
            else:
                files.write(change.item)
        except Ec2netError as error:
            failed.append(Failure(change, error))
        else:
            done.append(change)
    return done, failed


def reload(deadline: Deadline) -> None:
    """Let networkd read its files again. Raises ``Ec2netError``."""
    import subprocess

    limit = deadline.within(RELOAD_SECONDS, "networkctl reload")
    try:
        result = subprocess.run(
            ["networkctl", "reload"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit.remaining(),
            check=False,
        )
    except FileNotFoundError as error:
        raise Ec2netError(
            "there is no networkctl", remedy="is systemd-networkd installed?"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise limit.exceeded() from error
    if result.returncode != 0:
        raise Ec2netError(
            f"networkctl reload failed: {result.stderr.strip() or result.returncode}",
            remedy="see 'systemctl status systemd-networkd'",
        )
