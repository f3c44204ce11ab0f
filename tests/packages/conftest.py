# SPDX-License-Identifier: Apache-2.0
"""Tests of the output of "make packages", which is built again if a source is younger."""

import subprocess
from pathlib import Path

import pytest
from checkout import TOP


@pytest.fixture(scope="session")
def dist() -> Path:
    """The folder with all packages."""
    command = ["make", "--silent", "dist/complete"]
    subprocess.run(command, cwd=TOP, check=True, timeout=600)
    return TOP / "dist"
