# SPDX-License-Identifier: Apache-2.0
"""The checkout that is tested, and the output of commands."""

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def output(*command: str | Path) -> str:
    """What a command prints; ``CalledProcessError`` where it fails."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=300
    ).stdout
