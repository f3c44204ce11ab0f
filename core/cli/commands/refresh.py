# SPDX-License-Identifier: Apache-2.0
"""``ec2net refresh``: run one pass over all ENIs. Prints nothing if nothing changed.

If the daemon runs, the daemon makes the pass at once.
"""

import json
import logging
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from ec2net.core.daemon.sole import manager_runs
from ec2net.core.engine.one_pass import failure_published, one_pass
from ec2net.core.engine.setup import opened
from ec2net.core.host.missed_events import end_units, show, stale_units, unseen
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.report import log_lines
from ec2net.core.report.publisher import StatusPublisher
from ec2net.core.report.quiet_host import may_skip
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state import holds
from ec2net.core.state.config_in_force import Workplace, workplace
from ec2net.core.state.lock import HostLock, check_lock
from ec2net.core.state.run_dir import RunDir

_log = logging.getLogger("ec2net.pass")

_AGAIN, _TRIES = 2, 10
"""Passes after a change of who does what, at least and at most."""

_USUAL = "configured"
"""The state that a summary does not name."""

_PAUSE = 1.0
"""Seconds before a pass that follows one that did not end well: a router's advertisement may be late."""


def run(options: Namespace) -> ExitStatus:
    # systemd starts this command as OnFailure= of the daemon, also for a daemon that never ran. A
    # pass is necessary then (systemd.exec(5), "$MONITOR_SERVICE_RESULT").
    replacing = os.environ.get("MONITOR_SERVICE_RESULT", "success") != "success"
    if options.unless_quiet and not replacing and may_skip(RunDir(options.run_dir)):
        return ExitStatus.DONE
    place = workplace(options, may_fall_back=True)
    timeouts = place.config.timeouts
    if options.retry:
        with HostLock(place.run, Deadline(timeouts.lock, "waiting for the host lock")):
            holds.release(place.run)
    if manager_runs(place.run):
        status = _by_manager(place, options)
        if status is not None:
            return status
    check_lock(place.run)
    with StopSignals() as signals, ExitStack() as stack:
        publisher = StatusPublisher(place, timed=options.unless_quiet)
        with failure_published(publisher):
            engine = stack.enter_context(opened(place))
            if lost := unseen(engine.kernel.names(place.config.drivers)):
                show(lost, signals.deadline(timeouts.pass_, "refresh"))
        done = one_pass(engine, publisher, signals.deadline, "refresh", check=None)
        if stale := list(stale_units()):
            end_units(stale, signals.deadline(timeouts.pass_, "refresh"))
    log_lines.report(done)
    status = place.status(done.report.exit_status)
    if options.json:
        print(json.dumps(done.to_json(), indent=2))
    elif sys.stdout.isatty() and status is ExitStatus.DONE:
        print(summary(done.to_json()))
    return status


def summary(document: Mapping[str, Any]) -> str:
    """The result of a pass that ended well, from its document: ``2 ENIs, nothing to change.``"""
    states = Counter(map(_state, document["enis"]))
    enis = states.total()
    other = [f"{number} {state}" for state, number in states.items() if state != _USUAL]
    shown = f" ({', '.join(other)})" if other else ""
    changes = len(document["changes"])
    made = f"{changes} change{'' if changes == 1 else 's'} made" if changes else "nothing to change"
    return f"{enis} ENI{'' if enis == 1 else 's'}{shown}, {made}."


def _state(eni: Mapping[str, Any]) -> str:
    """The state in a row of a document. A daemon of an earlier version gives only the standing."""
    return str(eni.get("state", eni.get("standing")))


def within(options: Namespace) -> ExitStatus:
    """A refresh as a part of another command, which has these ``options``."""
    return run(Namespace(**{**vars(options), "json": False, "unless_quiet": False, "retry": False}))


def again(options: Namespace, between: Callable[[], None] | None = None) -> ExitStatus:
    """Configure every ENI after a hand-over, and once more to restore what the former manager
    removed at its end. Repeats until a pass ends without an error: the new manager leases at its
    own pace.

    ``between`` runs after each pass: it removes objects of another tool, which the first pass
    reports as problems. Those of the first pass are therefore not logged.
    """
    for number in range(1, _TRIES + 1):
        with _without_problems() if between and number == 1 else nullcontext():
            status = within(options)
        if between is not None:
            between()
        if number >= _AGAIN and status is ExitStatus.DONE:
            break
        if status is not ExitStatus.DONE:
            Deadline(2 * _PAUSE, "waiting for the network manager").sleep(_PAUSE)
    return status


@contextmanager
def _without_problems() -> Iterator[None]:
    """Changes are logged meanwhile, and no problem of a pass is."""

    def is_change(entry: logging.LogRecord) -> bool:
        return entry.levelno < logging.WARNING

    _log.addFilter(is_change)
    try:
        yield
    finally:
        _log.removeFilter(is_change)


def _by_manager(place: Workplace, options: Namespace) -> ExitStatus | None:
    """Let the daemon make the pass; None if the daemon ended meanwhile.

    Raises ``Ec2netError`` if the daemon does not answer in time.
    """
    from ec2net.core.daemon.control import poke

    timeouts = place.config.timeouts
    with StopSignals() as signals:
        seconds = 2 * (timeouts.lock + timeouts.pass_)  # the daemon may be in the middle of a pass
        manager = signals.deadline(seconds, "waiting for the daemon")
        answer = poke(place.run, manager)
    if answer is None:
        return None
    status = ExitStatus(int(answer.pop("exit_status", ExitStatus.FAILED)))
    if "error" in answer:
        raise Ec2netError(str(answer["error"]), subject="ec2net.service")
    _show(answer.get("enis", ()), int(answer.get("requests", 0)))
    for level, text in answer.pop("lines", ()):
        _log.log(int(level), "%s", text)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif sys.stdout.isatty() and place.status(status) is ExitStatus.DONE:
        print(summary(answer))
    return place.status(status)


def _show(enis: Iterable[Mapping[str, Any]], requests: int) -> None:
    """Log the daemon's result for ``--verbose``: the daemon's own log has only the news."""
    _log.debug("the daemon ran the pass, with %d requests to IMDS", requests)
    for eni in enis:
        intent = eni["intent"]
        wanted = len(intent["base"]) + len(intent["further"]) if intent else 0
        _log.debug(
            "%s: %s%s, backend %s, %s of %d addresses",
            eni["link"] or eni["mac"],
            _state(eni),
            f" ({eni['reason']})" if eni["reason"] else "",
            eni["backend"] or "none",
            eni["there"] or 0,
            wanted,
        )
