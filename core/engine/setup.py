# SPDX-License-Identifier: Apache-2.0
"""What a command works with: configuration, state directory, kernel, IMDS, plugins, engine."""

import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ec2net import __version__
from ec2net.core.config.files import LoadedConfig, Source, load
from ec2net.core.config.settings import Config
from ec2net.core.model.errors import ConfigError, Ec2netError, ExitStatus, UsageError
from ec2net.core.model.identity import parse_link_name
from ec2net.core.state.run_dir import RunDir

if TYPE_CHECKING:
    from ec2net.core.engine.engine import Engine

_log = logging.getLogger("ec2net.config")

LAST_GOOD = "config.json"


@dataclass(frozen=True, slots=True)
class Workplace:
    """The cheap part, made by every command; ``engine`` opens the rest."""

    run: RunDir
    loaded: LoadedConfig

    @property
    def config(self) -> Config:
        return self.loaded.config

    def status(self, own: ExitStatus) -> ExitStatus:
        """``own``, unless a broken configuration file is the worse news."""
        return ExitStatus.USAGE if own is ExitStatus.DONE and self.loaded.errors else own


def workplace(options: Namespace, *, may_fall_back: bool, must_go_on: bool = False) -> Workplace:
    """Read the configuration. A broken file never takes the network down: the last good one stands.

    Raises ``ConfigError`` where there is none, or when the caller does not want another
    configuration than the files' (``may_fall_back`` false). Who ``must_go_on`` gets what can be
    read of the files then.
    """
    run = RunDir(options.run_dir)
    loaded = load(Path(options.config_root), run.read(LAST_GOOD))
    if loaded.errors:
        good = loaded.source is Source.LAST_GOOD
        if not may_fall_back or not (good or must_go_on):
            raise _summary(loaded.errors)
        for error in loaded.errors:
            _log.error("%s", error)
        if good:
            _log.error("the last good configuration stays in force until the files are corrected")
    return Workplace(run, loaded)


def remember_config(place: Workplace) -> None:
    """Store a good configuration for the day when the files are broken. Raises ``StateError``."""
    if not place.loaded.errors:
        from ec2net.core.config.tree import to_dict

        place.run.write(LAST_GOOD, to_dict(place.config))


def link_argument(text: str) -> str:
    """A link name from the command line. Raises ``UsageError``."""
    try:
        return parse_link_name(text)
    except ValueError as error:
        raise UsageError(str(error), remedy="see 'ip link' for the names") from error


@contextmanager
def opened(place: Workplace, *, link: str = "", imds: bool = True) -> Iterator["Engine"]:
    """An engine with an open kernel session and, if wanted, an IMDS client."""
    from ec2net.core.engine.engine import Engine
    from ec2net.core.imds.client import ImdsClient
    from ec2net.core.imds.endpoint import candidates, endpoints
    from ec2net.core.kernel.session import Kernel
    from ec2net.core.plugins.loaded import Plugins

    to = endpoints(os.environ)  # a wrong variable is an error before anything is opened
    config = place.config
    plugins = Plugins.of(config)
    with (
        Kernel(config.numbers.protocol, config.numbers.tables) as kernel,
        closing(Engine(config, place.run, kernel, None, plugins)) as engine,
    ):
        if not imds:
            yield engine
            return
        ways = candidates(to, link=link, others=kernel.names(config.drivers))
        with ImdsClient(ways, state=place.run, version=__version__) as client:
            engine.imds = client
            yield engine


def refresh_ways(engine: "Engine", *, link: str = "") -> None:
    """Let the IMDS client know the ways out that there are now."""
    from ec2net.core.imds.client import ImdsClient
    from ec2net.core.imds.endpoint import candidates, endpoints

    if isinstance(engine.imds, ImdsClient):
        others = engine.kernel.names(engine.config.drivers)
        engine.imds.new_pass(candidates(endpoints(os.environ), link=link, others=others))


def _summary(errors: tuple[ConfigError, ...]) -> Ec2netError:
    first = errors[0]
    if len(errors) == 1:
        return first
    more = f"and {len(errors) - 1} more: 'ec2net config --check' lists them"
    remedy = "; ".join(filter(None, (first.remedy, more)))
    return ConfigError(first.problem, subject=first.subject, remedy=remedy)
