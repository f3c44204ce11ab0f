# SPDX-License-Identifier: Apache-2.0
"""MTUs that do not fit: a link's with the configuration, or with the primary's. Pure."""

from collections.abc import Iterator

from ec2net.core.config.settings import MtuPolicy
from ec2net.core.decide.intent import HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.model.snapshot import Snapshot


def wrong_mtus(host: HostIntent, snapshot: Snapshot) -> Iterator[Finding]:
    """The VPC's MTU is the same for all ENIs of an instance (AWS, "Network MTU"): where the
    configuration leaves it to DHCP or to others, a secondary's should be the primary's."""
    primary = snapshot.link(host.primary_link.index) if host.primary_link else None
    for intent in host.ready:
        link = snapshot.link(intent.link.index)
        if link is None:
            continue
        if not isinstance(intent.mtu, MtuPolicy):
            if 0 < link.mtu_max < intent.mtu:
                yield Finding(
                    Severity.WARNING,
                    Check.MTU,
                    link.name,
                    f"mtu = {intent.mtu} is configured, but the device accepts at most "
                    f"{link.mtu_max}: the MTU stays {link.mtu}",
                    f'set mtu to {link.mtu_max} or less, or to "keep"',
                )
            elif link.mtu != intent.mtu:
                yield Finding(
                    Severity.WARNING,
                    Check.MTU,
                    link.name,
                    f"its MTU is {link.mtu}, but {intent.mtu} is configured",
                    "run: ec2net refresh; if the value returns, the network manager of "
                    f"{link.name} sets it",
                )
        elif primary is not None and link.mtu != primary.mtu:
            yield Finding(
                Severity.WARNING,
                Check.MTU,
                link.name,
                f"its MTU is {link.mtu}, but the MTU of the primary ENI ({primary.name}) is "
                f"{primary.mtu}: large packets are lost where ICMP is filtered",
                f"run: ip link set {link.name} mtu {primary.mtu}, or configure mtu = {primary.mtu}",
            )
