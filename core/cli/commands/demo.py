# SPDX-License-Identifier: Apache-2.0
"""``ec2net demo``: every feature, in a VPC made of network namespaces on this machine."""

import shutil
import sys
from argparse import Namespace

from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.simulation.vpc import sandbox

TOOLS = {"ip": "iproute2", "bridge": "iproute2", "nft": "nftables"}
"""Commands that the simulated VPC needs, and the packages that have them."""

_INTRODUCTION = """\
A VPC made of network namespaces on this machine; nothing outside of them is touched.
Commands run in the guest as shown. They have a state directory and a configuration of their own,
which only declares veth links as ENIs (but not the one of a container).
Each tick is a check that was made: connections, the source check's drop counter, dumps of 'ip'."""


def run(options: Namespace) -> ExitStatus:
    _require_tools()
    sandbox.enter()
    from ec2net.core.simulation.demo.screen import Screen
    from ec2net.core.simulation.demo.script import STEPS
    from ec2net.core.simulation.demo.show import show
    from ec2net.core.simulation.demo.stage import Stage

    screen = Screen(sys.stdout)
    for line in _INTRODUCTION.splitlines():
        screen.say(line)
    try:
        with Stage() as stage:
            return show(STEPS, stage, screen, keep_going=options.keep_going)
    except KeyboardInterrupt:
        raise Ec2netError("stopped by Ctrl-C; the simulated VPC was removed") from None


def _require_tools() -> None:
    path = sandbox.command_path()["PATH"]
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
        raise Ec2netError(
            f"the simulated VPC cannot start without {', '.join(missing)}, not found on this host",
            remedy=f"run: apt-get install {packages}",
        )
