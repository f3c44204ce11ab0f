# SPDX-License-Identifier: Apache-2.0
"""Go through the script: do each part, print it, count what failed."""

import time
from collections.abc import Sequence

from ec2net.core.model.errors import ExitStatus
from ec2net.core.simulation.demo.screen import Screen
from ec2net.core.simulation.demo.stage import Stage
from ec2net.core.simulation.demo.steps import Check, Command, Event, Step


def show(steps: Sequence[Step], stage: Stage, screen: Screen, *, keep_going: bool) -> ExitStatus:
    """``FAILED`` if any check failed. Stops after the first step with one, or continues."""
    began = time.monotonic()
    checked = failed = 0
    for number, step in enumerate(steps, start=1):
        screen.title(f"{number}. {step.title}")
        verdicts = [_do(part, stage, screen) for part in step.parts]
        checked += sum(verdict is not None for verdict in verdicts)
        failed += verdicts.count(False)
        if failed and not keep_going:
            left = len(steps) - number
            screen.title(f"Stopped: {left} steps were not shown ('--keep-going' shows them).")
            break
    seconds = time.monotonic() - began
    screen.title(f"{checked - failed} of {checked} checks passed in {seconds:.1f} s.")
    return ExitStatus.FAILED if failed else ExitStatus.DONE


def _do(part: Command | Event | Check, stage: Stage, screen: Screen) -> bool | None:
    """The verdict, None where nothing was checked."""
    match part:
        case Event():
            part.happen(stage)
            if part.text:
                screen.event(part.text.format(stage=stage))
            return None
        case Command():
            screen.command(part.line)
            result = stage.run(part.line)
            screen.output(result.output, part.show)
            right = result.status in part.statuses
            if not right:
                wanted = " or ".join(str(int(status)) for status in part.statuses)
                screen.verdict(False, f"exit status {wanted}", f"it is {result.status}")
            elif result.status != ExitStatus.DONE:
                screen.verdict(True, f"exit status {result.status}", "")
            return right
        case Check():
            verdict = part.judge(stage)
            screen.verdict(verdict.ok, part.claim, verdict.reason)
            for line in verdict.details:
                screen.detail(line)
            return verdict.ok
