# SPDX-License-Identifier: Apache-2.0
"""The wheel and the sdist in separate environments."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import output

import ec2net

VERSION = ec2net.__version__
ARCHIVES = (f"ec2net-{VERSION}-py3-none-any.whl", f"ec2net-{VERSION}.tar.gz")
COMMANDS = (("--version",), ("backends",), ("config", "--show"))


@pytest.fixture(scope="module", params=ARCHIVES)
def environment(
    request: pytest.FixtureRequest, dist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A clean environment with that archive and its dependencies."""
    folder = tmp_path_factory.mktemp("venv")
    output(sys.executable, "-m", "venv", "--without-pip", folder)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "--quiet")
    output(*pip, "--disable-pip-version-check", "install", dist / request.param)
    return folder


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_an_installed_archive_answers_like_the_checkout(
    environment: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Both as a command and as a module."""

    def answer(*command: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    expected = answer(Path(sys.executable).with_name("ec2net"))
    assert expected[0] == 0
    assert expected[1]
    assert answer(environment / "bin/ec2net") == expected
    assert answer(environment / "bin/python", "-m", "ec2net") == expected
