# SPDX-License-Identifier: Apache-2.0
"""What is looked at of a host before it is handed over or given back. All the reading is here."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ec2net.backends.networkd import fallback
from ec2net.core.host.files import Environment
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.owned_file import HEADER
from ec2net.core.migration import clients, leftovers, resolv_conf, units
from ec2net.core.migration.clients import Clients
from ec2net.core.migration.resolv_conf import ResolvConf
from ec2net.core.model.facts import Link
from ec2net.core.runtime.deadline import Deadline

_SYSCTLS = (
    "ipv4/conf/{}/promote_secondaries",
    *(f"ipv6/conf/{{}}/{name}" for name in ("accept_ra", "autoconf", "addr_gen_mode")),
    *(f"ipv6/conf/{{}}/{name}" for name in ("use_tempaddr", "dad_transmits")),
)
"""Per link: what systemd-networkd sets, and leaves so."""


@dataclass(frozen=True, slots=True)
class Host:
    """``environment`` has all ENIs' links, once read. ``fallback``: what the file of this name is
    to hold; empty where somebody's file is for the primary at each boot. ``own_files``: ours that
    systemd-networkd reads, with the masks of the defaults."""

    environment: Environment
    primary: Link
    clients: Clients
    resolv_conf: ResolvConf
    fallback: str
    active: frozenset[str]
    """Units."""
    own_files: tuple[str, ...] = ()
    link_locals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By link, its addresses."""


def look(
    primary: Link,
    environment: Environment,
    kernel: Kernel,
    drivers: Collection[str],
    deadline: Deadline,
) -> Host:
    from ec2net.backends.networkd.match import foreseen

    names = [name for link in environment.eni_links for name in (link.name, *link.altnames)]
    others = foreseen(primary)
    needed = not (others.certain and others.file is not None)
    return Host(
        environment,
        primary,
        clients.look(names),
        resolv_conf.look(),
        fallback.text(primary.name, drivers) if needed else "",
        frozenset(units.active(deadline)),
        tuple(_own_files(environment)),
        leftovers.link_locals(kernel, by_index(environment), drivers),
    )


def by_index(environment: Environment) -> dict[int, str]:
    """The names of ENIs' links."""
    return {link.index: link.name for link in environment.eni_links}


def _own_files(environment: Environment) -> Iterable[str]:
    from ec2net.backends.networkd import files
    from ec2net.backends.networkd.defaults import DEFAULTS

    yield from (str(file.path) for file in files.in_folder(files.FOLDER) if file.ours)
    masks = (str(files.FOLDER / name) for name in DEFAULTS)
    yield from (path for path in masks if environment.read_link(path) == "/dev/null")
    if (environment.read_file(str(fallback.PATH)) or "").startswith(HEADER):
        yield str(fallback.PATH)


def profiles(environment: Environment) -> dict[str, str]:
    """By ENI link, the connection that NetworkManager has active, by its state file."""
    found = {}
    for link in environment.eni_links:
        keys = environment.keys(f"/run/NetworkManager/devices/{link.index}")
        if keys.get("managed") in ("true", "yes") and (uuid := keys.get("connection-uuid")):
            found[link.name] = uuid
    return found


def sysctls(environment: Environment, folder: Path = Path("/proc/sys/net")) -> dict[str, str]:
    """By path; what is not there is left out."""
    found = {}
    for link in environment.eni_links:
        for name in _SYSCTLS:
            with suppress(OSError):
                path = folder / name.format(link.name)
                found[str(path)] = path.read_text().strip()
    return found
