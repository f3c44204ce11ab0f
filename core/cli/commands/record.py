# SPDX-License-Identifier: Apache-2.0
"""``ec2net record [FILE]``: what IMDS and the kernel say now, for ``ec2net plan --imds FILE``."""

import json
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from ec2net.core.config.tree import to_dict
from ec2net.core.decide.candidate import eni_links
from ec2net.core.engine.setup import opened
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.record.record import RecordingImds, record
from ec2net.core.report.status_file import STATUS
from ec2net.core.runtime import files
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import boot_enis
from ec2net.core.state.config_in_force import workplace
from ec2net.core.state.run_dir import RunDir


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True)
    deadline = Deadline(place.config.timeouts.pass_, "record")
    with opened(place) as engine, tempfile.TemporaryDirectory() as empty:
        assert engine.imds is not None
        imds = RecordingImds(engine.imds)
        engine.imds = imds
        links = eni_links(engine.kernel.links(), place.config.drivers)
        attached = boot_enis.when_attached(boot_enis.read(place.run), links, time.monotonic())
        engine.run = RunDir(Path(empty))  # as if for the first time: every key is read
        view = engine.plan(deadline, attached=attached)
    config, status = to_dict(place.config), place.run.read(STATUS)
    text = json.dumps(record(view, imds, config, engine.environment, status), indent=1)
    if options.redact:
        from ec2net.core.record.redact import redacted

        text = redacted(text)
    if options.output is None:
        print(text)
    else:
        writing = Deadline(place.config.timeouts.pass_, f"writing {options.output}")
        try:
            files.write(options.output, f"{text}\n".encode(), writing)
        except OSError as error:
            raise Ec2netError(
                f"cannot be written: {error.strerror}", subject=str(options.output)
            ) from error
    for problem in view.problems:
        print(f"ec2net: {problem}", file=sys.stderr)
    return ExitStatus.FAILED if view.problems else ExitStatus.DONE
