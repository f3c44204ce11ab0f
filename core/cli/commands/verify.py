# SPDX-License-Identifier: Apache-2.0
"""``ec2net verify``: is everything as intended, and would traffic leave so? Changes nothing."""

import json
from argparse import Namespace
from collections.abc import Sequence

from ec2net.core.decide.intent import Standing
from ec2net.core.engine import verify
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.model.finding import Finding
from ec2net.core.report import as_json
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.codec import encode
from ec2net.core.state.config_in_force import workplace


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=False)
    deadline = Deadline(place.config.timeouts.pass_, "verify")
    with opened(place) as engine:
        view = inspect(engine, deadline)
        found = [*verify.differences(view.plan)]
        found += [Finding(c.mac, c.describe()) for c in view.plan.conflicts]
        problems = [*view.problems, *_refused(view)]
        names = {link.index: link.name for link in view.snapshot.links}
        checked = 0
        for intent in view.host.ready:
            found += engine.check(intent, view, names, deadline)
            checked += len(intent.sources)
    if options.json:
        print(json.dumps(_document(problems, found, checked), indent=2))
    else:
        for problem in problems:
            print(f"! {problem}")
        for finding in found:
            eni = view.host.of(finding.mac) if finding.mac else None
            print(f"! {eni.name if eni else 'gone'}: {finding.describe()}")
        if not found and not problems:
            enis = len(view.host.ready)
            print(f"OK: all {checked} addresses on {enis} ENIs use the right interface.")
    if problems:
        return ExitStatus.FAILED
    return ExitStatus.DRIFT if found else ExitStatus.DONE


def _refused(view: View) -> list[Ec2netError]:
    """Nothing is verified on a refused ENI."""
    return [
        Ec2netError(f"refused: {eni.reason}", subject=eni.name)
        for eni in view.host.enis
        if eni.standing is Standing.REFUSED
    ]


def _document(
    problems: Sequence[Exception], found: list[Finding], checked: int
) -> dict[str, object]:
    return {
        "version": as_json.VERSION,
        "checked": checked,
        "findings": [{"eni": encode(f.mac), "text": f.describe()} for f in found],
        "problems": [str(problem) for problem in problems],
    }
