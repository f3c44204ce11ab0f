# SPDX-License-Identifier: Apache-2.0
"""Checks that the new network manager keeps the host reachable after a handover.

Addresses of the old manager stay in the kernel and answer until they expire. Reachability alone
therefore proves nothing: the new manager must have a lease of its own.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from ec2net.core.config.settings import Config
from ec2net.core.decide.candidate import eni_links
from ec2net.core.engine.reachability import Reachability, Reached
from ec2net.core.engine.verify import ABROAD
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import NETWORKD_LINKS
from ec2net.core.kernel.session import Kernel
from ec2net.core.migration.resolv_conf import UPLINK
from ec2net.core.model.errors import Ec2netError, KernelError
from ec2net.core.model.facts import Link
from ec2net.core.runtime.deadline import Deadline

_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.25
"""Seconds between two reads of systemd-networkd's state, each twice the last."""


def primary_of(kernel: Kernel, config: Config) -> tuple[Link, Environment]:
    """The ENI by which the host sends abroad, else the first one; and the environment with all.

    Raises ``Ec2netError`` where there is none.
    """
    found = eni_links(kernel.links(), config.drivers)
    links = sorted((same[0] for same in found.values()), key=lambda link: link.index)
    if not links:
        raise Ec2netError("there is no ENI on this host", subject="adopt")
    ways = set()
    for destination in ABROAD.values():
        with suppress(KernelError):
            ways.add(kernel.lookup(destination).link)
    primary = next((link for link in links if link.index in ways), links[0])
    return primary, replace(Environment(), eni_links=tuple(links)).once()


@dataclass(frozen=True, slots=True)
class Trial:
    """The reachability before the handover. ``after``: seconds to wait for it (``rollback.after``);
    0: no check."""

    ways: Reachability
    reached: Reached
    primary: Link
    leased: bool
    """Whether an IPv4 address of the primary is to be leased."""
    servers: bool
    """Whether there was a DNS server to ask."""
    after: float

    def adopted(self, deadline: Deadline) -> None:
        """Raises ``Ec2netError`` with what is not so in time."""
        if not (self.after and self.reached):
            return
        limit = deadline.within(self.after, "waiting for systemd-networkd")
        pause = _FIRST_PAUSE
        while lacks := self._lacks():  # ends by deadline
            if limit.expired():
                raise Ec2netError(f"{lacks} after {self.after:g} s")
            limit.wait(seconds=pause)
            pause = min(2 * pause, _LAST_PAUSE)
        self.reachable(deadline)

    def reachable(self, deadline: Deadline) -> None:
        """Raises ``Ec2netError`` with what cannot be reached any more."""
        if self.after and self.reached:
            limit = deadline.within(self.after, "waiting for what was reachable")
            if lost := self.ways.lost(self.reached, limit):
                raise Ec2netError(
                    f"{lost}: reachable before the change, but not {self.after:g} s after it"
                )

    def _lacks(self) -> str:
        environment, name = Environment(), self.primary.name
        state = environment.keys(f"{NETWORKD_LINKS}/{self.primary.index}")
        if (admin := state.get("ADMIN_STATE")) != "configured":
            return f"systemd-networkd reports the state of {name} as {admin or 'unknown'}"
        lease = environment.keys(f"/run/systemd/netif/leases/{self.primary.index}")
        if self.leased and _leases(state.get("NETWORK_FILE")) and "ADDRESS" not in lease:
            return f"systemd-networkd has no lease for {name}"
        if self.servers and "nameserver" not in (environment.read_file(UPLINK) or ""):
            return "systemd-resolved has no DNS server"
        return ""


def _leases(file: str | None) -> bool:
    """Whether a .network file wants DHCPv4; an administrator's may have fixed addresses."""
    text = (Environment().read_file(file) or "") if file else ""
    return any(f"DHCP={word}" in text.splitlines() for word in ("yes", "true", "ipv4"))
