# SPDX-License-Identifier: Apache-2.0
"""``ec2net status``: where each ENI stands since the last pass. Needs no privilege, asks nobody."""

import json
from argparse import Namespace
from typing import Any

from ec2net.core.environment import Environment
from ec2net.core.errors import Ec2netError, ExitStatus
from ec2net.core.jsonform import plain
from ec2net.core.othertools import Danger, recognise
from ec2net.core.outcome import STATUS
from ec2net.core.resident.published import published
from ec2net.core.state import RunDir
from ec2net.core.text import table


def run(options: Namespace) -> ExitStatus:
    run_dir = RunDir(options.run_dir)
    document = run_dir.read(STATUS)
    if document is None:
        raise Ec2netError(
            "there is no status: no pass has ended since boot",
            subject=str(run_dir.path / STATUS),
            remedy="run 'ec2net refresh'",
        )
    manager = published(run_dir)
    tools = [tool for tool in recognise(Environment()) if tool.danger is Danger.DOUBLE]
    try:
        lines = _lines(document, manager)
        troubled = document["problems"] or any(eni["trouble"] for eni in document["enis"])
        refused = any(eni["standing"] == "refused" for eni in document["enis"])
    except (KeyError, TypeError, AttributeError) as error:
        raise Ec2netError(
            "is not a status as this version writes it",
            subject=str(run_dir.path / STATUS),
            remedy="run 'ec2net refresh'",
        ) from error
    document["resident"] = manager
    document["tools"] = [plain(tool) for tool in tools]
    lines += [
        f"! {tool.tool} configures ENIs as well: {tool.trace} ({tool.remedy})"
        for tool in tools
        if not any(text.startswith(f"{tool.tool}: ") for text in document["problems"])
    ]
    print(json.dumps(document, indent=2) if options.json else "\n".join(lines))
    return ExitStatus.FAILED if troubled or refused else ExitStatus.DONE


def _lines(document: dict[str, Any], manager: dict[str, Any] | None) -> list[str]:
    """``manager`` is what the resident manager publishes; it knows more than the last pass."""
    states = {row["mac"]: row for row in manager["enis"]} if manager is not None else {}
    lines = [table(_HEAD, [_row(eni, states.get(eni["mac"])) for eni in document["enis"]])]
    for eni in document["enis"]:
        name = eni["link"] or eni["eni_id"] or eni["mac"]
        lines += [f"! {name}: {trouble}" for trouble in (eni["reason"], *eni["trouble"]) if trouble]
        lines += _drift(name, eni.get("drift"))
    lines += [f"! {problem}" for problem in document["problems"]]
    if manager is not None:
        lines += [f"! {manager['fight']}"] if manager.get("fight") else []
        lines.append(f"The resident manager (process {manager['pid']}) is at work.")
    return lines


def _drift(name: str, drift: dict[str, Any] | None) -> list[str]:
    """What is not repaired, or comes again and again; once is for ``explain``."""
    if drift is None or not (drift["open"] or drift["times"] > 1):
        return []
    times = f" ({drift['times']} times, last at {drift['last']})" if drift["times"] > 1 else ""
    return [
        f"! {name}: {'; '.join(drift['what'])}{times}: {drift['repair']}; ec2net explain {name}"
    ]


_HEAD = ("ENI", "LINK", "PLACE", "BACKEND", "STATE", "SINCE", "ADDR", "PREFIX", "TABLE")


def _row(eni: dict[str, Any], state: dict[str, Any] | None) -> tuple[str, ...]:
    intent = eni["intent"]
    place = f"{intent['number']['card']}.{intent['number']['device']}" if intent else "-"
    addresses = len(intent["base"]) + len(intent["further"]) if intent else "-"
    prefixes = len(intent["prefixes"]) if intent else "-"
    routed = intent and intent["rules"]
    return (
        eni["eni_id"] or eni["mac"],
        eni["link"] or "-",
        place,
        eni["backend"] or "-",
        state["state"] if state else eni["standing"],
        (state or eni)["since"] or "-",
        str(addresses),
        str(prefixes),
        str(intent["table"]) if routed else ("main" if intent else "-"),
    )
