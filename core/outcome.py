# SPDX-License-Identifier: Apache-2.0
"""The outcome of a pass: published in /run/ec2net/status.json, told in the log.

Nothing in the file changes while nothing happens, so an unchanged pass writes nothing; the
pass that has nothing to say logs nothing at info or above.
"""

import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ec2net.core import jsonform, text
from ec2net.core.errors import Ec2netError, ExitStatus, StateError
from ec2net.core.identity import Mac
from ec2net.core.intent import EniOutcome, Standing
from ec2net.core.log import to_journal
from ec2net.core.report import PassReport
from ec2net.core.state import RunDir
from ec2net.core.workplace import Workplace, remember_config

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


def publish(place: Workplace, report: PassReport) -> Outcome:
    """Store what ``status`` shows, and a good configuration for the day the files are broken.

    The caller holds the host lock. A full state directory is one more problem of the report.
    """
    before = stored(place.run)
    rows = {eni["mac"]: eni for eni in before["enis"]}
    enis = [_eni(outcome, report, rows.get(str(outcome.mac), {})) for outcome in report.host.enis]
    document = {
        "version": jsonform.VERSION,
        "enis": enis,
        "problems": [str(problem) for problem in report.problems],
    }
    try:
        remember_config(place)
        place.run.write(STATUS, document)
    except StateError as error:
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


def _eni(outcome: EniOutcome, report: PassReport, before: dict[str, Any]) -> dict[str, Any]:
    """One ENI's row; ``since`` moves only when its standing does."""
    trouble = [str(f.error) for f in report.failed if f.change.mac == outcome.mac]
    trouble += [found.describe() for found in report.conflicts if found.mac == outcome.mac]
    trouble += [found.describe() for found in report.findings if found.mac == outcome.mac]
    data = {
        **jsonform.eni(outcome),
        "backend": report.choices.get(outcome.mac),
        "trouble": sorted(set(trouble)),
        "held": jsonform.hold(report.held.get(outcome.mac)),
    }
    same = before.get("standing") == data["standing"] and before.get("reason") == data["reason"]
    data["since"] = before.get("since") if same else _now()
    return data


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def tell(outcome: Outcome) -> None:
    """Log what was changed and what went wrong. Not under the lock: a log can block.

    In the journal a problem that lasts is told when it begins and when it ends, not each
    minute (R42).
    """
    report = outcome.report
    told = set(outcome.before["problems"]) if to_journal() else set()
    names = {eni.mac: eni.name for eni in report.host.enis}
    for step in report.done:
        owner = names.get(step.mac, "gone") if step.mac else "gone"
        _log.info("%s: %s %s", owner, step.action.value, step.item.describe())
    # One error ends all further changes of its ENI: it is told once, with their number.
    errors = Counter(
        (names.get(failure.change.mac, "gone") if failure.change.mac else "gone", failure.error)
        for failure in report.failed
    )
    for (owner, error), changes in errors.items():
        level = logging.INFO if error.exit_status is ExitStatus.LINK_GONE else logging.ERROR
        more = f"; {changes - 1} more changes were left out" if changes > 1 else ""
        _log.log(level, "%s: %s%s", owner, error, more)
    for eni in report.host.enis:
        if eni.standing is Standing.REFUSED:
            _log.error("%s: refused: %s", text.title(eni), eni.reason)
    for conflict in report.conflicts:
        _log.error("%s: %s", names.get(conflict.mac, "gone"), conflict.describe())
    for finding in report.findings:
        _log.error("%s: %s", names.get(finding.mac or Mac(""), "gone"), finding.describe())
    now = {str(problem) for problem in report.problems}
    for problem in sorted(now):
        _log.log(logging.DEBUG if problem in told else logging.ERROR, "%s", problem)
    for problem in sorted(told - now):
        _log.info("no longer: %s", problem)
