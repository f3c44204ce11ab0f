# SPDX-License-Identifier: Apache-2.0
"""``ec2net plan``: what would change, from this host or from a record. Changes nothing."""

import json
from argparse import Namespace

from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.model.errors import ExitStatus, ImdsError
from ec2net.core.model.identity import Mac
from ec2net.core.report import as_json, text
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import pause
from ec2net.core.state.config_in_force import workplace


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=False)
    deadline = Deadline(place.config.timeouts.pass_, "plan")
    whose = ["this host"]
    if options.imds is not None:
        from ec2net.core.record.replay import plan_from_record

        view = plan_from_record(
            options.imds, place.config, deadline, lambda: whose.append("the record")
        )
        if not options.json:
            print(f"Planned with the configuration of {whose[-1]}.")
    else:
        with opened(place) as engine:
            view = inspect(engine, deadline)
    show(view, in_json=options.json)
    if view.problems:
        return ExitStatus.FAILED
    view = view.without_changes(view.waiting)
    changes = view.plan.without(view.observed_only | view.held.keys()).changes
    return ExitStatus.DRIFT if options.exit_code and changes else ExitStatus.DONE


def show(view: View, *, in_json: bool) -> None:
    if in_json:
        document = {
            "version": as_json.VERSION,
            **as_json.plan(view.plan),
            "enis": [as_json.eni(outcome) for outcome in view.host.enis],
            "pause": pause.to_json(view.pause),
            "held": {str(mac): as_json.hold(held) for mac, held in view.held.items()},
            "problems": [str(problem) for problem in view.problems],
            "warnings": [str(warning) for warning in view.warnings],
        }
        print(json.dumps(document, indent=2))
        return
    for problem in (*view.problems, *view.warnings):
        print(f"! {problem}")
    if view.pause is not None:
        print(f"Changes are paused {view.pause.words()}. To end the pause, run: ec2net resume")
    print(text.plan(view.plan, view.host, not_done=_not_done(view)))
    if any(isinstance(problem, ImdsError) for problem in view.problems):
        print(
            "The plan may be incomplete: IMDS was not read completely. A refresh may make changes "
            "that are not shown here."
        )


def _not_done(view: View) -> dict[Mac, str]:
    """Why the changes of an ENI are not made, by ENI."""
    observed = dict.fromkeys(view.observed_only, "observed: will not be done")
    waiting = {mac: "paused: will not be done now" for mac in view.waiting_for if mac is not None}
    return {**waiting, **dict.fromkeys(view.held, "on hold: will not be done"), **observed}
