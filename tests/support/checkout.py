# SPDX-License-Identifier: Apache-2.0
"""The checkout that is tested, and the output of commands."""

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def output(*command: str | Path) -> str:
    """The output of a command; ``CalledProcessError`` if the command fails."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=300
    ).stdout
