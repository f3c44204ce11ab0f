# SPDX-License-Identifier: Apache-2.0
"""The outcome of a pass: published in /run/ec2net/status.json, told in the log.

Nothing in the file changes while nothing happens, so an unchanged pass writes nothing; the
pass that has nothing to say logs nothing at info or above.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.engine.setup import Workplace, remember_config
from ec2net.core.model.errors import DeadlineExceeded, Ec2netError, ExitStatus, StateError
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import as_json as jsonform
from ec2net.core.report import text as text_
from ec2net.core.runtime import clock as stamp
from ec2net.core.runtime.log import to_journal
from ec2net.core.state.run_dir import RunDir

STATUS = "status.json"

_log = logging.getLogger("ec2net.pass")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A report, with what its publication needed and brought."""

    report: PassReport
    document: dict[str, Any]
    """What ``status`` shows from now on."""
    before: dict[str, Any]
    """What it showed until now."""

    def to_json(self) -> dict[str, Any]:
        """The document, and what was done in this pass."""
        return {
            **self.document,
            "changes": [jsonform.change(step) for step in self.report.done],
            "failed": [
                {**jsonform.change(failure.change), "error": str(failure.error)}
                for failure in self.report.failed
            ],
            "rolled_back": [jsonform.change(step) for step in self.report.undone],
            "requests": self.report.requests,
        }


def publish(
    place: Workplace, report: PassReport, *, only: Collection[Mac] | None = None
) -> Outcome:
    """Store what ``status`` shows, and a good configuration for the day the files are broken.

    The caller holds the host lock. A full state directory is one problem of the report, however
    much cannot be kept.
    ``only``: the ENIs that the pass was for; of others no trouble has ended.
    """
    before = stored(place.run)
    rows = {eni["mac"]: eni for eni in before["enis"]}
    enis = [
        _eni(
            outcome,
            report,
            rows.get(str(outcome.mac), {}),
            looked_at=only is None or outcome.mac in only,
        )
        for outcome in report.host.enis
    ]
    document = {
        "version": jsonform.VERSION,
        "enis": enis,
        "problems": [str(problem) for problem in report.problems],
    }
    try:
        remember_config(place)
        place.run.write(STATUS, document)
    except StateError as error:
        if not any(isinstance(problem, StateError) for problem in report.problems):
            report = replace(report, problems=(*report.problems, error))
    return Outcome(report, document, before)


def publish_failure(run: RunDir, error: Ec2netError) -> None:
    """A pass did not come to its end: ``status`` must not go on saying that all is well."""
    with suppress(StateError):
        run.write(STATUS, {**stored(run), "version": jsonform.VERSION, "problems": [str(error)]})


def stored(run: RunDir) -> dict[str, Any]:
    """The last status, as far as it has the form that is written here."""
    document = run.read(STATUS) or {}
    enis, problems = document.get("enis"), document.get("problems")
    rows = [eni for eni in enis if _is_row(eni)] if isinstance(enis, list) else []
    texts = [p for p in problems if isinstance(p, str)] if isinstance(problems, list) else []
    return {**document, "enis": rows, "problems": texts}


def _is_row(eni: object) -> bool:
    return isinstance(eni, dict) and isinstance(eni.get("mac"), str)


def _eni(
    outcome: EniOutcome, report: PassReport, before: dict[str, Any], *, looked_at: bool
) -> dict[str, Any]:
    """One ENI's row; ``since`` moves only when its standing does."""
    data = {
        **jsonform.eni(outcome),
        "backend": report.choices.get(outcome.mac),
        "there": report.there.get(outcome.mac),
        "trouble": list(report.trouble(outcome.mac)) if looked_at else before.get("trouble", []),
        "drift": jsonform.drift(report.drifts.latest.get(outcome.mac))
        if looked_at
        else before.get("drift"),
        "held": jsonform.hold(report.held.get(outcome.mac)) if looked_at else before.get("held"),
    }
    same = before.get("standing") == data["standing"] and before.get("reason") == data["reason"]
    data["since"] = before.get("since") if same else stamp.now()
    return data


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say of a pass. ``lasts``: it is so until it is not said any more."""

    level: int
    text: str
    mac: Mac | None = None
    """The ENI that it is about; None: the host."""
    lasts: bool = True
    fields: Mapping[str, str] = field(default_factory=dict)
    """For the journal: ENI_ID, LINK, BACKEND, ACTION, REASON, as far as there is such."""


def lines(report: PassReport) -> tuple[Line, ...]:
    """What was changed and what went wrong, in this order."""
    said = [
        Line(
            logging.WARNING,
            f"{_name(report, mac)}: {drift.told()}",
            mac,
            lasts=False,
            fields=identity(report, mac),
        )
        for mac, drift in report.drifts.news
    ]
    for step in report.done:
        text = f"{_name(report, step.whose)}: {step.action.value} {step.item.describe()}"
        fields = {**identity(report, step.whose), "ACTION": step.action.name.lower()}
        if report.occasion:
            fields["REASON"] = report.occasion
        said.append(Line(logging.INFO, text, step.whose, lasts=False, fields=fields))
    # One error ends all further changes of its ENI: it is told once, with their number.
    errors = Counter((failure.change.whose, failure.error) for failure in report.failed)
    late = {key: count for key, count in errors.items() if isinstance(key[1], DeadlineExceeded)}
    if len(enis := {mac for mac, _ in late}) > 1:
        errors = Counter({key: count for key, count in errors.items() if key not in late})
        error = next(error for _, error in late)
        said.append(
            _of_host(
                f"{error}: {sum(late.values())} changes of {len(enis)} ENIs were left out;"
                " the next pass makes them"
            )
        )
    for (mac, error), changes in errors.items():
        gone = error.exit_status is ExitStatus.LINK_GONE
        more = f"; {changes - 1} more changes were left out" if changes > 1 else ""
        level = logging.INFO if gone else logging.ERROR
        said.append(_wrong(report, mac, f"{error}{more}", level=level, lasts=not gone))
    for eni in report.host.enis:
        if eni.standing is Standing.REFUSED:
            text = f"{text_.title(eni)}: refused: {eni.reason}"
            fields = reported(eni.reason, identity(report, eni.mac))
            said.append(Line(logging.ERROR, text, eni.mac, fields=fields))
    said += [_wrong(report, mac, text) for mac, text in report.wrong]
    problems = sorted({str(problem) for problem in report.problems})
    return (*said, *(_of_host(problem) for problem in problems))


def _of_host(problem: str) -> Line:
    return Line(logging.ERROR, problem, fields=reported(problem, {}))


def _wrong(
    report: PassReport,
    mac: Mac | None,
    text: str,
    *,
    level: int = logging.ERROR,
    lasts: bool = True,
) -> Line:
    fields = reported(text, identity(report, mac))
    return Line(level, f"{_name(report, mac)}: {text}", mac, lasts=lasts, fields=fields)


def reported(reason: str, whose: Mapping[str, str]) -> dict[str, str]:
    """The journal's fields of what is told and not changed. ``whose``: as by ``identity``."""
    return {**whose, "ACTION": "report", "REASON": reason}


def identity(report: PassReport, mac: Mac | None) -> dict[str, str]:
    """The fields that name an ENI, and who configures it."""
    eni = report.of(mac) if mac else None
    if eni is None:
        return {}
    known = {
        "ENI_ID": eni.eni_id,
        "LINK": eni.link,
        "BACKEND": report.choices.get(eni.mac),
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def _name(report: PassReport, mac: Mac | None) -> str:
    eni = report.of(mac) if mac else None
    return eni.name if eni else "gone"


def tell(outcome: Outcome) -> None:
    """Log what was changed and what went wrong. Not under the lock: a log can block.

    In the journal a problem that lasts is told when it begins and when it ends, not each
    minute (R42).
    """
    told = set(outcome.before["problems"]) if to_journal() else set()
    now = {str(problem) for problem in outcome.report.problems}
    for line in lines(outcome.report):
        known = line.mac is None and line.text in told
        level = logging.DEBUG if known else line.level
        _log.log(level, "%s", line.text, extra={"fields": line.fields})
    for problem in sorted(told - now):
        _log.info("no longer: %s", problem)
