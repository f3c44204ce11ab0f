# SPDX-License-Identifier: Apache-2.0
"""``ec2net resume``: end the pause, and make the changes that waited for its end."""

from argparse import Namespace

from ec2net.core.cli.commands import refresh
from ec2net.core.model.errors import ExitStatus
from ec2net.core.state import pause


def run(options: Namespace) -> ExitStatus:
    if not pause.end(options.config_root / pause.PLACE):
        print("There is no pause.")
        return ExitStatus.DONE
    print("The pause is over.", flush=True)
    return refresh.within(options)
