# SPDX-License-Identifier: Apache-2.0
"""``ec2net refresh``: one pass over all ENIs. Says nothing when there is nothing to say."""

import json
import sys
from argparse import Namespace

from ec2net.core import outcome
from ec2net.core.deadline import Deadline
from ec2net.core.errors import Ec2netError, ExitStatus, Stopped
from ec2net.core.lock import HostLock
from ec2net.core.quiet import may_skip
from ec2net.core.signals import StopSignals
from ec2net.core.stale_units import end, stale_units
from ec2net.core.state import RunDir
from ec2net.core.unseen_links import show, unseen
from ec2net.core.workplace import opened, workplace


def run(options: Namespace) -> ExitStatus:
    if options.unless_quiet and may_skip(RunDir(options.run_dir)):
        return ExitStatus.DONE
    place = workplace(options, may_fall_back=True)
    timeouts = place.config.timeouts
    with StopSignals() as signals:
        lock = Deadline(timeouts.lock, "waiting for the host lock", interruptions=[signals])
        with HostLock(place.run, lock):
            deadline = Deadline(timeouts.pass_, "refresh", interruptions=[signals])
            try:
                with opened(place) as engine:
                    if lost := unseen(engine.kernel.names(place.config.drivers)):
                        show(lost, deadline)
                    report = engine.run_pass(deadline)
            except Stopped:
                raise
            except Ec2netError as error:
                outcome.publish_failure(place.run, error)
                raise
            done = outcome.publish(place, report)
        if stale := list(stale_units()):
            end(stale, Deadline(timeouts.pass_, "refresh", interruptions=[signals]))
    outcome.tell(done)
    report = done.report
    if options.json:
        print(json.dumps(done.to_json(), indent=2))
    elif sys.stdout.isatty() and not report.done:
        print("Nothing to change.")
    return place.status(report.exit_status)
