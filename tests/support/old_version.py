# SPDX-License-Identifier: Apache-2.0
"""The version that hosts are upgraded from in the tests, taken out of this repository's history."""

import os
import subprocess
from pathlib import Path

import pytest
from checkout import TOP

OLD = "a4beef3ecd0f884b6b49494b4a9d403fce16e7ce"
"""The last commit before the folders of core/ were rebuilt. Every state file, journal and mark was
written by another module then, so a host of that version is the hardest one to take over."""

_LIMIT = 60.0
"""Seconds for git and tar, which take less than one."""


class NoHistory(Exception):
    """The checkout lacks a revision: a shallow clone, or an unpacked tarball."""


def unpack(revision: str, folder: Path) -> Path:
    """Write the files of a revision into ``folder``, and return it. Raises ``NoHistory``."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ".archive.tar"
    done = subprocess.run(
        ["git", "archive", f"--output={archive}", revision],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT,
    )
    if done.returncode != 0:
        raise NoHistory(
            f"git cannot read revision {revision[:12]} of this checkout: {done.stderr.strip()}\n"
            "'git fetch --unshallow' gets it (in a workflow: fetch-depth: 0)"
        )
    subprocess.run(["tar", "--extract", "--file", archive], cwd=folder, check=True, timeout=_LIMIT)
    archive.unlink()
    return folder


def unpacked_or_not_run(folder: Path) -> Path:
    """The old version in ``folder``. Without the history CI fails, and elsewhere the test is not run."""
    try:
        return unpack(OLD, folder)
    except NoHistory as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"NOT RUN: {error}")
