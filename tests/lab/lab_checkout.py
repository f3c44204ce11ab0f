# SPDX-License-Identifier: Apache-2.0
"""The working tree, installed into a root file system as a package of a distribution does it."""

import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

_COMMAND = """\
#!/usr/bin/python3
import sys

from ec2net.core.cli import main

sys.exit(main())
"""

_PLACES = (
    # folder or file of the checkout, pattern, where it goes
    ("systemd", "*.service", "usr/lib/systemd/system"),
    ("systemd", "*.timer", "usr/lib/systemd/system"),
    ("systemd", "*.target", "usr/lib/systemd/system"),
    ("systemd/preset", "*.preset", "usr/lib/systemd/system-preset"),
    ("systemd/network", "*", "usr/lib/systemd/network"),
    ("systemd/networkd.conf.d", "*.conf", "usr/lib/systemd/networkd.conf.d"),
    ("systemd/udev", "*.rules", "usr/lib/udev/rules.d"),
    ("systemd/dispatcher.d", "*", "usr/lib/NetworkManager/dispatcher.d"),
    ("packaging", "ec2net.toml", "usr/lib/ec2net"),
    ("packaging/iproute2", "*.conf", "etc/iproute2/rt_protos.d"),
)

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


def install_program(root: Path) -> None:
    """``import ec2net`` and the command ``ec2net``, for the distribution's own Python."""
    package = root / "usr/lib/python3/dist-packages/ec2net"
    shutil.copytree(CHECKOUT / "src/ec2net", package, ignore=shutil.ignore_patterns("__pycache__"))
    command = root / "usr/bin/ec2net"
    command.write_text(_COMMAND)
    command.chmod(0o755)
    subprocess.run(
        ["chroot", root, "python3", "-m", "compileall", "-q", f"/{package.relative_to(root)}"],
        check=True,
        timeout=60,
    )


def install_units(root: Path) -> None:
    """Units, presets, udev rules, the managers' files and the default configuration."""
    for folder, pattern, target in _PLACES:
        for source in sorted((CHECKOUT / folder).glob(pattern)):
            place = root / target
            if source.is_dir():
                shutil.copytree(source, place / source.name, dirs_exist_ok=True)
                continue
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place / source.name)  # with its mode: scripts are executable


def install_lab(root: Path) -> None:
    """What makes the lab's veth links look like ENIs."""
    for name, text in _LAB.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
