# SPDX-License-Identifier: Apache-2.0
"""Every command that a message of the program suggests, as its source has it.

Messages are texts in the source, so all of them are found, also those that no test provokes. Values
that a message fills in are replaced by samples.
"""

import ast
import re
import shlex
from collections.abc import Iterator

from checkout import TOP

PROGRAMS = ("ec2net", "ip", "systemctl", "networkctl", "nmcli", "journalctl")

SAMPLES = {
    "unit": "ec2net.service",
    "runtime": " --runtime",
    "wrong.interface": "192.0.2.1/32",
    "state.interface": "192.0.2.2/32",
    "self.interface": "192.0.2.3/32",
    "gateway.address": "192.0.2.9",
    "answering[0].endpoint.address": "169.254.169.254",
    "primary.mtu": "1500",
    "migrate_command(wiring.rival)": "ec2net migrate --from amazon-ec2-net-utils",
    "migrate_command(Rival.CLOUD_NETCONFIG)": "ec2net migrate --from cloud-netconfig",
    "rival": "amazon-ec2-net-utils",
    "self._rival": "amazon-ec2-net-utils",
    "found.rival": "amazon-ec2-net-utils",
    "TOOL": "amazon-ec2-net-utils",
    "_UNDO": "ec2net adopt networkd --undo --apply",
}
"""By the expression; any other word is the name of a link."""

LINK = "ens6"

_PROGRAM = "|".join(PROGRAMS)
_COMMAND = re.compile(
    rf"(?:: |run |see |&& |^)((?:{_PROGRAM}) [^';\n]+?)(?= && |[;,)]|: | for |$)"
    rf"|'((?:{_PROGRAM}) [^'\n]+)'"
)
_NO_SUGGESTION = re.compile(
    r"%s| failed$|^networkctl reload$|list-units|^ec2net (ens6$|(cannot|configures|does|keeps|makes) )|^ip ens6"
)
"""The program's own calls in logs and names of waits; the last one is tests/netns's."""


def commands() -> dict[str, str]:
    """Each command, with one line of code that suggests it."""
    found: dict[str, str] = {}
    for folder in ("core", "backends"):
        for path in sorted((TOP / folder).rglob("*.py")):
            if "simulation" in path.parts:
                continue
            for line, text in _texts(ast.parse(path.read_text())):
                for command in _in_text(text):
                    found.setdefault(command, f"{path.relative_to(TOP)}:{line}")
    return found


def of(program: str) -> list[list[str]]:
    """The commands of one program, as words."""
    return [shlex.split(c) for c in sorted(commands()) if c.split()[0] == program]


def _in_text(text: str) -> Iterator[str]:
    for bare, quoted in _COMMAND.findall(text):
        command = (bare or quoted).strip().replace("TOOL", "amazon-ec2-net-utils")
        if not _NO_SUGGESTION.search(command):
            yield command


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts that may be messages: no docstring."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in docstrings or id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(_sample, node.values))


def _sample(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return SAMPLES.get(ast.unparse(part.value), LINK)
