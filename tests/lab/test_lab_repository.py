# SPDX-License-Identifier: Apache-2.0
"""A repository of the rpms, like a fleet's: ``dnf`` installs from it and removes.

The root file system is Debian 12's, which is not booted. It has Python 3.11 and systemd 252 like
Amazon Linux 2023, and a stub reports them to ``dnf``.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lab_package
import pytest
from checkout import output
from lab_root import Release, cached_root, layered_root

import ec2net

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that ``createrepo_c`` has indexed."""
    folder = tmp_path_factory.mktemp("repository")
    lab_package.build_stub(folder)
    shutil.copy(lab_package.built_rpm("amzn2023"), folder)
    output("createrepo_c", "--quiet", folder)
    return folder


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Without a Python library of the distribution."""
    with layered_root("repository", cached_root(Release.BOOKWORM)) as root:
        shutil.rmtree(root / "usr/lib/python3/dist-packages")
        yield root


def dnf(root: Path, repository: Path, *words: str) -> None:
    command = ["dnf", f"--installroot={root}", f"--repofrompath=ec2net,file://{repository}"]
    command += ["--repo=ec2net", "--releasever=2023", "--nogpgcheck", "--assumeyes", "--quiet"]
    done = subprocess.run(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "scriptlet" not in done.stdout, done.stdout


def test_dnf_installs_from_a_repository_and_removes(root: Path, repository: Path) -> None:
    dnf(root, repository, "install", "ec2net")
    inside = ("chroot", root)
    assert output(*inside, "ec2net", "--version") == f"ec2net {ec2net.__version__}\n"
    assert "networkd" in output(*inside, "ec2net", "backends")
    assert output(*inside, "systemctl", "is-enabled", "ec2net.service") == "enabled\n"
    script = "import sys, site; sys.path.insert(0, '/usr/lib/ec2net/python'); import requests.certs"
    bundle = output(
        *inside, "python3.11", "-sP", "-c", f"{script}; print(requests.certs.where())"
    ).strip()
    assert bundle.startswith("/")
    assert not bundle.startswith("/usr/lib/ec2net")

    dnf(root, repository, "remove", "ec2net")
    left = [path for top in ("etc", "usr", "var/lib") for path in (root / top).rglob("*ec2net*")]
    assert left == []
