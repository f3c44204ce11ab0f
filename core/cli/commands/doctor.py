# SPDX-License-Identifier: Apache-2.0
"""``ec2net doctor``: what is wrong on this host, why, and what to do. Changes nothing."""

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ec2net import __version__
from ec2net.core.daemon.sole import manager_runs
from ec2net.core.doctor import readings
from ec2net.core.doctor.examine import examine
from ec2net.core.doctor.finding import Finding, Severity
from ec2net.core.doctor.readings import Readings
from ec2net.core.doctor.routes import gateways
from ec2net.core.doctor.scope import Scope, scope
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.engine.surroundings import Surroundings
from ec2net.core.host.files import Environment
from ec2net.core.host.service import service_fault
from ec2net.core.imds.endpoint import candidates, endpoints
from ec2net.core.imds.ways import Way
from ec2net.core.model import finding
from ec2net.core.model.errors import DeadlineExceeded, ExitStatus
from ec2net.core.report import as_json
from ec2net.core.runtime.colour import RED, YELLOW, colours, painted
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.codec import encode
from ec2net.core.state.config_in_force import workplace
from ec2net.core.state.last_pass import last_pass

_COLOURS = {Severity.ERROR: RED, Severity.WARNING: YELLOW, Severity.NOTE: ""}
_SIGNS = {Severity.ERROR: "!!", Severity.WARNING: "!", Severity.NOTE: "-"}


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True)
    deadline = Deadline(place.config.timeouts.pass_, "doctor")
    with opened(place) as engine:
        imds = _ways(engine, deadline)
        view = inspect(engine, deadline)
        environment = _environment(engine, view)
        read = _read(engine, view, environment, imds, deadline)
    found = examine(view, read, environment, place.loaded)
    checked = scope(view, read, found)
    if options.json:
        print(json.dumps(_document(found, checked), indent=2))
    else:
        print("\n".join(lines(found, checked, colour=colours(sys.stdout))))
    errors = any(one.severity is Severity.ERROR for one in found)
    return ExitStatus.FAILED if errors else place.status(ExitStatus.DONE)


def _environment(engine: Engine, view: View) -> Environment:
    links = [view.snapshot.link(link.index) for eni in view.host.enis for link in eni.links]
    return replace(engine.environment, eni_links=tuple(link for link in links if link is not None))


def _ways(engine: Engine, deadline: Deadline) -> tuple[tuple[Way, ...], bool | None]:
    """Before the look, which may use up its time if IMDS is slow."""
    return readings.read_imds(
        candidates(endpoints(os.environ), others=engine.kernel.names(engine.config.drivers)),
        deadline,
        user_agent=f"ec2net/{__version__}",
    )


def _read(
    engine: Engine,
    view: View,
    environment: Environment,
    imds: tuple[tuple[Way, ...], bool | None],
    deadline: Deadline,
) -> Readings:
    """The rest, each in its own share of ``deadline``."""
    host, snapshot = view.host, view.snapshot
    names = {link.index: link.name for link in snapshot.links}
    around = engine.surroundings(view)
    return Readings(
        *imds,
        readings.read_sysctls(host),
        readings.ask_gateways(gateways(host, snapshot), deadline),
        engine.kernel.address_states(names),
        readings.read_leases(host, environment),
        readings.read_failed_units(deadline),
        service_fault(manager_runs(engine.run), environment),
        last_pass(engine.run),
        *_wrong_ways(engine, view, around, deadline),
        readings.read_filters(host, deadline),
        readings.read_fixed_gateways(gateways(host, snapshot)),
        readings.read_behind(host, engine.kernel, around),
    )


def _wrong_ways(
    engine: Engine, view: View, around: Surroundings, deadline: Deadline
) -> tuple[tuple[finding.Finding, ...], bool]:
    """The findings of ``verify``, and whether the deadline passed before all checks were done."""
    wrong: list[finding.Finding] = []
    for intent in view.host.ready:
        if intent.mac in view.observed_only:
            continue
        try:
            wrong += engine.check(intent, view, around, deadline)
        except DeadlineExceeded:
            return tuple(wrong), True
    return tuple(wrong), False


def lines(found: Sequence[Finding], checked: Scope, *, colour: bool = False) -> list[str]:
    """Two for each finding: what and why, and what to do. The last one says what was checked."""
    text = []
    for one in found:
        about = f"{one.subject}: " if one.subject else ""
        kind = f"{_SIGNS[one.severity]} {one.severity.value} [{one.check}]"
        text.append(f"{painted(kind, _COLOURS[one.severity] if colour else '')} {about}{one.cause}")
        text.append(f"     {one.remedy}")
    counts = Counter(one.severity for one in found)
    told = (f"{counts[s]} {s}{'s' * (counts[s] > 1)}" for s in Severity if counts[s])
    return [*text, f"{', '.join(told) or 'OK'}: {checked.describe()}."]


def _document(found: Sequence[Finding], checked: Scope) -> dict[str, object]:
    return {
        "version": as_json.VERSION,
        "findings": [{**encode(one), "code": encode(one.reason_code)} for one in found],
        "passed": [check.value for check in checked.passed],
        "not_checked": list(checked.not_checked),
    }
