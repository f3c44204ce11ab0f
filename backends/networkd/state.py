# SPDX-License-Identifier: Apache-2.0
"""networkd's state of its links, from the state files that it keeps for sd-network(3).

They need no D-Bus round trip and exist on systemd 252 and 257 alike: ADMIN_STATE is
``pending``, ``configuring``, ``configured``, ``unmanaged`` or ``failed``; NETWORK_FILE is the
.network file in force.
"""

from dataclasses import dataclass
from pathlib import Path

from ec2net.core.plugins.api import NETWORKD_LINKS, NETWORKD_UNIT, Environment


@dataclass(frozen=True, slots=True)
class LinkState:
    """``admin`` is empty for a link that networkd does not know."""

    admin: str
    file: Path | None

    @property
    def managed(self) -> bool:
        return self.admin not in ("", "unmanaged")


def link_state(index: int, environment: Environment) -> LinkState:
    keys = environment.keys(f"{NETWORKD_LINKS}/{index}")
    file = keys.get("NETWORK_FILE")
    return LinkState(keys.get("ADMIN_STATE", ""), Path(file) if file else None)


def is_running(environment: Environment) -> bool:
    """Whether systemd runs systemd-networkd on this host."""
    return environment.unit_is_active(NETWORKD_UNIT)


def is_up(environment: Environment) -> bool:
    """Whether it runs and has read its files: it lists a link then, at least lo."""
    return is_running(environment) and any(
        map(str.isdigit, environment.list_folder(NETWORKD_LINKS))
    )
