# SPDX-License-Identifier: Apache-2.0
"""The Debian source's own test of the installed package, as Debian's infrastructure runs it."""

import subprocess
import tarfile
from pathlib import Path

import lab_package
import pytest
from checkout import output
from lab_root import RELEASES, Release, cached_root, layered_root

import ec2net

pytestmark = pytest.mark.lab


_STUB = """\
Package: dpkg-dev
Version: 99
Architecture: all
Maintainer: test <test@example.com>
Description: autopkgtest wants it in each test bed, to apply patches, of which there are none
"""


def stub(folder: Path) -> Path:
    """A package that depends on nothing, with a command that does nothing."""
    for name, text in (("DEBIAN/control", _STUB), ("usr/bin/dpkg-source", "#!/bin/sh\n")):
        path = folder / "stub" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    path.chmod(0o755)
    output("dpkg-deb", "--build", folder / "stub", folder / "stub.deb")
    return folder / "stub.deb"


@pytest.mark.parametrize("release", RELEASES, ids=lambda one: one.value)
def test_autopkgtest_passes_with_the_built_package(release: Release, tmp_path: Path) -> None:
    """In a chroot that has all packages already: the sandbox has no network."""
    sdist = lab_package.built().with_name(f"ec2net-{ec2net.__version__}.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    tree = tmp_path / f"ec2net-{ec2net.__version__}"
    (tree / "packaging/debian").rename(tree / "debian")
    with layered_root(f"autopkgtest-{release.value}", cached_root(release)) as root:
        lab_package.install(root, stub(tmp_path))
        lab_package.install(root, lab_package.built())
        for kind in ("proc", "sysfs"):
            place = root / kind.removesuffix("fs")
            subprocess.run(["mount", "-t", kind, kind, place], check=True, timeout=30)
        # The sandbox isolates like a container, which a chroot cannot detect.
        options = ("--no-built-binaries", "--ignore-restrictions=isolation-container")
        done = subprocess.run(
            ["autopkgtest", *options, f"{tree}/", "--", "chroot", root],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert "smoke                PASS" in done.stdout, done.stdout
