# SPDX-License-Identifier: Apache-2.0
"""Metrics: a file for node_exporter's textfile collector, if the configuration names one.

ec2net keeps the counters of this boot in the state directory; a pass adds to them under the host
lock.
"""

import json
import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ec2net import __version__
from ec2net.core.decide.intent import Standing
from ec2net.core.model.errors import (
    DeadlineExceeded,
    Ec2netError,
    ExitStatus,
    ImdsError,
    KernelError,
    NotYet,
    PluginError,
    StateError,
)
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import as_json
from ec2net.core.report.status_file import stored
from ec2net.core.runtime.files import write_whole
from ec2net.core.state.config_in_force import Workplace

FILE = "metrics.json"

_BUILD = "ec2net_build_info{"

_MODE = 0o644
_TEMPORARY = ".ec2net-"
"""No name that ends in .prom, so the collector does not read what is half written."""

_KINDS: tuple[tuple[type[Ec2netError], str], ...] = (
    (ImdsError, "imds"),
    (KernelError, "kernel"),
    (StateError, "state"),
    (DeadlineExceeded, "deadline"),
    (PluginError, "plugin"),
    (NotYet, "waiting"),
)
_OTHER, _CONFLICT, _VERIFY, _HELD = "other", "conflict", "verify", "rolled-back"
KINDS = (*(name for _, name in _KINDS), _CONFLICT, _VERIFY, _HELD, _OTHER)
"""Kinds of errors."""

OBSERVED = "observed"
STANDINGS = (*(standing.value for standing in Standing), OBSERVED)
"""States of ENIs. An observed ENI counts as nothing else, so that alerts do not cover it."""

METRICS = {
    "ec2net_build_info": (
        "gauge",
        "Always 1; the labels are the versions of ec2net and of Python.",
    ),
    "ec2net_passes_total": ("counter", "Passes, by result."),
    "ec2net_errors_total": ("counter", "Errors in passes, by kind."),
    "ec2net_changes_total": ("counter", "Changes made, by action."),
    "ec2net_repairs_total": ("counter", "Changes that repaired drift."),
    "ec2net_imds_requests_total": ("counter", "Requests to IMDS."),
    "ec2net_pass_duration_seconds": ("summary", "Duration of passes, in seconds."),
    "ec2net_enis": ("gauge", "ENIs, by their state after the last pass."),
    "ec2net_addresses_missing": (
        "gauge",
        "Intended addresses that are not on their link, except of observed ENIs.",
    ),
    "ec2net_drift": (
        "gauge",
        "ENIs with drift that ec2net did not repair, except observed ENIs, after the last pass over all.",
    ),
    "ec2net_pending_changes": (
        "gauge",
        "Planned changes that the last pass over all ENIs did not make: paused, on hold, or failed.",
    ),
    "ec2net_observed_differences": (
        "gauge",
        "Changes of observed ENIs that the last pass over all ENIs would have made without manage = observe.",
    ),
    "ec2net_open_findings": (
        "gauge",
        "Problems, conflicts and differences that the last pass over all ENIs found.",
    ),
    "ec2net_paused": ("gauge", "Whether an administrator paused all changes: 1, else 0."),
    "ec2net_config_errors": (
        "gauge",
        "Errors in the configuration files; with one, an earlier configuration is in force.",
    ),
    "ec2net_last_pass_timestamp_seconds": ("gauge", "Time of the end of the last pass."),
    "ec2net_last_success_timestamp_seconds": (
        "gauge",
        "Time of the end of the last pass without a problem or a configuration error; 0: none in this boot.",
    ),
}
"""Each with its type and meaning. Names and labels are a contract with dashboards."""


def count(place: Workplace, report: PassReport, *, whole: bool = True) -> PassReport:
    """Add a pass. The caller holds the host lock and has not published the report yet.

    ``whole``: the pass was for all ENIs.

    A file that cannot be written is a problem of the report.
    """
    if not place.config.metrics_file:
        return report
    well = report.exit_status is ExitStatus.DONE and not place.loaded.errors
    added = Counter(_counted(report, stored(place.run, intents=bool(report.done))["enis"]))
    try:
        gauges = _gauges(report) | (_of_all(report) if whole else {})
        _keep(place, added, gauges, well=well)
    except StateError as error:
        return replace(report, problems=(*report.problems, error))
    return report


def count_failure(place: Workplace, error: Ec2netError) -> None:
    """Add a pass that did not come to its end. Raises ``StateError``."""
    if place.config.metrics_file:
        _keep(place, Counter([_errors(_kind(error))]), None, well=False)


def _counted(report: PassReport, before: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Samples that go up by one, each as often as it does."""
    wanted = {row["mac"]: row.get("intent") for row in before}
    for step in report.done:
        yield f'ec2net_changes_total{{action="{step.action.name.lower()}"}}'
        eni = report.of(step.mac) if step.mac else None
        if eni is not None and wanted.get(str(eni.mac)) == as_json.eni(eni)["intent"]:
            yield "ec2net_repairs_total"
    for problem in dict.fromkeys((*report.problems, *(f.error for f in report.failed))):
        yield _errors(_kind(problem))
    yield from (_errors(_CONFLICT) for _ in report.conflicts)
    yield from (_errors(_VERIFY) for _ in report.findings)
    if report.undone:
        yield _errors(_HELD)
    yield from ("ec2net_imds_requests_total" for _ in range(report.requests))


def _errors(kind: str) -> str:
    return f'ec2net_errors_total{{kind="{kind}"}}'


def _kind(error: Ec2netError) -> str:
    return next((name for kind, name in _KINDS if isinstance(error, kind)), _OTHER)


def _gauges(report: PassReport) -> dict[str, float]:
    standings = Counter(eni.standing.value for eni in report.host.enis)
    standings[Standing.READY.value] -= len(report.observed)
    standings[OBSERVED] = len(report.observed)
    missing = sum(
        len(i.sources) - report.there.get(i.mac, 0)
        for i in report.host.ready
        if i.mac not in report.observed
    )
    gauges: dict[str, float] = {
        f'ec2net_enis{{standing="{standing}"}}': standings[standing] for standing in STANDINGS
    }
    gauges["ec2net_addresses_missing"] = missing
    gauges["ec2net_pass_duration_seconds"] = report.seconds
    return gauges


def _of_all(report: PassReport) -> dict[str, float]:
    """Gauges that a pass for some ENIs cannot count."""
    problems = (*report.problems, *report.conflicts, *report.findings, *report.failed)
    observed = report.observed
    left = [change.whose in observed for change in report.left]
    drifts = report.drifts.latest.items()
    return {
        "ec2net_drift": sum(drift.open for mac, drift in drifts if mac not in observed),
        "ec2net_pending_changes": left.count(False),
        "ec2net_observed_differences": left.count(True),
        "ec2net_open_findings": len(problems),
        "ec2net_paused": int(report.pause is not None),
    }


def _keep(
    place: Workplace, added: Mapping[str, int], gauges: dict[str, float] | None, *, well: bool
) -> None:
    """Add to what is kept, and write it out. Raises ``StateError``."""
    samples = _start() | _numbers(place.run.read(FILE))
    for name, number in added.items():
        samples[name] = samples.get(name, 0) + number
    samples[f'ec2net_passes_total{{result="{"done" if well else "failed"}"}}'] += 1
    samples[f'{_BUILD}version="{__version__}",python="{platform.python_version()}"}}'] = 1
    samples["ec2net_config_errors"] = len(place.loaded.errors)
    samples["ec2net_last_pass_timestamp_seconds"] = now = round(time.time(), 3)
    if well:
        samples["ec2net_last_success_timestamp_seconds"] = now
    if gauges is not None:
        seconds = gauges.pop("ec2net_pass_duration_seconds")
        samples["ec2net_pass_duration_seconds_sum"] += seconds
        samples["ec2net_pass_duration_seconds_count"] += 1
        samples |= gauges
    place.run.write(FILE, samples)
    path = Path(place.config.metrics_file)
    try:
        write_whole(path, text(samples).encode(), mode=_MODE, prefix=_TEMPORARY)
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}",
            subject="metrics_file",
            remedy="the unit may write there only if ReadWritePaths= in a drop-in names the folder",
        ) from error


def _start() -> dict[str, float]:
    """Every series that can be named before it happened, so that a rate sees its first event."""
    names = [f'ec2net_passes_total{{result="{result}"}}' for result in ("done", "failed")]
    names += [_errors(kind) for kind in KINDS]
    names += [f'ec2net_changes_total{{action="{a}"}}' for a in ("add", "replace", "remove")]
    names += ["ec2net_repairs_total", "ec2net_imds_requests_total"]
    names += [f"ec2net_pass_duration_seconds_{part}" for part in ("sum", "count")]
    names += ["ec2net_last_success_timestamp_seconds"]
    return dict.fromkeys(names, 0)


def _numbers(data: Mapping[str, Any] | None) -> dict[str, float]:
    return {
        key: value
        for key, value in (data or {}).items()
        if type(value) in (int, float) and not key.startswith(_BUILD)  # of an earlier version
    }


def text(samples: Mapping[str, float]) -> str:
    """Prometheus' text format."""
    lines = []
    for name, (kind, meaning) in METRICS.items():
        own = sorted(key for key in samples if _of(key, name, kind))
        if own:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{key} {json.dumps(samples[key])}" for key in own]
    return "".join(f"{line}\n" for line in lines)


def _of(key: str, name: str, kind: str) -> bool:
    base = key.partition("{")[0]
    return base == name or (kind == "summary" and base in (f"{name}_sum", f"{name}_count"))
