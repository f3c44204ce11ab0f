# SPDX-License-Identifier: Apache-2.0
"""The log lines of a pass. A pass that has nothing to say logs nothing at info or above."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ec2net.core.decide.intent import Standing
from ec2net.core.model.errors import DeadlineExceeded, ExitStatus
from ec2net.core.model.identity import Mac
from ec2net.core.model.problem_code import Code, code_of
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import text
from ec2net.core.report.status_file import Outcome
from ec2net.core.runtime.log import to_journal

_log = logging.getLogger("ec2net.pass")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say of a pass. ``lasts``: it is so until it is not said any more."""

    level: int
    text: str
    mac: Mac | None = None
    """The ENI that it is about; None: the host."""
    lasts: bool = True
    fields: Mapping[str, str] = field(default_factory=dict)
    """Journal fields: ENI_ID, LINK, BACKEND, ACTION, REASON; those without a value are absent."""
    code: Code = Code.OTHER

    @property
    def journal(self) -> dict[str, str]:
        """The fields, with those of the code."""
        return {**self.fields, **coded(self.code)}


def coded(code: Code) -> dict[str, str]:
    """The journal fields that name the kind of a message."""
    return {"MESSAGE_ID": code.message_id, "REASON_CODE": code.value}


def lines(report: PassReport) -> tuple[Line, ...]:
    """Changes first, then problems."""
    problems = sorted({(str(problem), code_of(problem)) for problem in report.problems})
    return (
        *_changes(report),
        *_failures(report),
        *_refusals(report),
        *(_wrong(report, mac, reason, code) for mac, code, reason in report.wrong),
        *(_of_host(text, code) for text, code in problems),
        *(_of_host(str(one), code_of(one), logging.WARNING) for one in report.warnings),
        *_pause(report),
    )


def _pause(report: PassReport) -> Iterator[Line]:
    if report.pause is not None and report.waiting:
        said = f"changes are paused {report.pause.words()}; to make them now, run: ec2net resume"
        yield Line(logging.WARNING, said, fields=reported(said, {}), code=Code.PAUSED)


def _changes(report: PassReport) -> Iterator[Line]:
    """Drift first, then the changes of the pass."""
    for mac, drift in report.drifts.news:
        said = f"{_name(report, mac)}: {drift.log_text()}"
        fields = identity(report, mac)
        yield Line(logging.WARNING, said, mac, lasts=False, fields=fields, code=Code.DRIFT)
    for step in report.done:
        made = f"{_name(report, step.whose)}: {step.action.value} {step.item.describe()}"
        fields = {**identity(report, step.whose), "ACTION": step.action.name.lower()}
        if report.occasion:
            fields["REASON"] = report.occasion
        yield Line(logging.INFO, made, step.whose, lasts=False, fields=fields, code=Code.CHANGE)


def _failures(report: PassReport) -> Iterator[Line]:
    """One error ends all further changes of its ENI. It is logged once, with the number of these
    changes."""
    errors = Counter((failure.change.whose, failure.error) for failure in report.failed)
    late = {key: count for key, count in errors.items() if isinstance(key[1], DeadlineExceeded)}
    if len(enis := {mac for mac, _ in late}) > 1:
        errors = Counter({key: count for key, count in errors.items() if key not in late})
        error = next(error for _, error in late)
        yield _of_host(
            f"{error}: {sum(late.values())} changes of {len(enis)} ENIs were left out;"
            " the next pass makes them",
            code_of(error),
        )
    for (mac, error), changes in errors.items():
        gone = error.exit_status is ExitStatus.LINK_GONE
        more = f"; {changes - 1} more changes were left out" if changes > 1 else ""
        level = logging.INFO if gone else logging.ERROR
        code = code_of(error)
        yield _wrong(report, mac, f"{error}{more}", code, level=level, lasts=not gone)


def _refusals(report: PassReport) -> Iterator[Line]:
    for eni in report.host.enis:
        if eni.standing is Standing.REFUSED:
            said = f"{text.title(eni)}: refused: {eni.reason}"
            fields = reported(eni.reason, identity(report, eni.mac))
            yield Line(logging.ERROR, said, eni.mac, fields=fields, code=Code.REFUSED)


def _of_host(problem: str, code: Code, level: int = logging.ERROR) -> Line:
    return Line(level, problem, fields=reported(problem, {}), code=code)


def _wrong(
    report: PassReport,
    mac: Mac | None,
    text: str,
    code: Code,
    *,
    level: int = logging.ERROR,
    lasts: bool = True,
) -> Line:
    fields = reported(text, identity(report, mac))
    named = f"{_name(report, mac)}: {text}"
    return Line(level, named, mac, lasts=lasts, fields=fields, code=code)


def reported(reason: str, whose: Mapping[str, str]) -> dict[str, str]:
    """The journal fields of a report without a change. ``whose``: as by ``identity``."""
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


def report(outcome: Outcome) -> None:
    """Log changes and problems. The caller does not hold the lock, since logging can block.

    The journal gets a lasting problem at its begin and at its end, not each minute (R42). The end
    is that of its code: another text is no end.
    """
    told = outcome.told_before if to_journal() else {}
    found = (*outcome.report.problems, *outcome.report.warnings)
    now = {code_of(problem) for problem in found}
    for line in lines(outcome.report):
        known = line.mac is None and line.text in told
        level = logging.DEBUG if known else line.level
        _log.log(level, "%s", line.text, extra={"fields": line.journal})
    for problem, code in sorted(told.items()):
        if code not in now:
            _log.info("resolved: %s", problem, extra={"fields": coded(code)})
