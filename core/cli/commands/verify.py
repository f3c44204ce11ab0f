# SPDX-License-Identifier: Apache-2.0
"""``ec2net verify``: is everything as intended, and would traffic leave so? Changes nothing."""

import json
from argparse import Namespace
from collections.abc import Sequence
from ipaddress import ip_address

from ec2net.core.decide.intent import Standing
from ec2net.core.engine import connect, verify
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.model.errors import Ec2netError, ExitStatus, UsageError
from ec2net.core.model.finding import Finding
from ec2net.core.model.problem_code import Code, code_of
from ec2net.core.report import as_json
from ec2net.core.report.table import table
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.codec import encode
from ec2net.core.state.config_in_force import workplace

CONNECT_SECONDS = 60.0
"""For all connections: fifty batches of them, which the largest host has, may fail."""


def run(options: Namespace) -> ExitStatus:
    if options.to is not None and not options.connect:
        raise UsageError("--to is for --connect", remedy="give both")
    place = workplace(options, may_fall_back=False)
    deadline = Deadline(place.config.timeouts.pass_, "verify")
    with opened(place) as engine:
        view = inspect(engine, deadline)
        found = [*verify.differences(view.plan)]
        found += [Finding(c.mac, c.describe(), Code.CONFLICT) for c in view.plan.conflicts]
        problems = [*((code_of(problem), problem) for problem in view.problems), *_refused(view)]
        around = engine.surroundings(view)
        checked = 0
        for intent in view.host.ready:
            found += engine.check(intent, view, around, deadline)
            checked += len(intent.sources)
    attempts = _connected(view, options.to) if options.connect else ()
    failed = any(one.proof is connect.Proof.FAILED for one in attempts)
    if options.json:
        print(json.dumps(_document(problems, found, checked, attempts), indent=2))
    else:
        if attempts:
            print(_proofs(view, attempts))
        for _, problem in problems:
            print(f"! {problem}")
        for finding in found:
            eni = view.host.of(finding.mac) if finding.mac else None
            print(f"! {eni.name if eni else 'gone'}: {finding.describe()}")
            if finding.remedy:
                print(f"     {finding.remedy}")
        if not found and not problems:
            enis = len(view.host.ready)
            print(f"OK: all {checked} addresses on {enis} ENIs use the right interface.")
    if problems:
        return ExitStatus.FAILED
    return ExitStatus.DRIFT if found or failed else ExitStatus.DONE


def _connected(view: View, to: tuple[str, int] | None) -> tuple[connect.Attempt, ...]:
    """A connection from each address that an ENI is intended to have."""
    target = None if to is None else connect.Target(ip_address(to[0]), to[1])
    sources = [source.ip for intent in view.host.ready for source in intent.sources]
    return connect.prove(sources, target, Deadline(CONNECT_SECONDS, "verify --connect"))


_TICKS = {
    connect.Proof.CONNECTED: "yes",
    connect.Proof.FAILED: "NO",
    connect.Proof.NOT_PROVEN: "not proven",
}


def _proofs(view: View, attempts: Sequence[connect.Attempt]) -> str:
    """A table, one row for each connection."""
    links = {s.ip: str(intent.link) for intent in view.host.ready for s in intent.sources}
    rows = [
        (links[one.source], str(one.source), str(one.target), _TICKS[one.proof], one.reason)
        for one in attempts
    ]
    return table(("LINK", "SOURCE", "TO", "CONNECTED", "REASON"), rows)


def _refused(view: View) -> list[tuple[Code, Ec2netError]]:
    """Nothing is verified on a refused ENI."""
    return [
        (Code.REFUSED, Ec2netError(f"refused: {eni.reason}", subject=eni.name))
        for eni in view.host.enis
        if eni.standing is Standing.REFUSED
    ]


def _document(
    problems: Sequence[tuple[Code, Exception]],
    found: list[Finding],
    checked: int,
    attempts: Sequence[connect.Attempt],
) -> dict[str, object]:
    return {
        "version": as_json.VERSION,
        "checked": checked,
        "findings": [
            {"eni": encode(f.mac), "code": f.code.value, "text": f.text, "remedy": f.remedy}
            for f in found
        ],
        "connections": [
            {
                "source": str(one.source),
                "target": str(one.target),
                "proof": one.proof.value,
                "reason": one.reason,
            }
            for one in attempts
        ],
        "problems": [str(problem) for _, problem in problems],
        "problem_codes": [code.value for code, _ in problems],
    }
