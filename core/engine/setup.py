# SPDX-License-Identifier: Apache-2.0
"""An engine with an open kernel session, IMDS client and plugins, for a command."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ec2net import __version__
from ec2net.core.state import pause
from ec2net.core.state.config_in_force import Workplace

if TYPE_CHECKING:
    from ec2net.core.engine.engine import Engine


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
        engine.pause_file = place.root / pause.PLACE
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
