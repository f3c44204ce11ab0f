# SPDX-License-Identifier: Apache-2.0
"""From PID 1 to network-online.target, on booted hosts: ec2net, systemd-networkd and the former tool.

    boots.py [--runs N] [--release RELEASE ...] [--enis N ...] [--only ROW ...]

Needs root. The rows take turns in each round, so a busy machine slows all of them down. A boot has
these times, in ms after the start of PID 1: systemd-networkd starts, the primary ENI has its first
address of each IP version, network-online.target is reached.
"""

import argparse
import os
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab_cloud_init import Renderer, use_cloud_init
from lab_host import LabHost
from lab_instance import LabInstance, Mode, Setting, booted
from lab_root import Release, cloud_init_layer
from predecessor import WIRING

from ec2net.core.simulation.vpc import sandbox
from ec2net.core.simulation.vpc.imds_faults import Hang

ONLINE_SECONDS = 120.0
"""For network-online.target, which a dead IMDS may delay."""

PRESET = "/etc/systemd/system-preset/10-bench.preset"
OFF = "".join(f"disable {name}\n" for name in ("ec2net.service", "ec2net-early.service"))
ASKED = """\
[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""
"""A unit that needs network-online.target, as every image has one."""

PEOPLE = "[Match]\nName=ens*\n[Network]\nDHCP=yes\n"
"""The file of most images."""

PRIMARY = """\
[Match]
Name=ens5
[Link]
RequiredFamilyForOnline=both
[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
{addresses}
[DHCPv6]
WithoutRA=solicit
"""
SECONDARY = "[Match]\nName=ens*\n[Link]\nRequiredForOnline=no\n[Network]\nDHCP=yes\n"
"""Like ec2net, the row with the same promise waits for no secondary ENI and not for DAD."""

Files = Callable[[LabInstance], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A way to configure a host. ``files`` are those beyond ec2net's, before the boot."""

    mode: Mode = Mode.RESIDENT
    files: Files = lambda _: {}
    ec2net: bool = True
    dead_imds: bool = False
    cloud_init: bool = False
    """The first boot of an image: cloud-init writes the files by IMDS, with netplan."""

    @property
    def compared(self) -> str:
        """The row of systemd-networkd alone under the same conditions."""
        if self.cloud_init:
            return "networkd, cloud-init"
        return "networkd, same promise" + (", dead IMDS" if self.dead_imds else "")


def _people(_: LabInstance) -> dict[str, str]:
    return {"/etc/systemd/network/10-people.network": PEOPLE}


def _promise(instance: LabInstance) -> dict[str, str]:
    """Every address that EC2 assigned to the primary ENI, beyond the leases."""
    eni = instance.primary
    further = [f"Address={a}/32" for a in eni.ipv4s[1:]] + [
        f"Address={a}/128" for a in eni.ipv6s[1:]
    ]
    return {
        "/etc/systemd/network/10-primary.network": PRIMARY.format(addresses="\n".join(further)),
        "/etc/systemd/network/20-secondary.network": SECONDARY,
    }


ROWS = {
    "networkd": Row(files=_people, ec2net=False),
    "networkd, same promise": Row(files=_promise, ec2net=False),
    "predecessor": Row(files=lambda _: WIRING, ec2net=False),
    "resident": Row(),
    "on demand": Row(Mode.ON_DEMAND),
    "networkd, same promise, dead IMDS": Row(files=_promise, ec2net=False, dead_imds=True),
    "networkd, cloud-init": Row(ec2net=False, cloud_init=True),
    "resident, cloud-init": Row(cloud_init=True),
    "on demand, cloud-init": Row(Mode.ON_DEMAND, cloud_init=True),
    "resident, dead IMDS": Row(dead_imds=True),
    "on demand, dead IMDS": Row(Mode.ON_DEMAND, dead_imds=True),
}


@dataclass(frozen=True, slots=True)
class Times:
    """ms after the start of PID 1; None if it did not happen."""

    online: float
    networkd: float | None
    ipv4: float | None
    ipv6: float | None


def main() -> None:
    options = _options()
    if os.geteuid() != 0:
        sys.exit("boots.py: needs root")
    sandbox.enter()
    for release in options.release:
        for count in options.enis:
            _measure(Release(release), count, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    releases = [release.value for release in Release]
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--release", nargs="+", choices=releases, default=releases)
    parser.add_argument("--enis", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    return parser.parse_args()


def _measure(release: Release, count: int, options: argparse.Namespace) -> None:
    found: dict[str, list[Times]] = defaultdict(list)
    for _ in range(options.runs):
        for name in options.only:
            if name == "predecessor" and release is not Release.BOOKWORM:
                continue  # Debian 13 has no such package
            with _host(release, count, ROWS[name]) as host:
                found[name].append(_times(host))
    print(
        f"\n{release.value}, {count} ENIs, medians of {options.runs}, ms after the start of PID 1"
    )
    print("| row | networkd starts | IPv4 lease | IPv6 lease | online | ratio |")
    print("| --- | --: | --: | --: | --: | --: |")
    for name, all_times in found.items():
        against = [times.online for times in found.get(ROWS[name].compared, [])]
        online = statistics.median(times.online for times in all_times)
        ratio = f"{online / statistics.median(against):.2f}" if against else ""
        cells = [_median(all_times, which) for which in ("networkd", "ipv4", "ipv6")]
        print(f"| {name} | {' | '.join(cells)} | {online:.0f} | {ratio} |", flush=True)


def _median(all_times: list[Times], which: str) -> str:
    values = [value for times in all_times if (value := getattr(times, which)) is not None]
    return f"{statistics.median(values):.0f}" if values else ""


@contextmanager
def _host(release: Release, count: int, row: Row) -> Iterator[LabHost]:
    """A host that has reached network-online.target once since its boot."""
    files = {"/etc/systemd/system/asked.service": ASKED}
    files[PRESET] = "enable asked.service\n" + ("" if row.ec2net else OFF)

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        for _ in range(count - 1):
            instance.vpc.attach(instance.two, ipv4=2, ipv6=2)
        if row.dead_imds:
            instance.vpc.imds.inject(Hang())
        files.update(row.files(instance))

    setting = Setting(release, "networkd", row.mode)
    options: dict[str, Any] = {"complete": False, "timer": True, "seed": None}
    if row.cloud_init:
        options["layers"] = [cloud_init_layer(release)]
        options["prepare"] = lambda root: use_cloud_init(root, Renderer.NETPLAN)
    with booted(setting, before=enis, files=files, **options) as instance:
        host = instance.host
        host.wait_until(
            lambda: _moment(host, "network-online.target") > 0, ONLINE_SECONDS, "online"
        )
        yield host


def _moment(host: LabHost, unit: str, what: str = "ActiveEnterTimestampMonotonic") -> int:
    """µs of the monotonic clock; 0: it did not happen."""
    command = ["systemctl", "show", "--value", f"--property={what}", *([unit] if unit else [])]
    return int(host.run(command).stdout.strip() or 0)


def _times(host: LabHost) -> Times:
    began = _moment(host, "", "UserspaceTimestampMonotonic")

    def after(moment: int) -> float | None:
        return (moment - began) / 1e3 if moment else None

    def leased(version: int) -> float | None:
        said = host.run(
            ["journalctl", "--boot", "--output=short-monotonic", "-t", "systemd-networkd"]
        ).stdout
        found = re.search(rf"\[ *(\d+\.\d+)\].*: ens5: DHCPv{version} address", said)
        return after(int(float(found[1]) * 1e6)) if found else None

    online = after(_moment(host, "network-online.target"))
    assert online is not None
    networkd = _moment(host, "systemd-networkd.service", "InactiveExitTimestampMonotonic")
    return Times(online, after(networkd), leased(4), leased(6))


if __name__ == "__main__":
    main()
