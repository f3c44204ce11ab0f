#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the plans of many hosts before a roll-out.

    compare_plans.py PLAN.json...     each written by "ec2net plan --json" on one host

Prints the hosts in groups that would make changes of the same kinds. Addresses, names of links, ids of
ENIs, numbers of tables and rules, and the number of changes of a kind differ between hosts, so they do
not count. Ends with 1 if any host has a conflict, a problem, or a file that is no plan.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

_OWN = re.compile(
    r"\beni-[0-9a-f]+\b|\b[0-9a-f:.]*[0-9]+[0-9a-f:.]*(/\d+)?\b|\b(?P<link>dev|link) \S+"
)
"""What differs from host to host: ids, addresses, numbers, and the link of an item."""

_BAD = ("CONFLICT", "PROBLEM", "NO PLAN")


def kinds(plan: dict[str, Any]) -> Counter[str]:
    """How often each kind of change, conflict or problem is in a plan."""
    links = sorted(filter(None, (eni["link"] for eni in plan["enis"])), key=len, reverse=True)
    names = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, links)) or '(?!)'})(?!\w)")

    def kind(text: str) -> str:
        return _OWN.sub(lambda m: m["link"] or "N", names.sub("LINK", text))

    found = Counter(kind(f"{change['action']} {change['text']}") for change in plan["changes"])
    found.update(kind(f"CONFLICT: {one['text']}") for one in plan["conflicts"])
    found.update(kind(f"PROBLEM: {text}") for text in plan["problems"])
    return found


def read(path: Path) -> Counter[str]:
    """The same from a file. One that is no plan is a kind of its own."""
    try:
        return kinds(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        return Counter([f"NO PLAN: {error}"])
    except (AttributeError, KeyError, TypeError) as error:
        return Counter([f"NO PLAN: not a document of 'ec2net plan --json': {error!r}"])


def line(kind: str, hosts: list[Counter[str]]) -> str:
    """A kind, with the least and the greatest number on a host."""
    least, most = min(host[kind] for host in hosts), max(host[kind] for host in hosts)
    return f"  {least if least == most else f'{least} to {most}'} x {kind}\n"


def main(paths: list[str]) -> int:
    groups: dict[tuple[str, ...], dict[str, Counter[str]]] = defaultdict(dict)
    for path in map(Path, paths):
        found = read(path)
        groups[tuple(sorted(found))][path.stem] = found
    for group, hosts in sorted(groups.items(), key=lambda one: -len(one[1])):
        print(f"{len(hosts)} host(s): {', '.join(sorted(hosts))}")
        print(
            "".join(line(kind, [*hosts.values()]) for kind in group) or "  nothing to change\n",
            end="",
        )
    return int(any(kind.startswith(_BAD) for group in groups for kind in group))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
