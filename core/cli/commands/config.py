# SPDX-License-Identifier: Apache-2.0
"""``ec2net config --check | --show``: what is wrong in the files; what is in force, and from where."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from ec2net.core.config.files import LoadedConfig, load, show, show_dict, warnings
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import rivals
from ec2net.core.model.errors import ConfigError, ExitStatus, PluginError
from ec2net.core.report import as_json
from ec2net.core.state.config_in_force import LAST_GOOD
from ec2net.core.state.run_dir import RunDir


def run(options: Namespace) -> ExitStatus:
    loaded = load(Path(options.config_root), RunDir(options.run_dir).read(LAST_GOOD))
    if options.check and not loaded.errors:
        loaded = replace(loaded, errors=_wrong_names(loaded))
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


def _wrong_names(loaded: LoadedConfig) -> tuple[ConfigError, ...]:
    """Backends and plugins that the configuration names and that ec2net cannot load."""
    from ec2net.core.plugins.loaded import Plugins

    config = loaded.config
    if not (config.enabled_plugins or config.named_backends):
        return ()
    try:
        problems = Plugins.of(config).problems
    except PluginError as error:
        problems = (error,)
    return tuple(ConfigError(p.problem, subject=p.subject, remedy=p.remedy) for p in problems)
