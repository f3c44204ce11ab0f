# SPDX-License-Identifier: Apache-2.0
"""``ec2net set-hostname``: the static hostname from IMDS, on a host that has none."""

import re
from argparse import Namespace
from pathlib import Path

from ec2net.core.engine.setup import opened
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.model.facts import Value
from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.files import regular
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state.config_in_force import workplace

_KEY = "latest/meta-data/local-hostname"
_FILE = Path("/etc/hostname")
_NAME = re.compile(r"(?=.{1,64}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SIZE_MAX = 65536
_SECONDS = 30.0


def _has_name() -> bool:
    """Whatever its bytes are: only whether there is one counts. A link may lead to the file."""
    try:
        return bool(regular(_FILE, _SIZE_MAX, follow=True).strip())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Ec2netError(f"cannot be read: {error.strerror}", subject=str(_FILE)) from error


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True)
    if _has_name():
        print(f"{_FILE} already has a hostname; nothing to do")
        return ExitStatus.DONE
    with StopSignals() as signals:
        deadline = signals.deadline(_SECONDS, "set-hostname")
        with opened(place) as engine:
            assert engine.imds is not None
            reading = engine.imds.get(_KEY, deadline)
        name = reading.value.strip().lower() if isinstance(reading, Value) else ""
        if not _NAME.fullmatch(name):
            raise Ec2netError(
                f"IMDS reports no usable local-hostname, so the hostname was not set: {reading}"[
                    :200
                ]
            )
        try:
            output(["hostnamectl", "set-hostname", "--static", name], deadline)
        except CommandFailed as error:
            raise Ec2netError(f"hostnamectl failed: {error}") from error
    return ExitStatus.DONE
