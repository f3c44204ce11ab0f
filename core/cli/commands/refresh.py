# SPDX-License-Identifier: Apache-2.0
"""``ec2net refresh``: run one pass over all ENIs. Prints nothing if nothing changed.

If the daemon runs, the daemon makes the pass at once.
"""

import json
import logging
import os
import sys
from argparse import Namespace
from contextlib import ExitStack

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
    report = done.report
    if options.json:
        print(json.dumps(done.to_json(), indent=2))
    elif sys.stdout.isatty() and not report.done:
        print("Nothing to change.")
    return place.status(report.exit_status)


def again(options: Namespace) -> ExitStatus:
    """Configure every ENI after a hand-over, and once more to restore what the former manager
    removed at its end. Repeats until a pass ends without an error: the new manager leases at its
    own pace."""
    asked = Namespace(**{**vars(options), "json": False, "unless_quiet": False, "retry": False})
    for number in range(1, _TRIES + 1):
        status = run(asked)
        if number >= _AGAIN and status is ExitStatus.DONE:
            break
        if status is not ExitStatus.DONE:
            Deadline(2 * _PAUSE, "waiting for the network manager").sleep(_PAUSE)
    return status


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
    for level, text in answer.pop("lines", ()):
        _log.log(int(level), "%s", text)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif sys.stdout.isatty() and not answer.get("changes"):
        print("Nothing to change.")
    return place.status(status)
