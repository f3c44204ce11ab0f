# SPDX-License-Identifier: Apache-2.0
"""A host that never had the package, and the files that an installation may leave on its disk."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab_host import LabHost
from lab_instance import LabInstance, Mode, Setting
from lab_package import Installed
from lab_root import Release

from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp

PRIMARY = """\
[Match]
Name=ens5
[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
[DHCPv6]
WithoutRA=solicit
"""

# The administrator's, for the one ENI that the host had so far.
FILES = {"/etc/systemd/network/10-primary.network": PRIMARY}

_LEFT_OUT = [
    word
    for path in ("/var/log/*", "/var/tmp/*", "/var/lib/dpkg/*")
    for word in ("-not", "-path", path)
]
"""Journals, private folders of running units, and dpkg's database."""


@contextmanager
def plain(release: Release, mode: Mode = Mode.RESIDENT) -> Iterator[LabInstance]:
    """A host with two ENIs that has never seen the package; networkd has the first one."""
    with VpcWithDhcp(prefix="p-", seed=None) as vpc:
        instance = LabInstance(setting := Setting(release, "networkd", mode), vpc)
        vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        vpc.attach(instance.two, device=1, ipv4=2, ipv6=1)
        with LabHost(
            vpc, release, files=FILES | setting.files(timer=False), installed=Installed.NOTHING
        ) as host:
            instance.host = host
            yield instance


def until_leased(instance: LabInstance) -> None:
    def leased() -> bool:
        shown = instance.host.run(["sh", "-c", "ip addr show dev ens5; ip -6 route"]).stdout
        first = (f"{instance.primary.ipv4s[0]}/", f"{instance.primary.ipv6s[0]}/")
        return all(part in shown for part in (*first, "via fe80:ec2::1"))

    instance.host.wait_until(leased, 60, "the primary's leases")


def files(host: LabHost) -> dict[str, str]:
    """Every file, folder and link of the host's disk, with its content."""
    find = ["find", "/etc", "/usr", "/var", *_LEFT_OUT]
    listed = host.run([*find, "-printf", r"%p\t%y %m %l\n"]).stdout.splitlines()
    summed = host.run([*find, "-type", "f", "-exec", "md5sum", "{}", "+"]).stdout.splitlines()
    sums = {path: told for told, path in (line.split("  ", 1) for line in summed)}
    return {
        path: told + sums.get(path, "") for path, told in (line.split("\t", 1) for line in listed)
    }
