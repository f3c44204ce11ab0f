# SPDX-License-Identifier: Apache-2.0
"""Broken hosts that need systemd: the rows of tests/support/broken_hosts.py with units and managers."""

import pytest
from broken_hosts import BROKEN_UNITS, LabRow, wrong
from lab_instance import COMPLETE_LIMIT, LabInstance

pytestmark = pytest.mark.lab

ROWS = [
    pytest.param(row, id=row.name, marks=[*row.marks, pytest.mark.exhaustive])
    for row in BROKEN_UNITS
]


@pytest.mark.parametrize("row", ROWS)
def test_each_command_says_what_is_so(pair: LabInstance, row: LabRow) -> None:
    host = pair.host
    try:
        host.run(["sh", "-euc", row.script])
        if row.until:
            host.wait_until(
                lambda: row.until in host.ec2net("status", check=False).stdout,
                COMPLETE_LIMIT,
                row.until,
            )
        found: list[str] = []
        for command, expected in row.commands.items():
            arguments = [command, "ens6"] if command == "explain" else [command]
            done = host.ec2net(*arguments, check=False)
            said = done.stdout + done.stderr
            print(f"$ ec2net {' '.join(arguments)} -> {done.returncode}\n{said}")
            found += wrong(command, expected, done.returncode, said)
        assert found == []
    finally:
        host.run(["sh", "-c", row.undo])
        pair.until_at_rest()
        pair.until_well()
