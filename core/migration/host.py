# SPDX-License-Identifier: Apache-2.0
"""The readings of a host before a handover or its undoing. All reading of files is here."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.owned_file import OwnedFile
from ec2net.core.migration import clients, leftovers, resolv_conf, units
from ec2net.core.migration.clients import Clients
from ec2net.core.migration.resolv_conf import ResolvConf
from ec2net.core.model.facts import Link
from ec2net.core.plugins.loaded import built_in
from ec2net.core.runtime.deadline import Deadline

_SYSCTLS = (
    "ipv4/conf/{}/promote_secondaries",
    *(f"ipv6/conf/{{}}/{name}" for name in ("accept_ra", "autoconf", "addr_gen_mode")),
    *(f"ipv6/conf/{{}}/{name}" for name in ("use_tempaddr", "dad_transmits")),
)
"""Per link: what systemd-networkd sets, and leaves so."""


@dataclass(frozen=True, slots=True)
class Host:
    """``environment`` has the links of all ENIs, already read. ``fallback``: the file by which
    systemd-networkd configures the primary ENI at each boot; None if a foreign file does.
    ``own_files``: ec2net's files that systemd-networkd reads, with the masks of the defaults."""

    environment: Environment
    primary: Link
    clients: Clients
    resolv_conf: ResolvConf
    fallback: OwnedFile | None
    active: frozenset[str]
    """Units."""
    own_files: tuple[str, ...] = ()
    link_locals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses by link."""


def look(
    primary: Link,
    environment: Environment,
    kernel: Kernel,
    drivers: Collection[str],
    deadline: Deadline,
) -> Host:
    kept = built_in("networkd").kept(primary, drivers, environment)
    return Host(
        environment,
        primary,
        clients.look(environment.eni_names),
        resolv_conf.look(),
        kept.fallback,
        frozenset(units.active(deadline)),
        kept.own_files,
        leftovers.link_locals(kernel, by_index(environment), drivers),
    )


def by_index(environment: Environment) -> dict[int, str]:
    """The names of ENIs' links."""
    return {link.index: link.name for link in environment.eni_links}


def profiles(environment: Environment) -> dict[str, str]:
    """By ENI link, the active connection of NetworkManager, from its state file."""
    found = {}
    for link in environment.eni_links:
        keys = environment.keys(f"/run/NetworkManager/devices/{link.index}")
        if keys.get("managed") in ("true", "yes") and (uuid := keys.get("connection-uuid")):
            found[link.name] = uuid
    return found


def sysctls(environment: Environment, folder: Path = Path("/proc/sys/net")) -> dict[str, str]:
    """By path; missing files are left out."""
    found = {}
    for link in environment.eni_links:
        for name in _SYSCTLS:
            with suppress(OSError):
                path = folder / name.format(link.name)
                found[str(path)] = path.read_text().strip()
    return found
