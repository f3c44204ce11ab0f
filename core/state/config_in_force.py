# SPDX-License-Identifier: Apache-2.0
"""The configuration in force: the files, or the last good one in /run/ec2net/config.json."""

import logging
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from ec2net.core.config.files import LoadedConfig, Source, load
from ec2net.core.config.settings import Config
from ec2net.core.model.errors import ConfigError, Ec2netError, ExitStatus
from ec2net.core.state.run_dir import RunDir

_log = logging.getLogger("ec2net.config")


LAST_GOOD = "config.json"


@dataclass(frozen=True, slots=True)
class Workplace:
    """The cheap part, made by every command; ``engine`` opens the rest."""

    run: RunDir
    loaded: LoadedConfig
    root: Path = Path("/")
    """The root of the configuration, and of the file of a pause."""

    @property
    def config(self) -> Config:
        return self.loaded.config

    def status(self, own: ExitStatus) -> ExitStatus:
        """``own``, unless a broken configuration file is the worse news."""
        return ExitStatus.USAGE if own is ExitStatus.DONE and self.loaded.errors else own


def workplace(options: Namespace, *, may_fall_back: bool, must_go_on: bool = False) -> Workplace:
    """Read the configuration. A broken file never takes the network down: the last good one stays.

    Raises ``ConfigError`` where there is none, or when the caller does not want another
    configuration than the files' (``may_fall_back`` false). With ``must_go_on`` the caller
    then gets the valid part of the files.
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
    return Workplace(run, loaded, Path(options.config_root))


def remember_config(place: Workplace) -> None:
    """Store a good configuration for the day when the files are broken. Raises ``StateError``."""
    if not place.loaded.errors:
        from ec2net.core.config.tree import to_dict

        place.run.write(LAST_GOOD, to_dict(place.config))


def _summary(errors: tuple[ConfigError, ...]) -> Ec2netError:
    first = errors[0]
    if len(errors) == 1:
        return first
    more = f"and {len(errors) - 1} more: 'ec2net config --check' lists them"
    remedy = "; ".join(filter(None, (first.remedy, more)))
    return ConfigError(first.problem, subject=first.subject, remedy=remedy)
