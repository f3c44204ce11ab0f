#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the plans of many hosts before a roll-out.

    compare_plans.py PLAN.json...     each written by "ec2net plan --json" on one host

Prints the hosts in groups that would make changes of the same kinds. Addresses, names of links, and
numbers of tables and rules differ between hosts, so they do not count. Ends with 1 if any host has a
conflict or a problem.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

_OWN = re.compile(r"\b[0-9a-f:.]*[0-9]+[0-9a-f:.]*(/\d+)?\b|\b(dev|link) \S+")
"""What differs from host to host: addresses, numbers, and the link of an item."""

_BAD = re.compile(r"\d+ x (CONFLICT|PROBLEM)")


def kinds(plan: dict[str, Any]) -> tuple[str, ...]:
    """How often each kind of change, conflict or problem is in a plan, as sorted lines."""
    found = Counter(
        f"{change['action']} {_OWN.sub(lambda m: m[2] or 'N', change['text'])}"
        for change in plan["changes"]
    )
    found.update(f"CONFLICT: {one['text']}" for one in plan["conflicts"])
    found.update(f"PROBLEM: {text}" for text in plan["problems"])
    return tuple(sorted(f"{count} x {kind}" for kind, count in found.items()))


def main(paths: list[str]) -> int:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in map(Path, paths):
        groups[kinds(json.loads(path.read_text()))].append(path.stem)
    for lines, hosts in sorted(groups.items(), key=lambda group: -len(group[1])):
        print(f"{len(hosts)} host(s): {', '.join(sorted(hosts))}")
        print("".join(f"  {line}\n" for line in lines or ("nothing to change",)), end="")
    return int(any(_BAD.match(line) is not None for lines in groups for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
