# SPDX-License-Identifier: Apache-2.0
"""``ec2net pause --for 2h``: no changes on this host until then. Passes still read and compare."""

from argparse import Namespace

from ec2net.core.model.errors import ExitStatus
from ec2net.core.runtime.clock import date
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import pause
from ec2net.core.state.config_in_force import workplace
from ec2net.core.state.lock import HostLock

_REASON = 200
"""Characters of a reason."""


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True, must_go_on=True)
    path, reason = options.config_root / pause.PLACE, " ".join(options.reason.split())[:_REASON]
    # A pass that changes something ends first: after this command nothing changes.
    with HostLock(place.run, Deadline(place.config.timeouts.lock, "waiting for the host lock")):
        begun = pause.begin(path, options.seconds, reason)
    print(f"Changes are paused until {date(begun.until)}. To end the pause, run: ec2net resume")
    return ExitStatus.DONE
