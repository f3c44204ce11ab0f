# SPDX-License-Identifier: Apache-2.0
"""The file by which systemd-networkd has the primary at boot whatever becomes of this program.

Every other file comes before it by its name: ours of the boot, the package's defaults, others'. With
the package removed, the host would have no manager else, and no lease at its next boot.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ec2net.core.plugins.api import HEADER, Deadline, write_file

PATH = Path("/etc/systemd/network/95-ec2net-adopted.network")


def text(link: str, drivers: Collection[str]) -> str:
    """For a link of this name: the MAC is another one where an image was made of the host."""
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


@dataclass(frozen=True, slots=True)
class WriteFallback:
    content: str
    path: Path = PATH

    def describe(self) -> str:
        return f"write {self.path}"

    def do(self, deadline: Deadline) -> None:
        write_file(self.path, self.content)
