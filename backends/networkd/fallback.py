# SPDX-License-Identifier: Apache-2.0
"""The file by which systemd-networkd configures the primary ENI at boot, even without ec2net.

Every other file precedes it by name: ec2net's files of this boot, the package's defaults, foreign
ones. Without it, a host whose package was removed would have no lease at its next boot.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from ec2net.backends.networkd import files
from ec2net.backends.networkd.defaults import DEFAULTS
from ec2net.backends.networkd.match import foreseen
from ec2net.core.plugins.api import HEADER, Environment, Kept, Link, OwnedFile

PATH = Path("/etc/systemd/network/95-ec2net-adopted.network")


def text(link: str, drivers: Collection[str]) -> str:
    """For a link of this name: after an image was made of the host, the MAC differs."""
    return f"""\
{HEADER} a host that was handed to systemd-networkd: 'ec2net adopt networkd'.
# It is for the primary network interface, and counts where no other file does.
# 'ec2net adopt networkd --undo' deletes it.
[Match]
Name={link}
Driver={" ".join(sorted(drivers))}

[Network]
DHCP=yes
LLMNR=no
IPv6DuplicateAddressDetection=0
KeepConfiguration=yes

[DHCPv4]
UseMTU=yes
UseHostname=no
UseDomains=yes
RouteMetric=512

[DHCPv6]
UseHostname=no
WithoutRA=solicit

[IPv6AcceptRA]
RouteMetric=512
"""


def kept(primary: Link, drivers: Collection[str], environment: Environment) -> Kept:
    """No fallback if a foreign file configures the primary ENI at each boot."""
    others = foreseen(primary)
    needed = not (others.certain and others.file is not None)
    file = OwnedFile(PATH, text(primary.name, drivers)) if needed else None
    return Kept(file, tuple(_own_files(environment)))


def _own_files(environment: Environment) -> Iterator[str]:
    """The files of ENIs, the masks of the defaults, and the fallback."""
    yield from (str(file.path) for file in files.in_folder(files.FOLDER) if file.ours)
    masks = (str(files.FOLDER / name) for name in DEFAULTS)
    yield from (path for path in masks if environment.read_link(path) == "/dev/null")
    if (environment.read_file(str(PATH)) or "").startswith(HEADER):
        yield str(PATH)
