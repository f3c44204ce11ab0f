# SPDX-License-Identifier: Apache-2.0
"""A host with files and links, and the paths that identify other tools."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch

from eni_facts import link

from ec2net.core.host.files import Environment
from ec2net.core.migration.net_utils import BASE

RUN = "/run/systemd/network"
UNITS = "/etc/systemd/system"
NET_UTILS_RULE = "/usr/lib/udev/rules.d/99-vpc-policy-routes.rules"
MASKED_RULE = "/etc/udev/rules.d/99-vpc-policy-routes.rules"
HOTPLUG_RULE = "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules"
HOTPLUG_SOCKET = f"{UNITS}/cloud-init-hotplugd.socket"
INTERFACES = "/etc/network/interfaces"
NET_UTILS_TIMER = "policy-routes@ens6.service.wants/refresh-policy-routes@ens6.timer"


SHIPPED = [
    f"/usr/lib/systemd/system/{unit}"
    for unit in (
        "NetworkManager.service",
        "cloud-netconfig.timer",
        "nm-cloud-setup.timer",
        "refresh-policy-routes@.timer",
    )
]


def host(
    files: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    shipped: Iterable[str] = SHIPPED,
    working: Iterable[str] = (),
) -> Environment:
    """A host with these files and symbolic links, their folders, and the units of every package,
    unless ``shipped`` lists others. ``working``: units that systemd runs."""
    files, links = {**dict.fromkeys(shipped, "[Unit]\n"), **(files or {})}, links or {}

    def names(folder: str) -> tuple[str, ...]:
        return tuple(sorted(_children(folder, (*files, *links))))

    def asked(patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(unit for unit in working if any(fnmatch(unit, p) for p in patterns))

    return Environment(files.get, links.get, names, (link(0), link(1)), asked)


def _children(folder: str, paths: Iterable[str]) -> set[str]:
    start = f"{folder}/"
    return {path.removeprefix(start).split("/")[0] for path in paths if path.startswith(start)}


ACTIVE = "/run/systemd/units/invocation:"
CLOUD_SETUP = "/usr/lib/systemd/system/nm-cloud-setup.service"
EC2_ON = '[Service]\nEnvironment="NM_CLOUD_SETUP_EC2=yes"\n'
NETWORKMANAGER, BY_NM = f"{ACTIVE}NetworkManager.service", "/run/NetworkManager/devices"
BY_NETWORKD = "/run/systemd/netif/links"

WHOLE = host(
    {
        NET_UTILS_RULE: 'SUBSYSTEM=="net"',
        f"{RUN}/70-ens6.network.d/eni.conf": "[Match]",
        f"{RUN}/70-ens6.network.d/ec2net_alias.conf": "[Address]",
        f"{RUN}/70-ens5.network.d/eni.conf": "[Match]",
        f"{RUN}/70-ens5.network.d/50-admin.conf": "[Network]",
        f"{RUN}/10-netplan-ens5.network.d/50-ec2net.conf": "[Network]",
        f"{RUN}/70-other.network": "[Match]",
        f"{RUN}/70-empty.network.d/ec2net_alias.conf": "somebody's",
    },
    {
        f"{RUN}/70-ens5.network": BASE,
        f"{RUN}/70-ens6.network": BASE,
        f"{RUN}/70-masked.network": "/dev/null",
        f"{ACTIVE}policy-routes@ens6.service": "1",
        f"{ACTIVE}refresh-policy-routes@ens6.timer": "1",
    },
)
"""A host with all files of amazon-ec2-net-utils, and with foreign files."""
