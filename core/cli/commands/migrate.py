# SPDX-License-Identifier: Apache-2.0
"""``ec2net migrate --from TOOL``: take the place of another tool on a running host, plan first."""

import json
from argparse import Namespace

from ec2net.core.host.files import Environment
from ec2net.core.migration.net_utils import from_net_utils
from ec2net.core.migration.steps import Mask, as_plan, perform
from ec2net.core.model.errors import ExitStatus
from ec2net.core.report import as_json
from ec2net.core.runtime.deadline import Deadline

SECONDS = 60.0
"""For all steps together; systemctl waits for units that it stops."""


def run(options: Namespace) -> ExitStatus:
    steps = from_net_utils(Environment())
    if options.json:
        document = {"version": as_json.VERSION, "steps": [step.describe() for step in steps]}
        print(json.dumps(document, indent=2))
    else:
        print(as_plan(steps, apply=options.apply) if steps else "Nothing is left of it.")
    if not options.apply:
        return ExitStatus.DONE
    perform(steps, Deadline(SECONDS, "migrate"), subject="migrate")
    if not options.json:
        for step in steps:
            if isinstance(step, Mask):
                print(f"To take that back: {step.undo()}")
    from ec2net.core.cli.commands import refresh

    return refresh.again(options)
