# SPDX-License-Identifier: Apache-2.0
"""A host that is handed over to systemd-networkd: its links, its files and its active units."""

from collections.abc import Mapping

from eni_facts import link
from other_tools_host import host as environment

from ec2net.backends.networkd.fallback import PATH as FALLBACK
from ec2net.backends.networkd.fallback import text
from ec2net.core.live.owned_file import OwnedFile
from ec2net.core.migration.clients import Client, Clients
from ec2net.core.migration.host import Host
from ec2net.core.migration.resolv_conf import Kind, ResolvConf

UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/multi-user.target.wants"
ACTIVE = "/run/systemd/units/invocation:"
NETWORKD, RESOLVED = "systemd-networkd.service", "systemd-resolved.service"
SHIPPED = "/usr/lib/systemd/system"
INSTALLED = {f"{SHIPPED}/{name}": "[Unit]" for name in (NETWORKD, RESOLVED, "ifup@.service")}

ALIAS = f"{UNITS}/dbus-org.freedesktop.nm-dispatcher.service"

BY_NETWORKMANAGER = {
    f"{WANTS}/NetworkManager.service": f"{SHIPPED}/NetworkManager.service",
    ALIAS: f"{SHIPPED}/NetworkManager-dispatcher.service",
    f"{ACTIVE}NetworkManager.service": "1",
}
DHCLIENT = Client("ens5", ("dhclient", "-pf", "/run/dhclient.ens5.pid", "ens5"), 83)


def host(
    links: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    *,
    active: tuple[str, ...] = (),
    resolv_conf: ResolvConf | None = None,
    clients: Clients | None = None,
    own_files: tuple[str, ...] = (),
) -> Host:
    seen = environment({**INSTALLED, **(files or {})}, links)
    return Host(
        seen,
        link(0),
        clients or Clients(),
        resolv_conf or ResolvConf(Kind.OTHER),
        OwnedFile(FALLBACK, text("ens5", ["ena"])),
        frozenset(active),
        own_files,
    )
