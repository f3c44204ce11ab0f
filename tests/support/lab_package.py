# SPDX-License-Identifier: Apache-2.0
"""The debs of the working tree and of the old version, installed in a root file system as a user
installs them."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from functools import cache
from pathlib import Path

from checkout import TOP, output
from lab_root import LAYERS, LabUnavailable, Release, cached_root, overlay
from old_version import OLD, unpacked_or_not_run

import ec2net

EARLIER = "0.0.9"
"""The number that the old version's packages get: it has the number of this checkout."""

_LIMIT = 300.0
"""Seconds: a build takes ten on an idle machine."""

_ENV = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}

_LAB = {
    # A veth counts as an ENI (the two documented settings that widen the match), except the veths
    # of container runtimes and CNI plugins.
    "etc/ec2net/ec2net.toml.d/10-lab.toml": '[links]\ndrivers = ["veth"]\n',
    "etc/udev/rules.d/85-ec2net-lab.rules": (
        'SUBSYSTEM=="net", ENV{ID_NET_DRIVER}=="veth", KERNEL!="veth*|eni*", ENV{EC2NET_LINK}="1"\n'
    ),
    # Debian's rule of this name makes NetworkManager ignore every veth.
    "etc/udev/rules.d/85-nm-unmanaged.rules": (
        'SUBSYSTEM=="net", ENV{ID_NET_DRIVER}=="veth", KERNEL=="veth*|eni*", ENV{NM_UNMANAGED}="1"\n'
    ),
}

_ENABLED = (
    *("ec2net-early.service", "ec2net.service"),
    *("ec2net-on-demand.target", "ec2net-hostname.service"),
)
"""Units with an [Install] section."""

_UNITS = (
    "usr/lib/systemd/*/*ec2net*",
    "usr/lib/udev/rules.d/*ec2net*",
    "etc/systemd/system/*.wants/ec2net*",
)


_STUB = """\
Name: stub-of-a-host
Version: 1
Release: 1
Summary: Tells dnf what the root file system has
License: Apache-2.0
BuildArch: noarch
Provides: /bin/sh
Provides: python3.11
Provides: systemd
%description
%{summary}.
%files
"""
"""An rpm for a host without rpm's database."""


def build_stub(folder: Path) -> Path:
    """The rpm, below ``folder``, that provides what a root file system has without rpm."""
    spec = folder / "stub.spec"
    spec.write_text(_STUB)
    places = (f"_topdir {folder}/build", f"_rpmdir {folder}")
    defines = [word for place in places for word in ("--define", place)]
    output("rpmbuild", "-bb", "--quiet", *defines, spec)
    (stub,) = folder.glob("noarch/*.rpm")
    return stub


class Installed(Enum):
    """The parts of the package on a host."""

    NOTHING = "nothing"
    PROGRAM = "program"
    """No unit, no udev rule, no file for a network manager."""
    PACKAGE = "package"


@cache
def built() -> Path:
    """The deb, built again if a source is younger."""
    return _made(f"ec2net_{ec2net.__version__}-1_all.deb")


@cache
def built_rpm(system: str) -> Path:
    """The rpm for ``amzn2023`` or ``el9``; all packages are built again if a source is younger."""
    return _made("complete").with_name(f"ec2net-{ec2net.__version__}-1.{system}.noarch.rpm")


@cache
def built_release() -> Path:
    """The deb among all files of a release, built again if a source is younger."""
    return _made("complete").with_name(built().name)


def _made(name: str) -> Path:
    subprocess.run(["make", "--silent", f"dist/{name}"], cwd=TOP, check=True, timeout=_LIMIT)
    return TOP / "dist" / name


@cache
def built_old(kind: str = "deb") -> Path:
    """The old version's deb, or its rpm for Amazon Linux, by its own ``build.sh``, made once and
    kept in the checkout's cache. Its number is EARLIER, as package managers compare numbers.

    Without git's history the test is not run, or fails (tests/support/old_version.py)."""
    kept = TOP / ".cache" / f"old-{OLD[:12]}-{kind}"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            tree = unpacked_or_not_run(Path(folder, "tree"))
            # as in a release tarball, which build.sh takes the date from
            (tree / "PKG-INFO").touch()
            number = tree / "src/ec2net/__init__.py"
            number.write_text(number.read_text().replace(ec2net.__version__, EARLIER))
            lend_libraries(tree)
            build = f"{tree}/packaging/build.sh"
            subprocess.run(
                [build, sys.executable, f"{folder}/dist", kind], check=True, timeout=_LIMIT
            )
            with suppress(OSError):  # another process was faster
                Path(folder, "dist").rename(kept)
    (package,) = kept.glob("*.deb" if kind == "deb" else "*.amzn2023.noarch.rpm")
    return package


def lend_libraries(tree: Path) -> None:
    """This checkout's bundled libraries, as the sandbox has no network: ``build.sh`` of the old
    version keeps them by the checksum of its list."""
    mine = TOP / "packaging/rpm"
    keys = (
        (TOP, [mine / name for name in ("vendor.sh", "vendor.txt", "certifi.py")]),
        (tree, [tree / "packaging/rpm/vendor.txt"]),
    )
    kept, lent = (top / f".cache/vendor-{_checksum(files)}" for top, files in keys)
    shutil.copytree(kept, lent)


def _checksum(files: Iterable[Path]) -> str:
    """As ``build.sh`` computes it."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


@cache
def layer(release: Release, deb: Path) -> Path:
    """Files that the installation of a package adds to a root file system: a layer that all hosts
    of a run share. The end of the sandbox deletes the layer."""
    base = LAYERS / f"package-{release.value}-{deb.parent.name}"
    with overlay(base, cached_root(release)) as root:
        install(root, deb)
    return base / "upper"


def install(root: Path, deb: Path) -> None:
    """``dpkg --install`` in a root file system that is not booted. Raises ``LabUnavailable``."""
    place = root / "tmp" / deb.name
    shutil.copy(deb, place)
    done = subprocess.run(
        ["chroot", root, "dpkg", "--install", f"/tmp/{deb.name}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT,
        env=_ENV,
    )
    place.unlink()
    if done.returncode != 0:
        raise LabUnavailable(f"dpkg --install {deb.name}:\n{done.stdout}{done.stderr}")


def preset(root: Path) -> None:
    """Apply the presets, including those written after the package."""
    for command in (["preset", *_ENABLED], ["preset-all", "--preset-mode=enable-only"]):
        subprocess.run(
            ["chroot", root, "systemctl", *command], check=True, capture_output=True, timeout=60
        )


def drop_units(root: Path) -> None:
    """Leave the program alone."""
    for pattern in _UNITS:
        for path in root.glob(pattern):
            path.unlink()


def add_lab(root: Path) -> None:
    """Settings that make the lab's veth links count as ENIs."""
    for name, text in _LAB.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
