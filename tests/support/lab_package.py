# SPDX-License-Identifier: Apache-2.0
"""The deb of the working tree, installed in a root file system as a user installs it."""

import os
import shutil
import subprocess
from enum import Enum
from functools import cache
from pathlib import Path

from checkout import TOP
from lab_root import LAYERS, LabUnavailable, Release, cached_root, overlay

import ec2net

_LIMIT = 300.0
"""Seconds: a build takes ten on an idle machine."""

_ENV = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}

_LAB = {
    # A veth counts as an ENI (the two documented ways to widen what is one), but for what container
    # runtimes and CNI plugins make.
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


class Installed(Enum):
    """What of the package a host has."""

    NOTHING = "nothing"
    PROGRAM = "program"
    """No unit, no udev rule, no file for a network manager."""
    PACKAGE = "package"


@cache
def built() -> Path:
    """The deb, made anew if a source is younger."""
    return _made(f"ec2net_{ec2net.__version__}-1_all.deb")


@cache
def built_rpm(system: str) -> Path:
    """The rpm for ``amzn2023`` or ``el9``, made anew, with all packages, if a source is younger."""
    return _made("complete").with_name(f"ec2net-{ec2net.__version__}-1.{system}.noarch.rpm")


def _made(name: str) -> Path:
    subprocess.run(["make", "--silent", f"dist/{name}"], cwd=TOP, check=True, timeout=_LIMIT)
    return TOP / "dist" / name


@cache
def layer(release: Release) -> Path:
    """What the installation of the package adds to a root file system: a layer that all hosts of
    a run share. It goes with the sandbox."""
    base = LAYERS / f"package-{release.value}"
    with overlay(base, cached_root(release)) as root:
        install(root, built())
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
    """Enable what the presets say, those, too, that came after the package."""
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
    """What makes the lab's veth links look like ENIs."""
    for name, text in _LAB.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
