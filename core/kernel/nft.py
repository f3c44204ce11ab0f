# SPDX-License-Identifier: Apache-2.0
"""The nftables tables of ``published_ports``: one for each ENI, written and read by nft(8).

Each table stores in every connection the ENI on which the connection arrived (ct mark). It marks
the replies that pass through the host, so that a rule can route them by the ENI's table
(nft(8), "CT"). ec2net writes a table in one transaction: completely or not at all.
"""

import json
import re
from typing import Any

from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import LinkRef, Mark, ReplyMarks
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline

_FAMILY = "inet"
_NAME = re.compile(r"ec2net_(\d{1,10})_(\d{1,10})_([0-9a-f]{1,8})_([0-9a-f]{1,8})", re.ASCII)
"""Table, link index, mark, mask: what the two rules in it follow from."""
_RULES = 2
_SECONDS = 5.0
_REMEDY = "install nft (package nftables), or remove published_ports from the configuration"


def read() -> tuple[ReplyMarks, ...]:
    """The present and complete tables. Raises ``KernelError``.

    An emptied table is left out, so a pass writes it again.
    """
    found = []
    for name, marks in _named().items():
        listing = _listing(["list", "table", _FAMILY, name])
        if sum("rule" in entry for entry in listing) == _RULES:
            found.append(marks)
    return tuple(found)


def write(marks: ReplyMarks) -> None:
    """In place of what there is for the same table. Raises ``KernelError``."""
    old = [name for name, known in _named().items() if known.identity == marks.identity]
    link, value = marks.link.index, f"0x{marks.mark.value:08x}"
    ours, others = f"0x{marks.mark.mask:08x}", f"0x{~marks.mark.mask & 0xFFFFFFFF:08x}"
    answers = f"iif != {link} ct direction reply ct mark & {ours} == {value}"
    _nft(
        [
            *(f"delete table {_FAMILY} {name}" for name in old),
            f"table {_FAMILY} {_name(marks)} {{",
            "chain prerouting {",
            "type filter hook prerouting priority mangle;",
            f"iif {link} ct state new ct mark set ct mark & {others} | {value}",
            f"{answers} meta mark set meta mark & {others} | {value}",
            "}",
            "}",
        ]
    )


def remove(marks: ReplyMarks) -> None:
    """Not being there (any more) is success. Raises ``KernelError``."""
    if _name(marks) in _named():
        _nft([f"delete table {_FAMILY} {_name(marks)}"])


def is_ours(name: bytes) -> bool:
    """Whether a table of this name, with or without its final zero byte, is ec2net's."""
    return _NAME.fullmatch(name.rstrip(b"\0").decode("utf-8", "replace")) is not None


def _name(marks: ReplyMarks) -> str:
    mark = marks.mark
    return f"ec2net_{marks.table}_{marks.link.index}_{mark.value:x}_{mark.mask:x}"


def _named() -> dict[str, ReplyMarks]:
    """Our tables, by their names."""
    found = {}
    for entry in _listing(["list", "tables", _FAMILY]):
        name = str(entry.get("table", {}).get("name", ""))
        if match := _NAME.fullmatch(name):
            table, index = int(match[1]), int(match[2])
            mark = Mark(int(match[3], 16), int(match[4], 16))
            found[name] = ReplyMarks(LinkRef(index, str(index)), table, mark)
    return found


def _listing(command: list[str]) -> list[dict[str, Any]]:
    try:
        entries = json.loads(_run(["nft", "--json", *command]))["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError(f"nft {' '.join(command)}: not the JSON that was expected") from error
    return [entry for entry in entries if isinstance(entry, dict)]


def _nft(script: list[str]) -> None:
    _run(["nft", "\n".join(script)])


def _run(command: list[str]) -> str:
    import subprocess  # as in core/runtime/command.py

    try:
        done = run_bounded(command, Deadline(_SECONDS, "nft"))
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"did not end within {_SECONDS:g} s"
        raise KernelError(f"nft cannot be run: {reason}", remedy=_REMEDY) from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise KernelError(f"nft failed: {said[0]}", remedy=_REMEDY)
    return done.stdout
