# SPDX-License-Identifier: Apache-2.0
"""``ec2net backends``: which there are, which one each link gets, and why."""

import json
from argparse import Namespace

from ec2net.core.engine.setup import opened
from ec2net.core.model.errors import ExitStatus, PluginError, Unsupported
from ec2net.core.plugins.loaded import origins
from ec2net.core.report import as_json
from ec2net.core.report.table import table
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.codec import encode
from ec2net.core.state.config_in_force import workplace


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True)
    known = origins()
    if not options.json:  # a plugin that cannot be loaded may be missing
        print(table(("PLUGIN", "FROM"), [(origin.name, origin.source) for origin in known]))
    with opened(place, imds=False) as engine:
        view = engine.plan(Deadline(place.config.timeouts.pass_, "backends"))
    if options.json:
        unsupported = [
            str(problem) for problem in view.problems if isinstance(problem, Unsupported)
        ]
        document = {
            "version": as_json.VERSION,
            "plugins": [{"name": o.name, "source": o.source} for o in known],
            "links": [
                {
                    "mac": str(mac),
                    "link": encode(eni.link) if (eni := view.host.of(mac)) else None,
                    "backend": choice.backend,
                    "reasons": list(choice.reasons),
                }
                for mac, choice in view.choices.items()
            ],
            "unsupported": unsupported,
        }
        print(json.dumps(document, indent=2))
        return place.status(ExitStatus.DONE)
    if view.choices:
        print()
        rows = [
            (eni.name, choice.backend or "none", "; ".join(choice.reasons))
            for mac, choice in view.choices.items()
            if (eni := view.host.of(mac)) is not None
        ]
        print(table(("LINK", "BACKEND", "WHY"), rows))
    told = (problem for problem in view.problems if isinstance(problem, Unsupported | PluginError))
    print("".join(f"! {problem}\n" for problem in told), end="")
    return place.status(ExitStatus.DONE)
