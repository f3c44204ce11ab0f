# SPDX-License-Identifier: Apache-2.0
"""``ec2net status``: the table of all ENIs, as the last pass published it. It needs no privilege."""

import json
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ec2net.core.cli.output import lose_output
from ec2net.core.cli.suggestion import suggestion
from ec2net.core.config.files import load
from ec2net.core.daemon.published import published
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import rivals
from ec2net.core.host.service import Fault, service_fault
from ec2net.core.model.errors import ConfigError, Ec2netError, ExitStatus, UsageError
from ec2net.core.report.status_file import STATUS
from ec2net.core.report.table import WIDTH, table
from ec2net.core.report.text import incomplete
from ec2net.core.runtime.clock import age, date, seconds_of, utc
from ec2net.core.runtime.colour import RED, YELLOW, colours, painted
from ec2net.core.runtime.deadline import readable
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state import pause
from ec2net.core.state.codec import encode
from ec2net.core.state.last_pass import last_pass
from ec2net.core.state.run_dir import RunDir

_QUIET = ("ignored", "absent", "no-address")
"""States that may be intended."""

_CLEAR = "\x1b[H\x1b[2J"
_PAINT = re.compile(r"\x1b\[\d+m")


@dataclass(frozen=True, slots=True)
class _Shown:
    """The published status, once read."""

    text: str
    document: dict[str, Any]
    status: ExitStatus


@dataclass(frozen=True, slots=True)
class _Style:
    """How the text looks."""

    ages: bool = False
    """Ages of states instead of their times."""
    colour: bool = False


def run(options: Namespace) -> ExitStatus:
    run_dir, root, colour = RunDir(options.run_dir), options.config_root, colours(sys.stdout)
    ages = options.watch is not None and sys.stdout.isatty()
    look = partial(_look, run_dir, root, options.eni, _Style(ages, colour))
    if options.watch is not None:
        return _watch(look, options.watch, as_json=options.json)
    shown = look()
    print(json.dumps(shown.document, indent=2) if options.json else shown.text)
    return shown.status


def _watch(look: Callable[[], _Shown], seconds: float, *, as_json: bool) -> ExitStatus:
    """Print the status again whenever it changed, until a signal, or until the reader of the output
    ends. Each time reads a few small files. On a terminal an age is a change, too."""
    terminal = sys.stdout.isatty() and not as_json
    before: object = None
    status = ExitStatus.DONE
    with StopSignals() as signals:
        while signals.received is None:  # ends by SIGINT or SIGTERM, or with the reader
            try:
                shown = look()
                text = json.dumps(shown.document) if as_json else shown.text
                status, news = shown.status, {**shown.document, "last_pass": None}
            except Ec2netError as error:  # no pass yet: the first one may end soon
                news = {"error": str(error)}
                text = json.dumps(news) if as_json else f"! {error}"
                status = error.exit_status
            now = text if terminal else news
            if now != before:
                try:
                    print(f"{_CLEAR}{_fitting(text)}" if terminal else text, flush=True)
                except BrokenPipeError:
                    lose_output()
                    break
                before = now
            output = sys.stdout.fileno()
            if output in readable([signals.fileno()], seconds, output=output):
                break
    return status


def _fitting(text: str) -> str:
    """The lines that the terminal has room for, so that it does not scroll."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return text
    if not columns or not rows:  # a terminal that reports no size
        return text
    lines, used = text.split("\n"), 0
    for number, line in enumerate(lines):
        used += max(1, -(-len(_PAINT.sub("", line)) // columns))
        if used > rows - 2 and number < len(lines) - 1:
            return "\n".join([*lines[:number], f"... and {len(lines) - number} more lines"])
    return text


def _look(run_dir: RunDir, root: Path, eni: str | None, style: _Style) -> _Shown:
    """``eni``: only this one. Raises ``Ec2netError`` if nothing usable is published."""
    document, manager, environment = run_dir.read(STATUS), published(run_dir), Environment()
    fault = service_fault(manager is not None, environment)
    if document is None:
        raise Ec2netError(
            f"there is no status yet: {fault or 'no pass has ended since boot'}",
            subject=str(run_dir.path / STATUS),
            remedy=fault.remedy if fault else "run 'ec2net refresh'",
        )
    tools = rivals(environment)
    document["resident"] = manager
    document["service"] = encode(fault)
    document["last_pass"] = last_pass(run_dir)
    document["config_errors"] = _config_errors(root, document)
    document["tools"] = [encode(tool) for tool in tools]
    document["pause"] = pause.to_json(paused := pause.read_safely(root / pause.PLACE)[0])
    document.setdefault("pending_changes", None)
    document.setdefault("warnings", [])
    document["written"] = _written(run_dir)
    try:
        if eni is not None:
            document["enis"] = _only(eni, document["enis"])
        lines = [
            *_service(fault, document["last_pass"]),
            *_pause(paused, document["pending_changes"]),
            *(f"! configuration: {error}" for error in document["config_errors"]),
            *_lines(document, style),
        ]
        status = _status(document, bad=fault is not None)
    except (KeyError, TypeError, AttributeError) as error:
        raise Ec2netError(
            "another version of ec2net wrote this status",
            subject=str(run_dir.path / STATUS),
            remedy="run 'ec2net refresh'",
        ) from error
    lines += [tool.warning() for tool in tools if not _is_named(tool.tool, document)]
    if style.colour:
        lines = [painted(line, RED if line.startswith("! ") else "") for line in lines]
    return _Shown("\n".join(lines), document, status)


def _is_named(tool: str, document: Mapping[str, Any]) -> bool:
    return any(str(text).startswith(f"{tool}: ") for text in document["problems"])


def _status(document: Mapping[str, Any], *, bad: bool) -> ExitStatus:
    """``bad``: the service is not as it should be."""
    troubled = document["problems"] or any(eni["trouble"] for eni in document["enis"])
    refused = any(eni["standing"] == "refused" for eni in document["enis"])
    fight = document["resident"] is not None and document["resident"].get("fight")
    if troubled or refused or fight or bad:
        return ExitStatus.FAILED
    return ExitStatus.USAGE if document["config_errors"] else ExitStatus.DONE


def _only(name: str, enis: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ENI of this name. Raises ``UsageError`` if there is none."""
    found = [eni for eni in enis if name in _names(eni)]
    if not found:
        known = [eni["link"] or eni["eni_id"] or eni["mac"] for eni in enis]
        every = [each for eni in enis for each in _names(eni) if each]
        raise UsageError(
            f"{name[:60]} is not the link, id or MAC address of an ENI{suggestion(name, every)}",
            remedy=f"ENIs of this host: {', '.join(known) or 'none'}",
        )
    return found


def _names(eni: dict[str, Any]) -> tuple[str | None, ...]:
    altnames = (eni["intent"] or {}).get("altnames") or ()
    return eni["link"], eni["eni_id"], eni["mac"], *altnames


def _written(run_dir: RunDir) -> str:
    """When a pass last changed the status; a pass without a change does not write the file."""
    try:
        seconds = (run_dir.path / STATUS).stat().st_mtime
    except OSError:  # a pass replaced the file meanwhile
        seconds = time.time()
    return utc(seconds)


def _service(fault: Fault | None, last: str | None) -> list[str]:
    """The fault of the unit: above all others, since the rest of the text is old then."""
    if fault is None:
        return []
    passed = f"last pass {date(last)}, {_age(last)}" if last else "no pass in this boot"
    return [f"! {fault} ({passed}); {fault.remedy}"]


def _pause(paused: pause.Pause | None, pending: int | None) -> list[str]:
    if paused is None:
        return []
    wait = f"; {pending} changes wait" if pending else ""
    return [f"Changes are paused {paused.words()}{wait}; to end the pause, run: ec2net resume"]


def _config_errors(root: Path, document: dict[str, Any]) -> list[str]:
    """The files' errors as they are now. Without any, those of the configuration in force."""
    errors = load(root).errors
    if now := [str(error) for error in errors if not _is_forbidden(error)]:
        return now
    before: Iterable[object] = document.get("config_errors") or ()
    corrected = "" if errors else " (corrected since; run: systemctl reload ec2net.service)"
    return [f"{error}{corrected}" for error in before]


def _is_forbidden(error: ConfigError) -> bool:
    """Whether the caller's rights are the reason: ec2net itself runs as root."""
    return os.geteuid() != 0 and "Permission denied" in error.problem


def _lines(document: dict[str, Any], style: _Style) -> list[str]:
    """The daemon's states take precedence: it follows an ENI over several passes."""
    manager = document["resident"]
    states = {row["mac"]: row for row in manager["enis"]} if manager is not None else {}
    rows = [_row(eni, states.get(eni["mac"]), ages=style.ages) for eni in document["enis"]]
    lines = table(_HEAD, rows, width=WIDTH).split("\n")
    if style.colour:
        of_rows = [_COLOURS.get(row[_HEAD.index("STATE")], RED) for row in rows]
        lines = [painted(line, code) for line, code in zip(lines, ["", *of_rows], strict=True)]
    for eni in document["enis"]:
        name = eni["link"] or eni["eni_id"] or eni["mac"]
        sign = "-" if eni["standing"] in _QUIET else "!"
        lines += [f"{sign} {name}: {eni['reason']}"] if eni["reason"] else []
        lines += [f"! {name}: {trouble}" for trouble in eni["trouble"] if trouble]
        if unread := (eni["intent"] or {}).get("unread"):
            lines.append(f"! {name}: {incomplete(unread)}")
        lines += _drift(name, eni.get("drift"))
    lines += [f"! {text}" for text in (*document["problems"], *document["warnings"])]
    lines.append(f"Last change: {date(document['written'])} ({_age(document['written'])}).")
    if manager is not None:
        lines += [f"! {manager['fight']}"] if manager.get("fight") else []
        lines.append(f"The ec2net daemon is running (PID {manager['pid']}).")
    return lines


def _drift(name: str, drift: dict[str, Any] | None) -> list[str]:
    """Drift that is open or repeated; ``explain`` shows a single one."""
    if drift is None or not (drift["open"] or drift["times"] > 1):
        return []
    times = f" ({drift['times']} times, last {date(drift['last'])})" if drift["times"] > 1 else ""
    what = "; ".join(drift["what"])
    return [f"! {name}: {what}{times}: {drift['repair']}; run: ec2net explain {name}"]


_HEAD = ("ENI", "LINK", "CARD", "DEV", "BACKEND", "STATE", "SINCE", "ADDR", "PFX", "TABLE")


_COLOURS = {"configured": "", "ignored": "", "no-address": "", "absent": ""}
_COLOURS |= {"pending": YELLOW, "observed": YELLOW}
"""The colour of a row, by its state; a state that is not here is bad news."""


def _row(eni: dict[str, Any], state: dict[str, Any] | None, *, ages: bool) -> tuple[str, ...]:
    intent = eni["intent"]
    number = intent["number"] if intent else {"card": "-", "device": "-"}
    prefixes = len(intent["prefixes"]) if intent else "-"
    routed = intent and (intent["rules"] or intent.get("vrf"))
    return (
        eni["eni_id"] or eni["mac"],
        eni["link"] or "-",
        str(number["card"]),
        str(number["device"]),
        eni["backend"] or "-",
        state["state"] if state else _state(eni),
        (_age if ages else date)((state or eni)["since"]),
        _addresses(eni),
        str(prefixes),
        str(intent["table"]) if routed else ("main" if intent else "-"),
    )


def _state(eni: dict[str, Any]) -> str:
    """The state that the last pass published; as far as it can be told of an earlier version's."""
    standing = str(eni["standing"])
    return str(
        eni.get("state") or {"ready": "configured", "planned": "configured"}.get(standing, standing)
    )


def _addresses(eni: dict[str, Any]) -> str:
    """How many of the intended addresses the link has; ``?``: the pass did not count them."""
    if eni["intent"] is None:
        return "-"
    wanted = len(eni["intent"]["base"]) + len(eni["intent"]["further"])
    there = eni.get("there")
    return f"{'?' if there is None else there}/{wanted}"


def _age(stamp: str) -> str:
    return age(max(0.0, time.time() - seconds_of(stamp)))
