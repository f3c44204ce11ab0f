# SPDX-License-Identifier: Apache-2.0
"""``ec2net run``: the daemon, one process for every ENI. It runs until a signal stops it."""

import gc
import logging
from argparse import Namespace
from dataclasses import replace

from ec2net.core.daemon.abandon import AbandonableBackend
from ec2net.core.daemon.control import ControlSocket
from ec2net.core.daemon.loop import MARGIN, PATIENCE, Loop
from ec2net.core.daemon.notify import ServiceManager
from ec2net.core.daemon.published import Published
from ec2net.core.daemon.sole import SoleManager
from ec2net.core.engine.setup import opened, refresh_ways
from ec2net.core.model.errors import ConfigError, ExitStatus, PluginError
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state.config_in_force import Workplace, workplace

_log = logging.getLogger("ec2net.resident")


def run(options: Namespace) -> ExitStatus:
    service = ServiceManager()
    place = workplace(options, may_fall_back=True)

    def stopping() -> None:
        # a pass that changes something ends first
        service.extend(place.config.pass_seconds + MARGIN)

    with (
        StopSignals(reload=True, stopping=stopping) as signals,
        SoleManager(place.run) as sole,
        ControlSocket(place.run) as control,
    ):
        published = Published(place.run)
        booting = True
        while True:  # ends by SIGTERM or SIGINT
            with opened(place) as engine:
                engine.listings = {}
                engine.guard = AbandonableBackend.unless_built_in
                engine.patience = PATIENCE
                sources = (signals, control, service, published, refresh_ways, sole.check)
                loop = Loop(place, engine, *sources, booting=booting)
                gc.unfreeze()  # objects from before a reload may be freed
                gc.collect()
                gc.freeze()  # present objects stay: no collection needs to visit them
                loop.serve()
            if signals.received is not None:
                service.stopping()
                return ExitStatus.DONE
            service.reloading()
            booting = not loop.is_ready  # a boot still waits for this process
            signals.hangup = False  # a later SIGHUP is another reload
            place = _reread(place, options)
            _log.info("configuration reloaded")


def _reread(before: Workplace, options: Namespace) -> Workplace:
    """The present configuration. If it has an error, ec2net reports the error and keeps the former
    one.

    The same applies if a plugin cannot be loaded; at the start of the daemon this is fatal.
    """
    try:
        place = workplace(options, may_fall_back=True)
        Plugins.of(place.config)
    except (ConfigError, PluginError) as error:
        _log.error("%s", error)
        broken = ConfigError(error.problem, subject=error.subject, remedy=error.remedy)
        return replace(before, loaded=replace(before.loaded, errors=(broken,)))
    return place
