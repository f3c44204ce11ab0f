# SPDX-License-Identifier: Apache-2.0
"""The root file system of a host: one from the cache with layers over it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from checkout import TOP

LAYERS = Path("/run/ec2net-lab")
"""A folder inside the sandbox, whose /run is a private tmpfs: the end of the process deletes it."""


class Release(Enum):
    """A release of Debian and what it brings."""

    BOOKWORM = "bookworm"
    """systemd 252 (as Amazon Linux 2023), NetworkManager 1.42, Python 3.11, pyroute2 0.7.2."""
    TRIXIE = "trixie"
    """systemd 257, NetworkManager 1.52, Python 3.13, pyroute2 0.7.7."""
    SID = "sid"
    """Its packages change every day; only tests/lab/test_lab_sid.py boots it."""


RELEASES = (Release.BOOKWORM, Release.TRIXIE)
"""The releases that every test runs on."""


class LabUnavailable(Exception):
    """The lab cannot run here; the message names the missing requirement."""


def cached_root(release: Release) -> Path:
    """The root file system in the cache. Raises ``LabUnavailable``."""
    if release is Release.SID:
        return _cached("sid.sh")
    return _cached("rootfs.sh", release.value)


def _cached(script: str, *arguments: str) -> Path:
    done = subprocess.run(
        [TOP / "tests/lab" / script, "--cached", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise LabUnavailable(done.stderr.strip())
    return Path(done.stdout.strip())


def neighbours_layer(release: Release) -> Path:
    """The layer of other programs for the root file system. Raises ``LabUnavailable``."""
    return _cached("neighbours.sh", release.value)


def cloud_init_layer(release: Release) -> Path:
    """The files that cloud-init and netplan add to the root file system. Raises ``LabUnavailable``."""
    return _cached("neighbours.sh", release.value, "cloud-init")


@contextmanager
def overlay(base: Path, *below: Path) -> Iterator[Path]:
    """A writable root file system over others, the uppermost first; writes stay in memory, in the
    folder ``upper`` of ``base``."""
    if os.path.ismount("/run") is False:
        raise LabUnavailable("enter a sandbox first (ec2net.core.simulation.vpc.sandbox)")
    upper, work, root = (base / part for part in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir(parents=True)
    lower = ":".join(map(str, below))
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(
        ["mount", "-t", "overlay", "-o", options, "overlay", root], check=True, timeout=30
    )
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", root], check=True, timeout=30)


@contextmanager
def layered_root(name: str, *below: Path) -> Iterator[Path]:
    """Like :func:`overlay`, but deleted afterwards."""
    base = LAYERS / name
    try:
        with overlay(base, *below) as root:
            yield root
    finally:
        subprocess.run(["rm", "-rf", base], check=True, timeout=30)
