# SPDX-License-Identifier: Apache-2.0
"""The outcome of a pass, published in /run/ec2net/status.json.

Nothing in the file changes while nothing happens, so an unchanged pass writes nothing. The file
therefore has the time of the last change only; the metrics file also has the time of the last pass, at
the price of a write in each. The pass counts addresses in its last dump of the kernel; ``status``
asks neither the kernel nor IMDS.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.model.errors import Ec2netError, StateError
from ec2net.core.model.identity import Mac
from ec2net.core.model.problem_code import Code, code_of
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import as_json
from ec2net.core.report.eni_state import judge
from ec2net.core.runtime import clock
from ec2net.core.state.config_in_force import Workplace, remember_config
from ec2net.core.state.run_dir import RunDir, parsed

STATUS = "status.json"

_CODES = {code.value: code for code in Code}

_log = logging.getLogger("ec2net.pass")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A report, with what its publication needed and brought."""

    report: PassReport
    document: dict[str, Any]
    """The new document for ``status``."""
    before: dict[str, Any]
    """The former document."""

    @property
    def told_before(self) -> dict[str, Code]:
        """The texts of the former document, with their codes."""
        warnings = dict.fromkeys(_texts(self.before, "warnings"), Code.SHARED_TABLE)
        codes = self.before.get("problem_codes")
        known = codes if isinstance(codes, list) else []
        texts = self.before["problems"]
        return warnings | {
            text: _CODES.get(str(code), Code.OTHER)
            for text, code in zip_longest(texts, known[: len(texts)])
        }

    def to_json(self) -> dict[str, Any]:
        """The document, and what was done in this pass."""
        return {
            **self.document,
            "changes": [as_json.change(step) for step in self.report.done],
            "failed": [
                {**as_json.change(failure.change), "error": str(failure.error)}
                for failure in self.report.failed
            ],
            "rolled_back": [as_json.change(step) for step in self.report.undone],
            "requests": self.report.requests,
        }


def publish(
    place: Workplace, report: PassReport, *, only: Collection[Mac] | None = None
) -> Outcome:
    """Store what ``status`` shows, and a good configuration for the day the files are broken.

    The caller holds the host lock. A full state directory is one problem of the report, however
    much cannot be kept. ``only``: the ENIs that the pass was for; of others no trouble has ended.
    """
    before = stored(place.run, intents=False)
    rows = {eni["mac"]: eni for eni in before["enis"]}
    enis = [
        _eni(
            outcome,
            report,
            rows.get(str(outcome.mac), {}),
            covered=only is None or outcome.mac in only,
        )
        for outcome in report.host.enis
    ]
    as_json.keep_only([outcome.mac for outcome in report.host.enis])
    document = {
        "version": as_json.VERSION,
        "enis": enis,
        "problems": [str(problem) for problem in report.problems],
        "problem_codes": [code_of(problem).value for problem in report.problems],
        "warnings": [str(warning) for warning in report.warnings],
        "config_errors": [str(error) for error in place.loaded.errors],
        "pending_changes": report.pending if only is None else before.get("pending_changes"),
    }
    try:
        remember_config(place)
        place.run.write(STATUS, document)
    except StateError as error:
        if not any(isinstance(problem, StateError) for problem in report.problems):
            report = replace(report, problems=(*report.problems, error))
    return Outcome(report, document, before)


def publish_failure(run: RunDir, error: Ec2netError) -> None:
    """A pass failed: ``status`` must not report the former success any longer."""
    with suppress(StateError):
        failed = {"problems": [str(error)], "problem_codes": [code_of(error).value]}
        run.write(STATUS, {**stored(run), "version": as_json.VERSION, **failed})


def stored(run: RunDir, *, intents: bool = True) -> dict[str, Any]:
    """The last status, as far as it has the form that is written here.

    Without ``intents`` for who does not need them: those of 64 ENIs with 100 addresses are 5 MiB.
    """
    document = parsed(run.content(STATUS), None if intents else _without_intent) or {}
    enis = document.get("enis")
    rows = [eni for eni in enis if _is_row(eni)] if isinstance(enis, list) else []
    return {**document, "enis": rows, "problems": _texts(document, "problems")}


def _texts(document: dict[str, Any], key: str) -> list[str]:
    found = document.get(key)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _without_intent(row: dict[str, Any]) -> dict[str, Any]:
    row.pop("intent", None)
    return row


def _is_row(eni: object) -> bool:
    return isinstance(eni, dict) and isinstance(eni.get("mac"), str)


def _eni(
    outcome: EniOutcome, report: PassReport, before: dict[str, Any], *, covered: bool
) -> dict[str, Any]:
    """One ENI's row; ``since`` moves only when its standing does."""
    data = {
        **as_json.eni(outcome),
        "backend": report.choices.get(outcome.mac),
        "there": report.there.get(outcome.mac),
        "trouble": list(report.trouble(outcome.mac)) if covered else before.get("trouble", []),
        "drift": as_json.drift(report.drifts.latest.get(outcome.mac))
        if covered
        else before.get("drift"),
        "held": as_json.hold(report.held.get(outcome.mac)) if covered else before.get("held"),
    }
    data["state"] = judge(outcome, report)[0].value if covered else before.get("state")
    data["reason_code"] = _code(outcome, report) if covered else before.get("reason_code")
    same = before.get("standing") == data["standing"] and before.get("reason") == data["reason"]
    data["since"] = before.get("since") if same else clock.now()
    return data


def _code(outcome: EniOutcome, report: PassReport) -> str | None:
    """The code of the reason why the ENI is not configured; None if it is."""
    if outcome.standing is not Standing.READY:
        return Code(outcome.standing.value).value
    codes = report.coded_trouble(outcome.mac).values()
    return next((code.value for code in codes), None)
