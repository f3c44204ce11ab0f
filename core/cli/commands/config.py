# SPDX-License-Identifier: Apache-2.0
"""``ec2net config --check | --show``: what is wrong in the files; what is in force, and from where."""

import json
from argparse import Namespace
from pathlib import Path

from ec2net.core.config.files import load, show, show_dict, warnings
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import rivals
from ec2net.core.model.errors import ExitStatus
from ec2net.core.report import as_json
from ec2net.core.state.config_in_force import LAST_GOOD
from ec2net.core.state.run_dir import RunDir


def run(options: Namespace) -> ExitStatus:
    loaded = load(Path(options.config_root), RunDir(options.run_dir).read(LAST_GOOD))
    if options.json:
        print(json.dumps({"version": as_json.VERSION, **show_dict(loaded)}, indent=2))
    elif options.check:
        for error in loaded.errors:
            print(error)
        for warning in warnings(loaded):
            print(warning)
        if not loaded.errors:
            print(f"OK: {len(loaded.files)} file(s), no errors")
        for tool in rivals(Environment()):
            print(tool.warning())
    else:
        from ec2net.core.report.table import table

        for error in loaded.errors:
            print(f"! {error}")
        rows = [(key, json.dumps(value), origin) for key, value, origin in show(loaded)]
        print(table(("KEY", "VALUE", "SET BY"), rows))
    return ExitStatus.USAGE if loaded.errors else ExitStatus.DONE
